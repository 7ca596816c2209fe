"""What to look at before somebody is enrolled."""

from jaxtyping import Float
from sqlalchemy.engine import Connection

from quickstudy.core.errors import GalleryError
from quickstudy.gallery.exact_search import Vectors
from quickstudy.gallery.snapshot import Memory


def look_at(
    x: Float[Vectors, "n D"],
    identity: str,
    owner: int | None,
    *,
    memory: Memory,
    connection: Connection,
    force: bool,
) -> list[str]:
    """What is odd about new templates, in plain sentences.

    Args:
        x: the templates.
        identity: whose they are said to be.
        owner: its number, if it is there already.
        memory: who is there.
        connection: with the transaction that the memory follows.
        force: let pass what looks like somebody else.

    Raises:
        GalleryError: when one looks like somebody else, unless forced.
    """
    policy, told = memory.policy, list[str]()
    others = memory.nearest_other(x, owner)
    photo = max(range(len(x)), key=lambda i: others[i][1][0] if len(others[i][1]) else -2.0)
    if len(others[photo][1]) and (near := float(others[photo][1][0])) > policy.duplicate:
        whom = int(others[photo][0][0])
        said = (
            f"Photo {photo + 1} of {identity} looks like {memory.names(connection, [whom])[whom]} "
            f"(similarity {near:.2f}, "
            f"duplicates begin at {policy.duplicate:.2f})"
        )
        if not force:
            raise GalleryError(f"{said}. Check who it is; enrol it anyway with force.")
        told.append(f"{said}; enrolled because it was forced.")
    if owner is not None:
        for i, s in enumerate(memory.similarity(x, owner).tolist()):
            if s <= policy.threshold:
                told.append(
                    f"Photo {i + 1} is unlike the other templates of {identity} (similarity "
                    f"{s:.2f}, accepted above {policy.threshold:.2f}). "
                    "Check that it is the same person, and the photo."
                )
    elif len(x) == 1:
        told.append(
            f"{identity} has one template. A second photo, on another day, would make recognition "
            "surer."
        )
    return told
