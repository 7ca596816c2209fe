"""Models over HTTP: ask, teach, rename, forget, comment, measure."""

import asyncio
import functools
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response

from quickstudy.data import read_picture
from quickstudy.estimators import FittedModel
from quickstudy.estimators.copies import said_of_copies
from quickstudy.estimators.open_set import OpenSetClassifier
from quickstudy.estimators.scoring import score_answers
from quickstudy.estimators.views import METHODS, compare_methods, error_curve, example_map
from quickstudy.pretrained.quality import picture_quality
from quickstudy.report import fit_page
from quickstudy.serve.answers import (
    Answers,
    Changed,
    Curve,
    Map,
    Measured,
    Method,
    ModelCard,
    NewName,
    Place,
    Promise,
    Rate,
    Verdict,
)
from quickstudy.serve.forms import ITEMS, LABELLED, NAMED
from quickstudy.serve.problems import ProblemError
from quickstudy.serve.registry import ServedModel, promise_of, version_of
from quickstudy.serve.service import Service, need, request_id_of, skipped
from quickstudy.serve.uploads import read_upload

_READ = [Depends(need("read"))]
_ENROL = [Depends(need("enrol"))]
_ADMINISTER = [Depends(need("administer"))]
_BYTES = "application/octet-stream"


def model_routes(service: Service) -> APIRouter:
    """The routes under /v1/models."""
    router = APIRouter(prefix="/v1/models", tags=["models"])
    registry, limits = service.registry, service.settings.limits

    @router.get("", dependencies=_READ)
    async def list_models() -> list[ModelCard]:
        """The models that are served."""
        return [await asyncio.to_thread(_card, served) for served in registry.models.values()]

    @router.get("/{model}", dependencies=_READ)
    async def get_model(model: str) -> ModelCard:
        """One model: its classes, and what it promises."""
        return await asyncio.to_thread(_card, registry.model(model))

    @router.post("/{model}/predict", dependencies=_READ, openapi_extra=ITEMS)
    async def predict(
        model: str,
        request: Request,
        sets: Annotated[
            float | None,
            Query(
                gt=0,
                lt=1,
                description="Name also so many classes that the right one is missing in this "
                "share of cases at most.",
                examples=[0.1],
            ),
        ] = None,
    ) -> Answers:
        """What each item is, or that it is unknown. One that cannot be read fails alone."""
        served = registry.model(model)
        await asyncio.to_thread(served.fitted)
        upload = await read_upload(request, limits)
        encoded = await service.encode_for(upload, served, request)
        return await asyncio.to_thread(
            service.model_answers, request, served, upload, encoded, sets=sets
        )

    @router.post("/{model}/score", dependencies=_READ, openapi_extra=LABELLED)
    async def score(model: str, request: Request) -> Measured:
        """How well it does on labelled items; labels that it does not know count as unknowns."""
        served = registry.model(model)
        fitted = await asyncio.to_thread(served.fitted)
        upload = await read_upload(request, limits)
        if any(item.label is None for item in upload.items):
            raise ProblemError(422, "Each item needs a label. Send as many fields 'label' as items")
        encoded = await service.encode_for(upload, served, request)
        names = [str(item.label) for item in encoded.items]
        answers = await asyncio.to_thread(fitted.answer_vectors, names, encoded.vectors)
        result = score_answers(fitted, names, answers, where="The request")
        return Measured(
            name=served.name,
            version=version_of(fitted),
            request_id=request_id_of(request),
            items=len(result.items),
            accuracy=_number(result.accuracy),
            accuracy_interval=result.interval,
            false_reject_rate=_number(result.false_reject_rate) if fitted.is_calibrated else None,
            false_accept_rate=_number(result.false_accept_rate),
            false_accept_interval=result.false_accept_interval,
            by_class=result.by_class(),
            unread=skipped(upload),
        )

    @router.post("/{model}/classes", status_code=201, dependencies=_ENROL, openapi_extra=NAMED)
    async def add_examples(model: str, request: Request) -> Changed:
        """Learn a class from its items, or give a class further ones."""
        served = registry.model(model)
        upload = await read_upload(request, limits)
        name = upload.text("name", needed=True) or ""
        contents = {id(item): item.content for item in upload.items}
        encoded = await service.encode_for(upload, served, request)

        def learn() -> FittedModel:
            if served.current() is None:
                return served.begin(name.strip(), encoded.vectors)
            return served.change(lambda m: m.add_vectors(name, encoded.vectors))[1]

        def flaws() -> list[str]:
            if served.kind != "images":
                return []
            return [
                f"{item.name}: {flaw}."
                for item in encoded.items
                for flaw in picture_quality(read_picture(contents[id(item)])).warnings
            ]

        warnings = await asyncio.to_thread(flaws)
        fitted = await asyncio.to_thread(learn)
        label, called = fitted.label_of(name), [item.name for item in encoded.items]
        said = said_of_copies(fitted.known, label, encoded.vectors, called)
        warnings += [said] if said else []
        return _changed(served, fitted, request, warnings=warnings, skipped=skipped(upload))

    @router.patch("/{model}/classes/{label:path}", dependencies=_ADMINISTER)
    async def rename_class(model: str, label: str, new: NewName, request: Request) -> Changed:
        """Give a class another name."""
        served = registry.model(model)
        _, fitted = await asyncio.to_thread(
            served.change, lambda m: m.rename_class(label, new.name)
        )
        return _changed(served, fitted, request)

    @router.delete("/{model}/classes/{label:path}", dependencies=_ADMINISTER)
    async def remove_class(model: str, label: str, request: Request) -> Changed:
        """Forget a class and its examples."""
        served = registry.model(model)

        def remove() -> FittedModel | None:
            counts = served.fitted().counts
            if served.blank is not None and [str(name) for name in counts] == [label]:
                served.empty()
                return None
            return served.change(lambda m: m.remove_class(label))[1]

        return _changed(served, await asyncio.to_thread(remove), request)

    @router.delete("/{model}/classes", dependencies=_ADMINISTER)
    async def empty(model: str, request: Request) -> Changed:
        """Forget all classes, of a model that may be taught from nothing."""
        served = registry.model(model)
        await asyncio.to_thread(served.empty)
        return _changed(served, None, request)

    @router.post("/{model}/feedback", status_code=201, dependencies=_ENROL)
    async def give_feedback(model: str, verdict: Verdict, request: Request) -> Changed:
        """Say whether an answer was right or wrong; the model learns from it at once."""
        served = registry.model(model)
        asked = registry.memory.get(verdict.answer, served.name)
        one, fitted = await asyncio.to_thread(
            served.change,
            lambda m: m.give_feedback(asked.vector, verdict.verdict, verdict.label),
        )
        registry.memory.drop(verdict.answer)
        return _changed(served, fitted, request, feedback=one.id)

    @router.delete("/{model}/feedback/{feedback}", dependencies=_ENROL)
    async def take_back(model: str, feedback: str, request: Request) -> Changed:
        """Undo feedback."""
        served = registry.model(model)
        if not any(one.id == feedback for one in served.fitted().feedback):
            raise ProblemError(404, f"The model {model} has no feedback '{feedback}'.")
        _, fitted = await asyncio.to_thread(served.change, lambda m: m.take_back(feedback))
        return _changed(served, fitted, request, feedback=feedback)

    @router.get("/{model}/feedback", dependencies=_READ)
    async def list_feedback(model: str) -> list[dict[str, Any]]:
        """What people said of its answers, without vectors."""
        fitted = await asyncio.to_thread(registry.model(model).current)
        return [] if fitted is None else [one.to_json() for one in fitted.feedback]

    @router.post("/{model}/calibrate", dependencies=_ADMINISTER)
    async def calibrate(model: str, rate: Rate, request: Request) -> Changed:
        """Draw the threshold for another false-accept rate."""
        served = registry.model(model)
        if not served.fitted().is_calibrated:
            raise ProblemError(
                409, f"{model} never says unknown. Fit it with a false-accept rate and a cohort."
            )
        _, fitted = await asyncio.to_thread(
            served.change, lambda m: m.with_rate(rate.false_accept_rate)
        )
        return _changed(served, fitted, request)

    @router.get("/{model}/methods", dependencies=_READ)
    async def methods(
        model: str, method: Annotated[list[str] | None, Query(max_length=20)] = None
    ) -> list[Method]:
        """How each method does on the examples, left out one at a time; one or several by name."""
        fitted = await asyncio.to_thread(registry.model(model).fitted)
        names = METHODS if method is None else method
        rows = await asyncio.to_thread(compare_methods, fitted, methods=names)
        return [
            Method(
                method=row.method,
                accuracy=row.accuracy,
                examples=row.examples,
                milliseconds=None if row.seconds is None else 1000 * row.seconds,
                note=row.note,
            )
            for row in rows
        ]

    @router.get("/{model}/download", dependencies=_ADMINISTER, **_file_of("application/zip"))
    async def download(model: str) -> Response:
        """The model as a folder in a zip file: vectors and settings, no item."""
        served = registry.model(model)
        return await _sent(served.packed, "application/zip", f"{served.name}.zip")

    @router.get("/{model}/onnx", dependencies=_ADMINISTER, **_file_of(_BYTES))
    async def onnx(model: str) -> Response:
        """The model as one graph, for programs without torch; see `quickstudy export`. It takes
        some seconds, and is kept until the model changes.
        """
        served = registry.model(model)
        return await _sent(served.exported, _BYTES, f"{served.name}.onnx")

    @router.get("/{model}/report", dependencies=_READ, **_file_of("text/html"))
    async def report(model: str) -> Response:
        """The page of the fit: how well the examples recognise each other, and what to do next. It
        shows no item, as the model holds none.
        """
        served = registry.model(model)
        page = functools.partial(_page_of, served)
        return await _sent(page, "text/html; charset=utf-8", f"{served.name}.html")

    @router.get("/{model}/curve", dependencies=_READ)
    async def curve(model: str) -> Curve:
        """What each threshold would cost in false accepts and false rejects."""
        fitted = await asyncio.to_thread(registry.model(model).fitted)
        result = await asyncio.to_thread(error_curve, fitted)
        false_reject = result.false_reject if result.examples else np.empty(0)
        return Curve(
            thresholds=result.thresholds.tolist(),
            false_accept=result.false_accept.tolist(),
            false_reject=false_reject.tolist(),
            unknowns=result.unknowns,
            examples=result.examples,
        )

    @router.get("/{model}/map", dependencies=_READ)
    async def map_of_examples(
        model: str, asked: Annotated[list[str] | None, Query(max_length=100)] = None
    ) -> Map:
        """The examples in two dimensions, and answers by their ids."""
        served = registry.model(model)
        fitted = await asyncio.to_thread(served.fitted)
        result = await asyncio.to_thread(example_map, fitted)
        kept = [registry.memory.get(answer, served.name) for answer in asked or ()]
        asked_places = result.place(np.stack([k.vector for k in kept])) if kept else []
        return Map(
            examples=[
                Place(label=str(label), x=float(x), y=float(y))
                for label, (x, y) in zip(result.labels, result.places, strict=True)
            ],
            explained=result.explained,
            asked=[
                Place(label=str(k.label), x=float(x), y=float(y))
                for k, (x, y) in zip(kept, asked_places, strict=True)
            ],
        )

    return router


def _file_of(media_type: str) -> dict[str, Any]:
    """What a route says that answers with a file, for the description."""
    schema = {"type": "string", "contentMediaType": media_type}
    answer = {"description": "The file.", "content": {media_type: {"schema": schema}}}
    return {"response_class": Response, "responses": {200: answer}}


async def _sent(write: Callable[[], bytes], media_type: str, name: str) -> Response:
    """A file that is written for this answer, in a thread."""
    content = await asyncio.to_thread(write)
    disposition = f'attachment; filename="{name}"'
    return Response(content, media_type=media_type, headers={"Content-Disposition": disposition})


def _page_of(served: ServedModel) -> bytes:
    """The page of the fit, where examples are called by their class and a number."""
    fitted = served.fitted()
    labels = fitted.known.classes_[fitted.known.labels_].tolist()
    seen = Counter[Any]()
    items = []
    for label in labels:
        seen[label] += 1
        items.append(f"{label}, example {seen[label]}")
    with tempfile.TemporaryDirectory() as folder:
        file = fit_page(
            fitted.classifier,
            Path(folder) / "report.html",
            items=items,
            title=served.name,
            notes=fitted.notes,
            encoder=fitted.encoding.source,
        )
        return file.read_bytes()


def _card(served: ServedModel) -> ModelCard:
    fitted = served.current()
    if fitted is None:
        assert served.blank is not None
        return ModelCard(
            name=served.name,
            kind=served.kind,
            version=None,
            encoder=served.blank.encoder.source,
            classes={},
            promise=None,
            can_begin=True,
            notes=list(served.blank.encoder.notes),
        )
    promise = promise_of(fitted)
    return ModelCard(
        name=served.name,
        kind=fitted.encoding.kind,
        version=version_of(fitted),
        encoder=fitted.encoding.source,
        classes={str(name): n for name, n in fitted.counts.items()},
        promise=None if promise is None else Promise(**promise),
        can_begin=served.blank is not None,
        notes=list(fitted.notes),
    )


def _changed(
    served: ServedModel, fitted: FittedModel | None, request: Request, **more: Any
) -> Changed:
    counts = {} if fitted is None else fitted.counts
    classifier = None if fitted is None else fitted.classifier
    if isinstance(classifier, OpenSetClassifier) and classifier.cohort_overlap_ is not None:
        more["warnings"] = [*more.get("warnings", []), str(classifier.cohort_overlap_)]
    return Changed(
        name=served.name,
        version=None if fitted is None else version_of(fitted),
        request_id=request_id_of(request),
        classes={str(name): n for name, n in counts.items()},
        **more,
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
