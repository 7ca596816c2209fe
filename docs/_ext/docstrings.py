"""Our docstrings are plain text with sections. What would mean something else to Sphinx is made
plain before napoleon reads the sections.
"""

import re

from sphinx.application import Sphinx

ONE_LINE_SECTIONS = ("Paper", "Differs", "Licence", "Source")
# Literals, links and emphasis stay as they are.
_MARKUP = re.compile(
    r"(``.+?``|`[^`]+`|\*\*[^*\s][^*]*\*\*|(?<!\w)\*[^*\s][^*]*\*(?!\w))", re.DOTALL
)
_BULLET = re.compile(r"\s*(-|\d+\.) ")
# ``encoder: f.`` would begin a list at its sixth letter.
_LETTER = re.compile(r"^(\s*[\w, ]+: \w)\.(?=\s|$)", re.MULTILINE)


def as_rst(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText with napoleon's sections."""
    paragraphs = _paragraphs(_sections_on_their_own_line(lines))
    result: list[str] = []
    literal = False
    for paragraph in paragraphs:
        indented = paragraph[0].startswith(" ")
        if literal and indented:
            result += [*paragraph, ""]
            continue
        literal = paragraph[-1].rstrip().endswith("::")
        if any(line.lstrip().startswith(">>>") for line in paragraph):
            result += [*paragraph, ""]
        else:
            result += [*_laid_out(_plain(paragraph)), ""]
    return result


def _sections_on_their_own_line(lines: list[str]) -> list[str]:
    """``Paper: text`` becomes ``Paper:`` and the text, indented, after an empty line."""
    result: list[str] = []
    inside = False
    for line in lines:
        head, colon, text = line.partition(": ")
        if colon and head in ONE_LINE_SECTIONS:
            result += ["", f"{head}:", f"    {text}"]
            inside = True
        elif inside and line.startswith(" "):
            result.append(f"    {line.strip()}")
        else:
            inside = False
            result.append(line)
    return result


def _paragraphs(lines: list[str]) -> list[list[str]]:
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    return [paragraph for paragraph in paragraphs if paragraph]


def _plain(lines: list[str]) -> list[str]:
    """The text with the signs escaped that would begin markup; literals may run over lines."""
    text = _LETTER.sub(r"\1\\.", "\n".join(lines))
    pieces = _MARKUP.split(text)
    for i in range(0, len(pieces), 2):
        pieces[i] = re.sub(r"[|*]", r"\\\g<0>", pieces[i])
        pieces[i] = re.sub(r"(?<=\w)_(?!\w)", r"\\_", pieces[i])
    return "".join(pieces).split("\n")


def _laid_out(lines: list[str]) -> list[str]:
    """Lists are set off from text; other text whose lines are indented keeps its lines."""
    if lines[0].startswith(" ") or re.fullmatch(r"\w+:", lines[0]):
        return lines
    if any(_BULLET.match(line) for line in lines):
        return _lists(lines)
    if any(line.startswith(" ") for line in lines):
        return [f"| {line.rstrip()}" for line in lines]
    return lines


def _lists(lines: list[str]) -> list[str]:
    result: list[str] = []
    for before, line in zip(["", *lines], lines, strict=False):
        begins = bool(_BULLET.match(line))
        ends = not begins and not line.startswith(" ") and before.startswith((" ", "-", "*"))
        if (begins and before and not _BULLET.match(before) and not before.startswith(" ")) or ends:
            result.append("")
        result.append(line)
    return result


def _process(
    app: Sphinx, what: str, name: str, item: object, options: object, lines: list[str]
) -> None:
    lines[:] = as_rst(lines)


def _skip(
    app: Sphinx, what: str, name: str, item: object, skip: bool, options: object
) -> bool | None:
    """Leave out what scikit-learn writes into every estimator, ``set_fit_request`` and the like:
    its text is marked up for scikit-learn's own site.
    """
    return True if re.fullmatch(r"set_\w+_request", name.rpartition(".")[2]) else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before napoleon."""
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
