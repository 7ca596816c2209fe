"""Items in a request: images, recordings, texts and rows. They live in memory only."""

import asyncio
import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from quickstudy.core.errors import DataError
from quickstudy.core.words import counted
from quickstudy.data.image_files import picture_size
from quickstudy.pretrained import AbstractPretrained
from quickstudy.serve.problems import ProblemError
from quickstudy.serve.settings import Limits

_TEXTUAL = (b"<", b"%PDF", b"PK\x03\x04", b"#!")
_STARTS = {
    "image/png": (b"\x89PNG",),
    "image/jpeg": (b"\xff\xd8",),
    "image/gif": (b"GIF8",),
    "image/webp": (b"RIFF",),
    "image/bmp": (b"BM",),
}
_LONGEST_NAME = 200


@dataclass
class Item:
    """One item of a request.

    Args:
        name: what the client calls it.
        content: the bytes of a file, a text, or a row by its columns.
        media_type: that the client says it has.
        label: the class that the client gives it.
        error: why it cannot be used.
        status: of HTTP, where there is an error.
    """

    name: str
    content: Any = None
    media_type: str = ""
    label: str | None = None
    error: str = ""
    status: int = 200


@dataclass
class Upload:
    """What a request brings.

    Args:
        items: in their order.
        fields: everything else.
    """

    items: list[Item] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)

    def text(self, name: str, *, needed: bool = False) -> str | None:
        """A field that is a text.

        Raises:
            ProblemError: when it is another, or missing though needed.
        """
        value = self.fields.get(name)
        if value is None and not needed:
            return None
        if not isinstance(value, str) or (needed and not value.strip()):
            raise ProblemError(422, f"The field '{name}' must be a text, got {value!r:.80}.")
        return value

    def flag(self, name: str) -> bool:
        """A field that is true or false; false where it is missing."""
        return self.fields.get(name, False) in (True, "true", "1", "on", "yes")


async def read_upload(request: Request, limits: Limits, *, needs_items: bool = True) -> Upload:
    """The items and fields of a request: multipart, JSON with base64, or one bare file.

    Raises:
        ProblemError: for another form, no item, or too many.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        upload = await _multipart(request, limits)
    elif kind == "application/json":
        upload = _from_json(await request.body(), limits)
    elif kind.startswith(("image/", "audio/")) or kind == "application/octet-stream":
        upload = Upload([Item("body", await request.body(), kind)])
    else:
        raise ProblemError(
            415,
            f"The body is '{kind or 'without a type'}', but multipart/form-data, application/json "
            "(with base64), or one image or recording was expected.",
        )
    if needs_items and not upload.items:
        raise ProblemError(422, "No item came, and at least one was expected.")
    _check_count(len(upload.items), limits)
    return upload


async def read_items(
    upload: Upload, encoder: AbstractPretrained, limits: Limits
) -> tuple[list[Any], list[Item]]:
    """What the encoder takes of the items that can be used, and those items; the others are given
    their error.
    """

    def read_all() -> list[tuple[Any, Item]]:
        return [(_read(item, encoder, limits), item) for item in upload.items if not item.error]

    pairs = await asyncio.to_thread(read_all)
    good = [(value, item) for value, item in pairs if not item.error]
    for item in upload.items:
        item.content = item.content if isinstance(item.content, str | dict) else None
    return [value for value, _ in good], [item for _, item in good]


def refuse_if_nothing_is_left(upload: Upload) -> None:
    """Refuse a request of which no item can be used.

    Raises:
        ProblemError: with the status of the first.
    """
    bad = [item for item in upload.items if item.error]
    if bad and len(bad) == len(upload.items):
        raise ProblemError(
            bad[0].status,
            f"{bad[0].name}: {bad[0].error}",
            items=[{"item": item.name, "error": item.error} for item in bad],
        )


def _read(item: Item, encoder: AbstractPretrained, limits: Limits) -> Any:
    content = item.content
    if content == b"":
        return _wrong(item, 415, "The file is empty (0 bytes). Send it again.")
    if encoder.kind == "text":
        if isinstance(content, bytes):
            try:
                content = encoder.read(content)
            except DataError as error:
                return _wrong(item, 422, str(error))
        if not isinstance(content, str) or not content.strip():
            return _wrong(item, 422, "A text was expected.")
        return content
    if not isinstance(content, bytes):
        return _wrong(item, 422, f"The content of a file was expected, for {encoder.kind}.")
    if encoder.kind == "images":
        if not _is_what_it_says(item):
            return _wrong(
                item,
                415,
                "The content is no image of the kind that it is said to be. SVG, PDF, archives and "
                "pages are not read; send PNG, JPEG, WebP or the like.",
            )
        try:
            w, h = picture_size(content)
        except DataError as error:
            too_large = "pixels" in str(error) and "at most" in str(error)
            return _wrong(item, 413 if too_large else 415, str(error))
        if w * h > limits.pixels:
            return _wrong(
                item,
                413,
                f"The image has {w:,} × {h:,} = {w * h:,} pixels, and {limits.pixels:,} are read. "
                "Shrink it.",
            )
    try:
        return encoder.read(content)
    except DataError as error:
        return _wrong(item, 422 if encoder.kind == "images" else 415, str(error))


def _is_what_it_says(item: Item) -> bool:
    start = item.content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(_TEXTUAL) or not start:
        return False
    expected = _STARTS.get(item.media_type)
    return expected is None or start.startswith(expected)


def _wrong(item: Item, status: int, error: str) -> None:
    item.status, item.error = status, error


async def _multipart(request: Request, limits: Limits) -> Upload:
    parser = MultiPartParser(
        request.headers,
        request.stream(),  # pyright: ignore[reportArgumentType] - an async generator
        max_files=limits.items,
        max_fields=limits.items + 20,
        max_part_size=1_000_000,
    )
    # Never a temporary file: an image must not come to lie on a disk.
    parser.spool_max_size = limits.body + 1
    try:
        form = await parser.parse()
    except MultiPartException as error:
        status = 413 if "Too many" in error.message else 400
        raise ProblemError(status, f"The form cannot be read: {error.message}") from None
    except (ValueError, KeyError) as error:
        raise ProblemError(400, f"The form cannot be read: {error}.") from None
    upload = Upload()
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                content = await value.read()
                shown = _name(value.filename or name)
                upload.items.append(Item(shown, content, value.content_type or ""))
            elif name == "text":
                upload.items.append(Item(f"text {len(upload.items) + 1}", value))
            elif name == "row":
                upload.items.append(Item(f"row {len(upload.items) + 1}", _row(value)))
            elif name == "label":
                upload.fields.setdefault("labels", []).append(value)
            else:
                upload.fields[name] = value
    finally:
        await form.close()
    labels = upload.fields.pop("labels", [])
    if labels and len(labels) != len(upload.items):
        raise ProblemError(
            422,
            f"There are {counted(len(upload.items), 'item')}, but {len(labels)} fields 'label'.",
        )
    for item, label in zip(upload.items, labels, strict=False):
        item.label = label
    return upload


def _from_json(body: bytes, limits: Limits) -> Upload:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, f"The body is no JSON: {error}.") from None
    if not isinstance(values, dict):
        raise ProblemError(422, "The body must be a JSON object.")
    items = values.pop("items", [])
    if not isinstance(items, list):
        raise ProblemError(422, "'items' must be a list.")
    _check_count(len(items), limits)
    return Upload([_item(value, i) for i, value in enumerate(items, 1)], values)


def _item(value: Any, number: int) -> Item:
    if isinstance(value, str):
        return Item(f"text {number}", value)
    if not isinstance(value, dict):
        return Item(
            f"item {number}",
            status=422,
            error='An item is a text, or an object with "data" (base64), "text" or "row".',
        )
    name = _name(str(value.get("name", f"item {number}")))
    label = value.get("label")
    item = Item(name, label=None if label is None else str(label))
    if isinstance(value.get("text"), str):
        item.content = value["text"]
    elif isinstance(value.get("row"), dict):
        item.content = value["row"]
    elif isinstance(value.get("data"), str):
        data = value["data"]
        if data.startswith("data:"):
            head, _, data = data.partition(",")
            item.media_type = head[5:].split(";")[0]
        try:
            item.content = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            _wrong(item, 422, "The data is not base64. Addresses are not fetched.")
    elif "row" in value:
        _wrong(item, 422, '"row" must be an object with the columns, such as {"height": 1.5}.')
    else:
        _wrong(item, 422, 'The item has none of "data" (base64), "text" and "row".')
    return item


def _row(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _name(given: str) -> str:
    """A name that can be shown: no path, no control characters, not long."""
    last = given.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(letter if letter.isprintable() else "�" for letter in last)
    return shown[:_LONGEST_NAME] or "item"


def _check_count(n: int, limits: Limits) -> None:
    if n > limits.items:
        raise ProblemError(
            413,
            f"The request holds {n} items, and {limits.items} are taken at once. Send fewer.",
        )
