"""``gallery info``, ``calibrate`` and ``policy``: when a name is said, and what is promised."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quickstudy.cli.choices import OnBad, TemplateScore
from quickstudy.cli.gallery.options import (
    AsJson,
    Cache,
    Encoder,
    Invert,
    Operator,
    Place,
    look,
    opened,
    show,
)
from quickstudy.cli.screen import Bar, results
from quickstudy.core.errors import ConfigError
from quickstudy.core.words import counted, percent, percent_range

if TYPE_CHECKING:
    from quickstudy.gallery import Calibration

policy = typer.Typer(help="The thresholds in force: show, set.", no_args_is_help=True)


def info(place: Place, as_json: AsJson = False) -> None:
    """What a gallery is, how many it knows, what it can promise, and which copies there are."""
    with opened(place) as gallery:
        values = gallery.info()
    if as_json:
        show([values], [], as_json=True)
        return
    out, thresholds = results(), values["policy"]
    out.print(f"{values['place']}: {values['kind']}, by the encoder {values['encoder']}")
    out.print(
        f"{counted(values['identities'], 'identity', 'identities')} with "
        f"{counted(values['templates'], 'template')}; a cohort of "
        f"{counted(values['cohort_persons'], 'person', 'people')}; "
        f"{counted(values['audit_entries'], 'entry', 'entries')} in the audit log"
    )
    if values["measured_on"]:
        out.print(f"The encoder's thresholds were measured on {values['measured_on']}.")
    out.print(values["promise"])
    if thresholds["threshold"] is not None:
        out.print(_policy_in_words(thresholds))
    for copy in values["copies"]:
        out.print(copy)


def calibrate(
    place: Place,
    rate: Annotated[
        float, typer.Option(help="The share of impostors who may be taken for somebody.")
    ] = 0.01,
    cohort: Annotated[
        Path | None,
        typer.Option(
            help="A folder of photos of people who are not enrolled, a sub-folder per person; "
            "without it each identity is left out in turn."
        ),
    ] = None,
    encoder: Encoder = "",
    on_bad: OnBad = "refuse",
    invert: Invert = None,
    cache: Cache = False,
    operator: Operator = "",
) -> None:
    """Choose the thresholds for a false-accept rate; they then follow who comes and goes."""
    with opened(place, operator=operator, encoder=encoder, invert=invert) as gallery:
        if cohort is None:
            result = gallery.calibrate(rate)
        else:
            with Bar("encoding", 0) as bar:
                result = gallery.calibrate_files(
                    rate, cohort=cohort, on_bad=on_bad, cache=cache, progress=bar.update
                )
    _tell(result)


@policy.command("show")
def show_policy(place: Place, as_json: AsJson = False) -> None:
    """The thresholds in force, and where they come from."""
    with opened(place) as gallery:
        values = json.loads(gallery.policy.to_json())
    if as_json:
        show([values], [], as_json=True)
        return
    for name, value in values.items():
        results().print(f"{name}: {'—' if value is None else value}")


@policy.command("set")
def set_policy(
    place: Place,
    threshold: Annotated[
        float | None, typer.Option(help="Above this similarity a probe is somebody.")
    ] = None,
    review_from: Annotated[
        float | None, typer.Option(help="At or below this it is certainly unknown.")
    ] = None,
    review: Annotated[
        float | None, typer.Option(help="Above this it is certainly somebody.")
    ] = None,
    duplicate: Annotated[
        float | None, typer.Option(help="Above this a new photo looks like somebody else.")
    ] = None,
    score: Annotated[
        TemplateScore | None, typer.Option(help="Compare with the nearest template, or the mean.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Have the gallery keep this false-accept rate by itself instead."),
    ] = None,
    operator: Operator = "",
) -> None:
    """Set thresholds by hand, which then stay as they are; or, with --rate, have the gallery
    calibrate itself.
    """
    from quickstudy.gallery import Policy

    lines = {
        "threshold": threshold,
        "review_from": review_from,
        "review": review,
        "duplicate": duplicate,
    }
    given = {name: value for name, value in lines.items() if value is not None}
    if rate is not None and given:
        raise ConfigError("Give thresholds, or a rate that they are kept for, not both.")
    with opened(place, operator=operator) as gallery:
        before = gallery.policy
        kind = before.score if score is None else score
        if rate is not None:
            after = Policy(rate=rate, score=kind)
        elif not given:
            after = Policy(rate=before.rate, score=kind)
            if score is None:
                raise ConfigError("Give at least one of --threshold, --duplicate, --score, --rate.")
        else:
            old = {name: getattr(before, name) for name in lines}
            after = Policy(**{**old, **given}, score=kind)
        version = gallery.set_policy(after)
        results().print(f"Policy {version} is in force. {gallery.info()['promise']}")


def _tell(result: "Calibration") -> None:
    out, chosen = results(), result.policy
    look(result.warnings)
    out.print(_policy_in_words(dataclasses.asdict(chosen)))
    out.print(
        f"At most {percent(chosen.promised or 0, up=True)} of impostors are taken for somebody, by "
        f"the rule: {chosen.rule}" + (f", {result.persons} of them." if result.range else ".")
    )
    if result.range is not None:
        low, high = result.range
        out.print(
            f"That holds on average over calibrations; this one lies between "
            f"{percent_range(low, high, to='and')} (95 %)."
        )


def _policy_in_words(values: dict[str, float | str | None]) -> str:
    def cosine(name: str) -> str:
        return "—" if values[name] is None else f"{values[name]:.4f}"

    return (
        f"Accepted above a similarity of {cosine('threshold')}; a person should look between "
        f"{cosine('review_from')} and {cosine('review')}; duplicates begin at "
        f"{cosine('duplicate')}."
    )
