"""What the audit log says of enrolments and decisions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from quickstudy.core.errors import GalleryError
from quickstudy.core.words import counted
from quickstudy.gallery.audit import AuditEntry
from quickstudy.gallery.policy import Decision


def enrol_entries(
    pseudonym: str, detail: str, photos: Sequence[str] | None, chosen: Sequence[int]
) -> list[AuditEntry]:
    """Of an enrolment: one entry, or one for each photo that has a name.

    Args:
        pseudonym: of the identity.
        detail: in words.
        photos: the name of each photo that was given.
        chosen: the numbers of those that are enrolled.
    """
    if photos is None or not len(chosen):
        return [AuditEntry("enrol", pseudonym, detail=detail)]
    return [
        AuditEntry("enrol", pseudonym, detail=detail, photo=Path(photos[i]).name) for i in chosen
    ]


def decision_entries(
    action: str,
    decisions: Sequence[Decision],
    subjects: Mapping[int, str],
    photos: Sequence[str] | None,
) -> list[AuditEntry]:
    """Of decisions: one entry each.

    Args:
        action: identify or verify.
        decisions: what was decided, probe by probe.
        subjects: the pseudonym that a decision is about, by its number; of others nobody's.
        photos: the name of each probe's photo.

    Raises:
        GalleryError: when there are more or fewer names than probes.
    """
    if photos is not None and len(photos) != len(decisions):
        raise GalleryError(
            f"There are {counted(len(decisions), 'probe')}, but {len(photos)} names of photos."
        )
    return [
        AuditEntry(
            action,
            subjects.get(i),
            d.similarity,
            d.threshold,
            d.policy,
            _in_words(action, d),
            None if photos is None else Path(photos[i]).name,
        )
        for i, d in enumerate(decisions)
    ]


def _in_words(action: str, decision: Decision) -> str:
    words = [] if decision.threshold is not None else [decision.rule]
    if action == "verify":
        words.append("accepted" if decision.identity is not None else "refused")
    if decision.threshold is not None and not decision.certain:
        words.append("uncertain")
    return ", ".join(words)
