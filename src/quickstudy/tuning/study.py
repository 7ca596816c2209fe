"""The study of a search: in memory, or in a database that processes share."""

import contextlib
import importlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from quickstudy.core.errors import ConfigError
from quickstudy.recipes import Recipe
from quickstudy.recipes.changes import flat, identity_of

# Seconds before each try to open a database.
_PAUSES = (0.0, 0.2, 0.5, 1.0, 2.0)
_IDENTITY = "quickstudy"


def import_optuna() -> Any:
    """Optuna, if it is installed."""
    try:
        return importlib.import_module("optuna")
    except ImportError as error:
        raise ConfigError(
            "The search needs Optuna, which is not installed. Install it with: pip install "
            "'quickstudy[tune]'"
        ) from error


def study_identity(
    recipe: Recipe, space: Mapping[str, str], protocol: Mapping[str, Any]
) -> dict[str, Any]:
    """What the trials of a study have in common, as JSON values."""
    return {"recipe": identity_of(recipe), "space": dict(space), "validation": dict(protocol)}


def claim_study(study: Any, identity: Mapping[str, Any], where: str) -> None:
    """Write the identity into a new study; refuse one of another identity."""
    saved = study.user_attrs.get(_IDENTITY)
    if saved is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(_IDENTITY, identity)
        saved = study.user_attrs[_IDENTITY]
    if saved is None:
        raise ConfigError(
            f"The study {where} was not begun by quickstudy. Choose another name with --study."
        )
    here, there = flat(identity), flat(saved)
    differ = [
        f"{k} is {there.get(k)!r} there and {here.get(k)!r} here"
        for k in {**there, **here}
        if there.get(k) != here.get(k)
    ]
    if differ:
        raise ConfigError(
            f"The study {where} is of another search: {'; '.join(differ)}. Repeat the options that "
            "it was begun with, or begin another with --study NAME."
        )


@contextlib.contextmanager
def open_study(optuna: Any, url: str, name: str, pruner: Any) -> Iterator[Any]:
    """The study of this name, begun if it is not there."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = _database(optuna, url) if url else None
    try:
        yield optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )
    finally:
        optuna.logging.set_verbosity(verbosity)
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


def _database(optuna: Any, url: str) -> Any:
    from sqlalchemy.exc import ArgumentError, DBAPIError

    # SQLite: others may write for a moment. Servers: a connection may have been cut during a long
    # trial.
    options: dict[str, Any] = (
        {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    )
    refused: DBAPIError | None = None
    for pause in _PAUSES:
        time.sleep(pause)
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=options)
        except DBAPIError as error:  # not there yet, or another process is creating the tables
            refused = error
        except ArgumentError as error:
            raise ConfigError(
                "--storage takes a database URL, such as sqlite:///study.db or "
                f"postgresql+psycopg://USER:PASSWORD@HOST/NAME: {error}"
            ) from error
        except ImportError as error:
            raise ConfigError(
                f"The driver for {without_password(url)} is not installed ({error.__cause__}). "
                "For PostgreSQL: pip install 'psycopg[binary]', and a URL that begins with "
                "postgresql+psycopg://"
            ) from error
    assert refused is not None
    raise ConfigError(
        f"{without_password(url)} cannot be opened: {str(refused.orig).strip()}. Check that it "
        "exists and may be written."
    ) from refused


def without_password(url: str) -> str:
    """A database URL that may be shown."""
    return re.sub(r"(://[^:@/]*):.*@", r"\1:***@", url)
