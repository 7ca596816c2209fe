"""``gallery identify`` and ``gallery verify``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quickstudy.cli.gallery.options import (
    AsJson,
    Cache,
    Encoder,
    Files,
    Invert,
    Name,
    Operator,
    Place,
    opened,
    show,
)
from quickstudy.cli.screen import Bar, results

if TYPE_CHECKING:
    from quickstudy.gallery import Decision, FileDecision, Gallery


def identify(
    place: Place,
    files: Files,
    encoder: Encoder = "",
    top_k: Annotated[int, typer.Option(min=1, help="How many candidates to name.")] = 3,
    as_json: AsJson = False,
    invert: Invert = None,
    cache: Cache = False,
    operator: Operator = "",
) -> None:
    """Say who is on each photo, or that it is somebody unknown. A gallery that is not calibrated
    gives candidates and no names. Files that cannot be read are named, and the status is then 1.
    """
    with opened(place, operator=operator, encoder=encoder, invert=invert) as gallery:
        with Bar("encoding", 0) as bar:
            decisions = gallery.identify_files(files, top_k=top_k, cache=cache, progress=bar.update)
        item = "image" if gallery.kind == "images" else "recording"
        rows = [_row(item, one, as_json=as_json) for one in decisions]
        has_errors = any(one.error for one in decisions)
        columns = [item, "answer", "certain", "similarity", "candidates"]
        show(rows, [*columns, "error"] if has_errors else columns, as_json=as_json)
        if not as_json:
            results().print(_lines_drawn(gallery))
    if has_errors:
        raise typer.Exit(1)


def verify(
    place: Place,
    name: Name,
    file: Annotated[Path, typer.Argument(show_default=False)],
    encoder: Encoder = "",
    invert: Invert = None,
    cache: Cache = False,
    operator: Operator = "",
) -> None:
    """Say whether a photo shows whom it claims to show; status 1 if not, or if the gallery is not
    calibrated.
    """
    with opened(place, operator=operator, encoder=encoder, invert=invert) as gallery:
        decision = gallery.verify_file(file, name, cache=cache)
        results().print(f"{_verdict(decision)}. {_lines_drawn(gallery)}")
    if decision.identity is None:
        raise typer.Exit(1)


def _verdict(decision: "Decision") -> str:
    similarity = f"similarity {decision.similarity or 0:.4f}"
    if decision.threshold is None:
        return f"{decision.rule}: {similarity}"
    answer = "yes" if decision.identity else "no"
    return f"{answer}{'' if decision.certain else ', but look'}: {similarity}"


def _lines_drawn(gallery: "Gallery") -> str:
    """Above what somebody is accepted, and what that promises."""
    info = gallery.info()
    threshold = info["policy"]["threshold"]
    begin = "" if threshold is None else f"Accepted above a similarity of {threshold:.4f}. "
    return f"{begin}{info['promise']}"


def _row(item: str, one: "FileDecision", *, as_json: bool) -> dict[str, Any]:
    decision = one.decision
    if decision is None:
        return {item: str(one.path), "error": one.error}
    near = [{"identity": name, "similarity": round(s, 4)} for name, s in decision.candidates]
    in_words = ", ".join(f"{name} {s:.3f}" for name, s in decision.candidates)
    return {
        item: str(one.path),
        "answer": decision.answer,
        "identity": decision.identity,
        "certain": decision.certain,
        "similarity": None if decision.similarity is None else round(decision.similarity, 4),
        "threshold": decision.threshold,
        "promised_rate": decision.promised,
        "rule": decision.rule,
        "policy": decision.policy,
        "candidates": near if as_json else in_words,
    }
