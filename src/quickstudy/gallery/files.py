"""A gallery that takes files: photos or recordings, encoded as its templates were. Photos in memory
may stand wherever the path of one may.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from quickstudy.core.disk import as_path
from quickstudy.core.errors import ConfigError, DataError, GalleryError, did_you_mean
from quickstudy.core.words import counted
from quickstudy.gallery.cohort import Calibration
from quickstudy.gallery.gallery import DEFAULT_RATE, VectorGallery
from quickstudy.gallery.names import normal_name
from quickstudy.gallery.policy import Decision, Enrolment, Policy

if TYPE_CHECKING:
    from quickstudy.gallery.rates import Probes
    from quickstudy.pretrained import AbstractPretrained, EncodedFiles
    from quickstudy.pretrained.files import Source

ON_POOR = ("warn", "skip")
_AT_ONCE = 256
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FolderEnrolment:
    """What came of enrolling a folder of people.

    Args:
        enrolled: of each identity that was enrolled or known, what came of it.
        refused: of each other one the name and the reason: a question to a person.
        notes: what else is to be said, in plain sentences.
    """

    enrolled: tuple[Enrolment, ...]
    refused: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    @property
    def new_templates(self) -> int:
        """How many templates are new."""
        return sum(len(one.templates) for one in self.enrolled)

    @property
    def changed(self) -> tuple[str, ...]:
        """The identities that got new templates."""
        return tuple(one.identity for one in self.enrolled if one.templates)


@dataclass(frozen=True)
class FileDecision:
    """What a gallery says of one file.

    Args:
        path: of the file; what is in memory is called by its place among what was asked, "<item 3>"
            the third.
        decision: None where it cannot be read.
        error: why it cannot be read; else empty.
    """

    path: Path
    decision: Decision | None
    error: str = ""


class Gallery(VectorGallery):
    """`VectorGallery`, and files: photos and recordings are encoded as the templates were.

    Example:
        >>> import tempfile
        >>> with Gallery.create(
        ...     Path(tempfile.mkdtemp()) / "door.db", encoder="my encoder 1", dim=3
        ... ) as gallery:
        ...     gallery.enrol("Ada", [[1.0, 0.1, 0.0], [1.0, 0.0, 0.1]]).warnings
        ...     decision = gallery.identify([[0.9, 0.0, 0.0]])[0]
        ()
        >>> decision.answer, decision.candidates[0][0], round(decision.similarity, 3)
        ('not calibrated', 'Ada', 0.995)
    """

    _pretrained: "AbstractPretrained | None" = None

    @classmethod
    def create_for(
        cls,
        place: str | Path,
        encoder: "str | AbstractPretrained" = "auto",
        *,
        kind: str = "images",
        invert: bool | None = None,
        photographs: "Iterable[Source] | Source" = (),
        policy: Policy | None = None,
        operator: str = "",
    ) -> Self:
        """A new, empty gallery for the vectors of an encoder, with the thresholds that were
        measured of it, if any.

        Args:
            place: a file (SQLite), or the URL of a PostgreSQL database.
            encoder: as of `quickstudy.pretrained.open_encoder`.
            kind: "images" or "audio".
            invert: of drawings: as of `quickstudy.pretrained.open_encoder`.
            photographs: photos like those that will be enrolled, as of `enrol_files`: "auto" looks
                at eight of them, and takes the encoder of faces where most of them show one and it
                is installed; the encoder's `notes` say so.
            policy, operator: as of `create`.

        Raises:
            GalleryError: when there is a gallery already, or the place cannot be written.
            ConfigError, LoadError: when the encoder cannot be opened.
        """
        from quickstudy.pretrained import open_encoder
        from quickstudy.pretrained.auto import people_encoder
        from quickstudy.pretrained.registry import entry_of

        pretrained = None
        if encoder == "auto" and kind == "images" and invert is None:
            pretrained = people_encoder(_some_of(photographs))
        if pretrained is None:
            pretrained = open_encoder(encoder, kind=kind, invert=invert)
        source = pretrained.source
        is_file = entry_of(source) is None and Path(source).exists()
        gallery = cls.create(
            place,
            encoder=pretrained.key,
            dim=pretrained.dim,
            kind=kind,
            source=str(Path(source).absolute()) if is_file else source,
            measured=pretrained.measured,
            policy=policy,
            operator=operator,
        )
        gallery._pretrained = pretrained
        return gallery

    def pretrained(
        self, source: "str | AbstractPretrained" = "", *, invert: bool | None = None
    ) -> "AbstractPretrained":
        """The encoder that the templates are from, opened once.

        Args:
            source: where it is now; empty = where it was when the gallery was made.
            invert: of drawings; None = as the gallery was made.

        Raises:
            ConfigError: when the gallery does not say which encoder it is.
            GalleryError: when it is another one.
        """
        if self._pretrained is None or source or invert is not None:
            self._pretrained = self._open_encoder(source, invert)
        return self._pretrained

    # --- enrolling

    def enrol_files(
        self,
        identity: str,
        files: "Iterable[Source] | Source",
        *,
        force: bool = False,
        consent: str | None = None,
        retain_until: datetime | str | None = None,
        details: dict[str, Any] | None = None,
        on_bad: str = "refuse",
        on_poor: str = "warn",
        cache: bool = False,
        progress: Progress | None = None,
    ) -> Enrolment:
        """Enrol an identity by photos or recordings: files, folders of them, or what is in memory.

        Args:
            identity, force, consent, retain_until, details: as of `enrol`.
            files: paths of files or folders; the content of a file or an open one; of photos also
                Pillow images and arrays. What is in memory is called "<item 1>" and so on. One of
                these may come alone.
            on_bad: files that cannot be read: "refuse" them all, or "skip" them.
            on_poor: photos that are tiny, dark, blurred, without contrast, or unlike the person's
                others: "warn" and enrol, or "skip" them.
            cache: keep vectors in the user's cache folder, where `remove` does not delete them.
            progress: called with (files done, files in all).

        Raises:
            DataError: when no file can be read.
            DuplicateError: when a photo looks like another identity, unless ``force``.
        """
        from quickstudy.pretrained.files import find_sources, names_of

        _check_on_poor(on_poor)
        sources = find_sources(files, kind=self.kind)
        encoded = self._encode(sources, on_bad=on_bad, cache=cache, progress=progress)
        return self._enrol_encoded(
            identity,
            dict(zip(names_of(sources), sources, strict=True)),
            encoded.paths,
            encoded.vectors,
            skipped=encoded.skipped,
            on_poor=on_poor,
            force=force,
            consent=consent,
            retain_until=retain_until,
            details=details,
        )

    def enrol_folder(
        self,
        folder: str | Path,
        *,
        force: bool = False,
        on_bad: str = "refuse",
        on_poor: str = "warn",
        cache: bool = False,
        progress: Progress | None = None,
    ) -> FolderEnrolment:
        """Enrol everybody of a folder with one sub-folder per identity. It goes through to its end:
        who looks like somebody else, or has nothing that can be read, is listed with the reason.
        Photos that are enrolled already change nothing, so it may be run again.

        Args:
            folder: with one sub-folder per identity; its name is that of the identity.
            force, on_poor, cache, progress: as of `enrol_files`.
            on_bad: files that cannot be read: "refuse" the identity, or "skip" the file.

        Raises:
            DataError: when the folder has no sub-folders.
        """
        _check_on_poor(on_poor)
        people, empty, notes = _people_in(as_path(folder, "folder").expanduser(), self.kind)
        refused, enrolled = list(empty), list[Enrolment]()
        encoded = self._encode(
            [path for paths in people.values() for path in paths],
            on_bad="skip",
            cache=cache,
            progress=progress,
        )
        rows = {path: row for row, path in enumerate(encoded.paths)}
        reasons = dict(encoded.skipped)
        for name, paths in people.items():
            bad = [(path, reasons[path]) for path in paths if path in reasons]
            good = [path for path in paths if path in rows]
            if bad and (on_bad == "refuse" or not good):
                refused.append((name, f"{len(bad)} of {len(paths)} files: {bad[0][1]}"))
                continue
            vectors = encoded.vectors[[rows[path] for path in good]]
            try:
                one = self._enrol_encoded(
                    name, {}, good, vectors, skipped=bad, on_poor=on_poor, force=force
                )
            except (GalleryError, DataError) as error:
                refused.append((name, str(error)))
            else:
                enrolled.append(one)
        return FolderEnrolment(tuple(enrolled), tuple(refused), (*notes, *encoded.notes))

    # --- asking

    def identify_files(
        self,
        files: "Iterable[Source] | Source",
        *,
        top_k: int = 5,
        cache: bool = False,
        progress: Progress | None = None,
    ) -> list[FileDecision]:
        """Who is on each photo (or speaks in each recording), or that it is somebody unknown. Files
        that cannot be read have an error in place of a decision.

        Args:
            files: as of `enrol_files`.
            top_k: how many candidates to name.
            cache, progress: as of `enrol_files`.
        """
        from quickstudy.pretrained.files import find_sources, names_of

        sources = find_sources(files, kind=self.kind)
        encoded = self._encode(sources, on_bad="skip", cache=cache, progress=progress)
        decisions = list[Decision]()
        for begin in range(0, len(encoded.paths), _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            names = [path.name for path in encoded.paths[part]]
            decisions += self.identify(encoded.vectors[part], top_k=top_k, photos=names)
        by_path = dict(zip(encoded.paths, decisions, strict=True))
        reasons = dict(encoded.skipped)
        return [
            FileDecision(path, by_path.get(path), reasons.get(path, ""))
            for path in names_of(sources)
        ]

    def verify_file(self, file: "Source", identity: str, *, cache: bool = False) -> Decision:
        """Whether a photo or recording is of the one it claims to be.

        Args:
            file: one, as of `enrol_files`, but no folder.
            identity: the name.
            cache: as of `enrol_files`.

        Raises:
            DataError: when it cannot be read.
            GalleryError: when there is none of that name.
        """
        from quickstudy.pretrained.files import is_path

        source = Path(file).expanduser() if is_path(file) else file
        encoded = self._encode([source], on_bad="refuse", cache=cache)
        return self.verify(encoded.vectors[0], identity, photo=encoded.paths[0].name)

    # --- thresholds and error rates

    def calibrate_files(
        self,
        rate: float = DEFAULT_RATE,
        *,
        cohort: "Iterable[Source] | Source",
        on_bad: str = "refuse",
        cache: bool = False,
        progress: Progress | None = None,
    ) -> Calibration:
        """`calibrate` with photos or recordings of people who are not enrolled. The files of one
        sub-folder of a folder are of one person; all others are of one each.

        Args:
            rate: the share of impostors who may be taken for somebody.
            cohort: the folder, or several folders and files, as of `enrol_files`.
            on_bad, cache, progress: as of `enrol_files`.
        """
        from quickstudy.pretrained.files import find_sources, is_path, listed_sources

        items = listed_sources(cohort)
        sources = find_sources(items, kind=self.kind)
        encoded = self._encode(sources, on_bad=on_bad, cache=cache, progress=progress)
        folders = [Path(item).expanduser() for item in items if is_path(item)]
        if not encoded.paths:
            raise DataError(
                f"None of the {counted(len(sources), 'file')} of the cohort "
                f"({', '.join(map(str, folders[:10])) or 'in memory'}) can be read. The first: "
                f"{encoded.skipped[0][1]}"
            )
        persons = [person_of(path, *folders) for path in encoded.paths]
        calibration = self.calibrate(rate, cohort=encoded.vectors, persons=persons)
        skipped = tuple(f"{path} was skipped: {reason}" for path, reason in encoded.skipped)
        return dataclasses.replace(calibration, warnings=(*skipped, *calibration.warnings))

    def probe_folder(
        self,
        folder: str | Path,
        *,
        on_bad: str = "refuse",
        cache: bool = False,
        progress: Progress | None = None,
    ) -> "Probes":
        """What the gallery says of probes whose identity is known, for its error rates
        (`quickstudy.gallery.rates`).

        Args:
            folder: with one sub-folder per person: those called like somebody who is enrolled are
                mated probes, all others non-mated ones.
            on_bad, cache, progress: as of `enrol_files`.

        Raises:
            GalleryError: when nobody is enrolled.
            DataError: when the folder has no sub-folders, or files cannot be read.
        """
        from quickstudy.gallery.rates import Probes

        enrolled = [person["name"] for person in self.identities()]
        if not enrolled:
            raise GalleryError(
                f"Nobody is enrolled in {self.place}, so there is nobody to be recognised. Enrol "
                "somebody first."
            )
        people, empty, _ = _people_in(as_path(folder, "folder").expanduser(), self.kind)
        if empty:
            raise DataError(f"In {folder}, {empty[0][0]}: {empty[0][1]}")
        owner = {path: p for p, paths in enumerate(people.values()) for path in paths}
        encoded = self._encode(list(owner), on_bad=on_bad, cache=cache, progress=progress)
        identity = np.asarray([owner[path] for path in encoded.paths], np.int64)
        column = {name: n for n, name in enumerate(enrolled)}
        similarity = np.empty((len(identity), len(enrolled)))
        for begin in range(0, len(identity), _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            names = [path.name for path in encoded.paths[part]]
            decisions = self.identify(encoded.vectors[part], top_k=len(enrolled), photos=names)
            for row, decision in enumerate(decisions, start=begin):
                for name, s in decision.candidates:
                    similarity[row, column[name]] = s
        mate = np.asarray([column.get(name, -1) for name in people], np.int64)[identity]
        return Probes(similarity, mate, identity, self.policy.threshold)

    # --- inside

    def _open_encoder(
        self, source: "str | AbstractPretrained", invert: bool | None
    ) -> "AbstractPretrained":
        from quickstudy.pretrained import open_encoder

        is_given = bool(source)
        source = source or self.source
        if not source:
            raise ConfigError(
                f"{self.place} does not say which encoder its templates are from. Name it (on the "
                "command line: --encoder)."
            )
        pretrained = open_encoder(source, kind=self.kind, invert=invert, trusted=is_given)
        if pretrained.key != self.encoder and invert is None:
            # The gallery of drawings may have been made with either; its encoder's key tells which.
            for flag in (True, False):
                try:
                    other = open_encoder(source, kind=self.kind, invert=flag, trusted=is_given)
                except ConfigError:
                    break  # it is not for drawings
                if other.key == self.encoder:
                    return other
        if pretrained.key != self.encoder:
            raise GalleryError(
                f"{self.place} holds templates of the encoder '{self.encoder}', not of "
                f"'{pretrained.key}' ({pretrained.source}): their vectors cannot be compared. Use "
                "that encoder, or enrol everybody anew in another gallery."
            )
        return pretrained

    def _encode(
        self,
        sources: "Sequence[Source]",
        *,
        on_bad: str,
        cache: bool,
        progress: Progress | None = None,
    ) -> "EncodedFiles":
        from quickstudy.pretrained import encode_files

        return encode_files(
            self.pretrained(), sources, cache=cache or None, on_bad=on_bad, progress=progress
        )

    def _enrol_encoded(
        self,
        identity: str,
        sources: "Mapping[Path, Source]",
        paths: Sequence[Path],
        vectors: Any,
        *,
        skipped: Sequence[tuple[Path, str]],
        on_poor: str,
        **options: Any,
    ) -> Enrolment:
        """Enrol what is encoded, but for photos of poor quality; ``sources`` has by its name what
        is in memory.
        """
        return self.enrol_checked(
            identity,
            vectors,
            paths=paths,
            flaws=[self.flaws(sources.get(path, path)) for path in paths],
            skipped=skipped,
            on_poor=on_poor,
            **options,
        )

    def enrol_checked(
        self,
        identity: str,
        vectors: Any,
        *,
        paths: Sequence[Path],
        flaws: Sequence[Sequence[str]],
        skipped: Sequence[tuple[Path, str]] = (),
        on_poor: str = "warn",
        **options: Any,
    ) -> Enrolment:
        """Enrol what is encoded already and whose flaws are known, as `enrol_files` does.

        Args:
            identity: the name.
            vectors: ``[n D]``.
            paths: what each photo is called.
            flaws: of each photo what `flaws` says.
            skipped: photos that could not be read, each with the reason.
            on_poor: as of `enrol_files`.
            options: ``force``, ``consent``, ``retain_until`` and ``details``, as of `enrol`.

        Raises:
            DataError: when no photo can be used.
            DuplicateError: when a photo looks like another identity, unless ``force``.
        """
        _check_on_poor(on_poor)
        name = normal_name(identity)
        left_out, notes, kept = list(skipped), list[str](), list[int]()
        for row, (path, wrong) in enumerate(zip(paths, flaws, strict=True)):
            notes += [f"{path}: {flaw}." for flaw in wrong]
            if wrong and on_poor == "skip":
                left_out.append((path, "; ".join(wrong)))
            else:
                kept.append(row)
        if not kept:
            reason = left_out[0][1] if left_out else "there is none"
            raise DataError(
                f"None of the {counted(len(left_out), 'file')} can be used, so nothing of {name} "
                f"was "
                f"enrolled. The first, {left_out[0][0] if left_out else name}: {reason}"
            )
        result = self.enrol(
            name,
            vectors[kept],
            photos=[paths[row].name for row in kept],
            skip_unlike=on_poor == "skip",
            **options,
        )
        return dataclasses.replace(
            result, warnings=(*notes, *result.warnings), skipped=tuple(left_out)
        )

    def flaws(self, photo: "Source") -> tuple[str, ...]:
        """What is wrong with a photo before somebody is enrolled with it."""
        if self.kind != "images":
            return ()
        from quickstudy.data import read_picture
        from quickstudy.pretrained.quality import picture_quality

        return picture_quality(read_picture(photo)).warnings


def person_of(path: Path, *cohort: Path) -> str:
    """Which person a file of a cohort is of: those in one sub-folder of its folders are of one, all
    others of one each.

    >>> [
    ...     person_of(Path(p), Path("others"))
    ...     for p in ("others/a.png", "others/anna/1.png", "others/anna/more/2.png")
    ... ]
    ['others/a.png', 'anna', 'anna']
    """
    folder = next((one for one in cohort if one in path.parents), path)
    return str(path) if folder in (path, path.parent) else path.relative_to(folder).parts[0]


def _some_of(photographs: "Iterable[Source] | Source") -> "list[Source]":
    """Photos from all over the folders that are given, one of each sub-folder first."""
    from quickstudy.pretrained.files import find_sources, listed_sources, names_of

    items = listed_sources(photographs)
    if not items:
        return []
    sources = find_sources(items, kind="images")
    rank = dict[Path, int]()
    order = list[tuple[int, int]]()
    for at, name in enumerate(names_of(sources)):
        rank[name.parent] = rank.get(name.parent, -1) + 1
        order.append((rank[name.parent], at))
    return [sources[at] for _, at in sorted(order)]


def _people_in(
    folder: Path, kind: str
) -> tuple[dict[str, list[Path]], list[tuple[str, str]], tuple[str, ...]]:
    """The files of each sub-folder by its name, those without any with the reason, and notes."""
    from quickstudy.data import find_files
    from quickstudy.data.folder import entries_of
    from quickstudy.data.hidden import said_of_hidden

    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Check the path and its spelling.")
    folders, files, hidden = entries_of(folder)
    if not folders:
        raise DataError(
            f"{folder} has no sub-folders, but one per identity was expected: "
            f"{folder / 'NAME' / 'photo.jpg'}. A folder with the files of one identity is enrolled "
            "by its name: enrol_files(name, [folder]), on the command line gallery enrol."
        )
    people, empty = dict[str, list[Path]](), list[tuple[str, str]]()
    for sub in folders:
        try:
            name = normal_name(sub.name)
            paths = find_files([sub], kind=kind)
        except (DataError, GalleryError) as error:
            empty.append((sub.name, str(error)))
        else:
            people.setdefault(name, []).extend(paths)
    some = counted(len(files), "file lies", "files lie")
    note = f"{some} beside the sub-folders in {folder}; nobody is enrolled with it."
    hidden = [path for path in hidden if path.is_dir()]
    notes = (note if files else "", said_of_hidden(hidden, folder))
    return people, empty, tuple(text for text in notes if text)


def _check_on_poor(on_poor: str) -> None:
    if on_poor not in ON_POOR:
        raise ConfigError(f"on_poor cannot be '{on_poor}'. {did_you_mean(on_poor, ON_POOR)}")
