"""How requests with items look, for the description (OpenAPI): multipart, or JSON with base64."""

from typing import Any

_FILE = {"type": "string", "format": "binary"}
_ITEM = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "data": {"type": "string", "contentEncoding": "base64"},
        "text": {"type": "string"},
        "row": {"type": "object"},
        "label": {"type": "string"},
    },
}
_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
)


def _form(fields: dict[str, Any], example: dict[str, Any], required: list[str]) -> dict[str, Any]:
    items = {"type": "array", "items": {"oneOf": [_ITEM, {"type": "string"}]}, "minItems": 1}
    files = {"type": "array", "items": _FILE, "minItems": 1}
    item = {"name": "one.png", "data": _PIXEL}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"file": files, **fields},
                        "required": ["file", *required],
                    }
                },
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {"items": items, **fields},
                        "required": ["items", *required],
                    },
                    "example": {**example, "items": [{**item, **_label(example)}]},
                },
            },
        }
    }


def _label(example: dict[str, Any]) -> dict[str, Any]:
    return {"label": "oak"} if example.get("labelled") else {}


_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
ITEMS = _form({}, {}, [])
LABELLED = _form({}, {}, [])
NAMED = _form({"name": _TEXT}, {"name": "oak"}, ["name"])
PERSON = _form(
    {
        "name": _TEXT,
        "consent": _TEXT,
        "retain_until": {"type": "string", "format": "date-time"},
        "force": _FLAG,
        "skip_poor": _FLAG,
    },
    {"name": "Ada", "consent": "by letter of 2026-01-05"},
    ["name"],
)
CLAIM = _form({"identity": _TEXT}, {"identity": "Ada"}, ["identity"])
