"""The tables of a gallery. All their names begin alike, so that none is taken for another's."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

FORMAT = 3
PREFIX = "quickstudy_"
SERVER_VECTORS = f"{PREFIX}vector"
"""A table that only galleries with the index "pgvector" have: the templates' vectors in half
precision, see `quickstudy.gallery.pgvector_index`.
"""
COHORT_ID = 0
"""What the log of changes says in place of an identity when the cohort was changed; identities are
numbered from 1.
"""

TABLES = MetaData()

# One row. Every change locks it first, so writers queue, and counts up `changes`, so readers see
# that what they know is old. `token` is drawn anew at every change: two histories that part, as
# after a restored backup, have other tokens at the same count.
GALLERY = Table(
    f"{PREFIX}gallery",
    TABLES,
    Column("format", Integer, nullable=False),
    Column("encoder", Text, nullable=False),
    Column("dim", Integer, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("source", Text, nullable=False),
    Column("measured", Text, nullable=False),
    Column("changes", Integer, nullable=False),
    Column("token", BigInteger, nullable=False),
)
# What each change touched: one row with the change alone, and one per identity. Whoever knows the
# gallery as of some change reads those identities again.
CHANGE = Table(
    f"{PREFIX}change",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("number", Integer, nullable=False, index=True),
    Column("token", BigInteger, nullable=False),
    Column("identity", Integer),
)
IDENTITY = Table(
    f"{PREFIX}identity",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("name", String(500), nullable=False, unique=True),
    Column("pseudonym", String(40), nullable=False, unique=True),
    Column("consent", Text),
    Column("retain_until", DateTime),
    Column("details", Text, nullable=False),
    Column("created", DateTime, nullable=False),
    sqlite_autoincrement=True,
)
TEMPLATE = Table(
    f"{PREFIX}template",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column(
        "identity",
        Integer,
        ForeignKey(IDENTITY.c.id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("vector", LargeBinary, nullable=False),
    Column("checksum", BigInteger, nullable=False),
    Column("created", DateTime, nullable=False),
    sqlite_autoincrement=True,
)
COHORT = Table(
    f"{PREFIX}cohort",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("person", Integer, nullable=False),
    Column("vector", LargeBinary, nullable=False),
    Column("checksum", BigInteger, nullable=False),
)
POLICY = Table(
    f"{PREFIX}policy",
    TABLES,
    Column("version", Integer, primary_key=True),
    Column("policy", Text, nullable=False),
    Column("created", DateTime, nullable=False),
)
# No name and no vector: `subject` is the pseudonym of an identity. `photo` is the name of a file,
# which is wiped when the identity goes; the chain of hashes holds `photo_hash`, so it stays whole.
AUDIT = Table(
    f"{PREFIX}audit",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("time", DateTime, nullable=False),
    Column("action", String(20), nullable=False),
    Column("subject", String(40), index=True),
    Column("similarity", Float),
    Column("threshold", Float),
    Column("policy", Integer),
    Column("operator", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("photo", Text),
    Column("salt", String(40)),
    Column("photo_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
# One row: where the chain of the audit begins and ends.
AUDIT_CHAIN = Table(
    f"{PREFIX}audit_chain",
    TABLES,
    Column("first", Integer, nullable=False),
    Column("first_hash", String(64), nullable=False),
    Column("last", Integer, nullable=False),
    Column("last_hash", String(64), nullable=False),
)
# Exports and backups that were written: what is removed here is still there.
COPY = Table(
    f"{PREFIX}copy",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("path", Text, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("created", DateTime, nullable=False),
)
