"""The Open Inference Protocol, version 2, so that clients of other servers work here."""

import asyncio
import base64
import binascii
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from quickstudy.core.words import counted
from quickstudy.estimators.encoding import TABLE
from quickstudy.serve.gate import Gate
from quickstudy.serve.problems import ProblemError
from quickstudy.serve.registry import version_of
from quickstudy.serve.service import Encoded, Service, deadline_of, need, request_id_of
from quickstudy.serve.uploads import Item, Upload
from quickstudy.version import __version__

_READ = [Depends(need("read"))]
_NUMBERS = ("FP32", "FP64", "INT32", "INT64", "UINT8")


class Tensor(BaseModel):
    """An input: base64 of files or texts (BYTES), or rows of numbers."""

    name: str = Field(examples=["images"])
    shape: list[int] = Field(examples=[[1]])
    datatype: str = Field(examples=["BYTES"])
    data: list[Any]
    parameters: dict[str, Any] = Field(default_factory=dict)


class Inference(BaseModel):
    """A request."""

    id: str = ""
    inputs: list[Tensor] = Field(min_length=1, max_length=1)
    parameters: dict[str, Any] = Field(default_factory=dict)
    outputs: list[dict[str, Any]] = Field(default_factory=list)


def inference_routes(service: Service, gate: Gate) -> APIRouter:
    """The routes under /v2."""
    router = APIRouter(prefix="/v2", tags=["open inference protocol"])
    registry = service.registry

    @router.get("")
    async def server() -> dict[str, Any]:
        """What the server is."""
        return {"name": "quickstudy", "version": __version__, "extensions": []}

    @router.get("/health/live")
    async def live() -> dict[str, bool]:
        """Whether the server runs."""
        return {"live": True}

    @router.get("/health/ready")
    async def ready() -> dict[str, bool]:
        """Whether it takes requests."""
        return {"ready": not gate.is_stopping}

    @router.get("/models/{model}", dependencies=_READ)
    @router.get("/models/{model}/versions/{version}", dependencies=_READ)
    async def metadata(model: str, version: str = "") -> dict[str, Any]:
        """What a model takes and gives."""
        fitted = await asyncio.to_thread(registry.model(model).fitted)
        _check_version(version, version_of(fitted), model)
        is_table = fitted.encoding.kind == TABLE
        n = len(fitted.known.classes_)
        width = fitted.known.n_features_in_
        return {
            "name": model,
            "versions": [version_of(fitted)],
            "platform": "quickstudy",
            "inputs": [
                {
                    "name": fitted.encoding.kind,
                    "datatype": "FP64" if is_table else "BYTES",
                    "shape": [-1, width] if is_table else [-1],
                }
            ],
            "outputs": [
                {"name": "label", "datatype": "BYTES", "shape": [-1]},
                {"name": "score", "datatype": "FP64", "shape": [-1]},
                {"name": "unknown", "datatype": "BOOL", "shape": [-1]},
                {"name": "probabilities", "datatype": "FP64", "shape": [-1, n]},
            ],
        }

    @router.get("/models/{model}/ready", dependencies=_READ)
    @router.get("/models/{model}/versions/{version}/ready", dependencies=_READ)
    async def model_ready(model: str, version: str = "") -> dict[str, Any]:
        """Whether a model can be asked."""
        fitted = await asyncio.to_thread(registry.model(model).current)
        if fitted is not None:
            _check_version(version, version_of(fitted), model)
        return {"name": model, "ready": fitted is not None}

    @router.post("/models/{model}/infer", dependencies=_READ)
    @router.post("/models/{model}/versions/{version}/infer", dependencies=_READ)
    async def infer(
        model: str, body: Inference, request: Request, version: str = ""
    ) -> dict[str, Any]:
        """Labels, scores and probabilities. Here one bad item fails the request, as the protocol
        has no other form.
        """
        served = registry.model(model)
        fitted = await asyncio.to_thread(served.fitted)
        _check_version(version, version_of(fitted), model)
        tensor = body.inputs[0]
        if fitted.encoding.kind == TABLE:
            rows = _rows(tensor, fitted.known.n_features_in_)
            upload = Upload([Item(f"row {i + 1}") for i in range(len(rows))])
            encoded = Encoded(upload.items, fitted.encoding.standardised(rows))
        else:
            upload = Upload(_items(tensor, fitted.encoding.kind))
            if not 0 < len(upload.items) <= service.settings.limits.items:
                raise ProblemError(
                    413,
                    f"The request holds {counted(len(upload.items), 'item')}, and from 1 to "
                    f"{service.settings.limits.items} are taken.",
                )
            assert served.encoder is not None
            encoded = await service.encode(upload, served.encoder, deadline=deadline_of(request))
        bad = next((item for item in upload.items if item.error), None)
        if bad is not None:
            raise ProblemError(bad.status, f"{bad.name}: {bad.error}")
        answers = await asyncio.to_thread(service.model_answers, request, served, upload, encoded)
        said = answers.answers
        names = [str(name) for name in fitted.known.classes_.tolist()]
        shares = [[one.scores[name] for name in names] for one in said]
        n = len(said)
        return {
            "model_name": model,
            "model_version": answers.version,
            "id": body.id or request_id_of(request),
            "parameters": {
                "request_id": answers.request_id,
                "classes": names,
                "promise": None if answers.promise is None else answers.promise.model_dump(),
            },
            "outputs": [
                _output("label", "BYTES", [n], [str(one.answer) for one in said]),
                _output("score", "FP64", [n], [one.score for one in said]),
                _output("unknown", "BOOL", [n], [one.answer == "unknown" for one in said]),
                _output(
                    "probabilities",
                    "FP64",
                    [n, len(names)],
                    [share for row in shares for share in row],
                ),
            ],
        }

    return router


def _check_version(asked: str, there: str, model: str) -> None:
    if asked and asked != there:
        raise ProblemError(
            404, f"{model} is at version {there}, not '{asked:.80}'. Older ones are not kept."
        )


def _items(tensor: Tensor, kind: str) -> list[Item]:
    if tensor.datatype != "BYTES":
        raise ProblemError(
            422, f"The model takes {kind} as BYTES (base64), got datatype '{tensor.datatype:.20}'."
        )
    items = []
    for i, value in enumerate(tensor.data, 1):
        item = Item(f"{tensor.name[:40]} {i}")
        if not isinstance(value, str):
            raise ProblemError(422, f"Item {i} is no text but {type(value).__name__}.")
        if kind == "text":
            item.content = value
        else:
            try:
                item.content = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                raise ProblemError(422, f"Item {i} is not base64.") from None
        items.append(item)
    return items


def _rows(tensor: Tensor, width: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    if tensor.datatype not in _NUMBERS:
        raise ProblemError(
            422, f"The model takes rows of numbers ({', '.join(_NUMBERS)}), not '{tensor.datatype}'"
        )
    try:
        flat = np.asarray(tensor.data, dtype=np.float64).ravel()
    except (ValueError, TypeError):
        raise ProblemError(422, "The data are no numbers.") from None
    if tensor.shape[-1:] != [width] or flat.size % width or not np.isfinite(flat).all():
        raise ProblemError(
            422,
            f"Rows of {width} finite numbers were expected, got the shape {tensor.shape} with "
            f"{counted(flat.size, 'number')}.",
        )
    return flat.reshape(-1, width)


def _output(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}
