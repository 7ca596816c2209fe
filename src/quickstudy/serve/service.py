"""What routes share: items to vectors in common batches, and answers in one form."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import Request

from quickstudy.core.arrays import NDArray
from quickstudy.estimators import FittedModel, Prediction
from quickstudy.estimators.encoding import TABLE
from quickstudy.estimators.tables import row_numbers
from quickstudy.gallery import Decision
from quickstudy.pretrained import AbstractPretrained
from quickstudy.serve.answers import Answer, Answers, Promise
from quickstudy.serve.batching import Batcher
from quickstudy.serve.measures import Measures
from quickstudy.serve.problems import ProblemError
from quickstudy.serve.registry import (
    Asked,
    Registry,
    ServedGallery,
    ServedModel,
    promise_of,
    version_of,
)
from quickstudy.serve.settings import ServerSettings
from quickstudy.serve.uploads import Item, Upload, read_items, refuse_if_nothing_is_left

NOT_CALIBRATED = "not calibrated"
_NAMED = 10


@dataclass(frozen=True, eq=False)
class Encoded:
    """Items that became vectors.

    Args:
        items: those that did.
        vectors: of them, ``[n D]``.
    """

    items: list[Item]
    vectors: NDArray[np.float64]


class Service:
    """Models, galleries, and what they have in common.

    Args:
        registry: what is served.
        settings: of the server.
        measures: what is counted.
    """

    def __init__(self, registry: Registry, settings: ServerSettings, measures: Measures) -> None:
        self.registry, self.settings, self.measures = registry, settings, measures
        self._batchers: dict[str, Batcher] = {}
        self._unknowns: dict[tuple[str, int], int | None] = {}

    def close(self) -> None:
        """End the threads, and give connections back."""
        for batcher in self._batchers.values():
            batcher.close()
        self.registry.close()

    async def encode(
        self, upload: Upload, encoder: AbstractPretrained, *, deadline: float
    ) -> Encoded:
        """The vectors of all items that can be used; the others are given their error.

        Raises:
            ProblemError: when none can be used, the queue is full, or it takes too long.
        """
        values, items = await read_items(upload, encoder, self.settings.limits)
        results = await self._batcher(encoder).vectors(values, deadline=deadline) if values else []
        good: list[tuple[Item, NDArray[np.float64]]] = []
        for item, result in zip(items, results, strict=True):
            if isinstance(result, str):
                item.status, item.error = 422, result
            else:
                good.append((item, result))
        refuse_if_nothing_is_left(upload)
        vectors = np.stack([v for _, v in good]) if good else np.empty((0, encoder.dim))
        return Encoded([item for item, _ in good], vectors)

    async def encode_for(self, upload: Upload, served: ServedModel, request: Request) -> Encoded:
        """As `encode`, for a model, which may be of rows."""
        if served.kind == TABLE:
            return _rows(upload, served.fitted())
        served.current()
        assert served.encoder is not None
        return await self.encode(upload, served.encoder, deadline=deadline_of(request))

    def model_answers(
        self,
        request: Request,
        served: ServedModel,
        upload: Upload,
        encoded: Encoded,
        *,
        sets: float | None = None,
    ) -> Answers:
        """What a model says, kept for feedback.

        Args:
            request: what asks.
            served: the model.
            upload: all items.
            encoded: those that became vectors.
            sets: the share of misses of prediction sets that answers carry; None = none.

        Raises:
            ConfigError: when there are too few examples for such sets.
        """
        model = served.fitted()
        if sets is not None:
            model = model.with_sets(sets)
        predictions = model.answer_vectors([i.name for i in encoded.items], encoded.vectors)
        shares = model.classifier.predict_proba(encoded.vectors) if len(encoded.items) else []
        names = [str(label) for label in model.known.classes_.tolist()]

        def say(row: int) -> dict[str, Any]:
            scores = dict(zip(names, map(float, shares[row]), strict=True))
            return _of_prediction(predictions[row], scores, model)

        promise = promise_of(model)
        return Answers(
            name=served.name,
            version=version_of(model),
            request_id=request_id_of(request),
            promise=None if promise is None else Promise(**promise),
            answers=self._said(request, served.name, upload, encoded, say),
        )

    def gallery_answers(
        self,
        request: Request,
        served: ServedGallery,
        upload: Upload,
        encoded: Encoded,
        decisions: Sequence[Decision],
    ) -> Answers:
        """What a gallery says, kept for feedback."""
        policy = served.gallery.policy
        return Answers(
            name=served.name,
            version=str(decisions[0].policy if decisions else 0),
            request_id=request_id_of(request),
            promise=self.gallery_promise(served) if policy.threshold is not None else None,
            answers=self._said(
                request, served.name, upload, encoded, lambda row: _of_decision(decisions[row])
            ),
        )

    def _said(
        self,
        request: Request,
        name: str,
        upload: Upload,
        encoded: Encoded,
        say: Callable[[int], dict[str, Any]],
    ) -> list[Answer]:
        """An answer to each item, in order: what is said of its row of vectors, counted and kept,
        or its error.
        """
        rows = {id(item): row for row, item in enumerate(encoded.items)}
        answers = []
        for i, item in enumerate(upload.items):
            row = rows.get(id(item))
            said = {"answer": None, "error": item.error} if row is None else say(row)
            one = Answer(id=f"{request_id_of(request)}/{i}", item=item.name, **said)
            if row is not None:
                self.measures.answers.labels(name, kind_of(one)).inc()
                self._keep(one, name, encoded.vectors[row])
            answers.append(one)
        return answers

    def gallery_promise(self, served: ServedGallery) -> Promise:
        """What a gallery promises now."""
        info: dict[str, Any] | None = None
        policy = served.gallery.policy
        key = served.name, hash(policy)
        if key not in self._unknowns:
            info = served.gallery.info()
            n = info["cohort_persons"] or info["identities"]
            self._unknowns[key] = n if policy.promised is not None else None
        return Promise(
            false_accept_rate=policy.promised,
            unknowns=self._unknowns[key],
            rule=policy.rule,
            threshold=policy.threshold,
        )

    def _keep(self, one: Answer, name: str, vector: NDArray[np.float64]) -> None:
        asked = Asked(
            name,
            vector,
            one.answer,
            one.certain is False,
            time.monotonic(),
            {"item": one.item, "nearest": one.nearest, "score": one.score, "scores": one.scores},
        )
        self.registry.memory.keep(one.id, asked)

    def _batcher(self, encoder: AbstractPretrained) -> Batcher:
        if encoder.key not in self._batchers:
            limits = self.settings.limits
            self._batchers[encoder.key] = Batcher(
                encoder.encode,
                at_once=limits.batch,
                queued=limits.queued,
                on_batch=self.measures.batch,
            )
        return self._batchers[encoder.key]


def request_id_of(request: Request) -> str:
    """What names the request in answers and logs."""
    return request.scope["state"]["request_id"]


def deadline_of(request: Request) -> float:
    """When the client no longer waits."""
    return request.scope["state"]["deadline"]


def need(scope: str) -> Any:
    """A dependency: the request's key has this scope.

    Raises:
        ProblemError: 403 where it has not.
    """

    def check(request: Request) -> None:
        key = request.scope["state"].get("key")
        if key is not None and not key.allows(scope):
            raise ProblemError(
                403, f"This takes a key with the scope '{scope}', and this one has '{key.scope}'."
            )

    return check


def kind_of(answer: Answer) -> str:
    """For counting: known, unknown or not calibrated."""
    return str(answer.answer) if answer.answer in ("unknown", NOT_CALIBRATED) else "known"


def skipped(upload: Upload) -> list[dict[str, str]]:
    """The items that were left out, with the reason."""
    return [{"item": item.name, "error": item.error} for item in upload.items if item.error]


def _of_decision(decision: Decision) -> dict[str, Any]:
    """The fields of an answer."""
    return {
        "answer": decision.answer,
        "nearest": decision.candidates[0][0] if decision.candidates else None,
        "certain": decision.certain,
        "score": decision.similarity,
        "scores": dict(decision.candidates),
    }


def _of_prediction(
    prediction: Prediction, scores: dict[str, float], model: FittedModel
) -> dict[str, Any]:
    """The fields of an answer."""
    answer = NOT_CALIBRATED
    if model.is_calibrated:
        answer = prediction.label if prediction.nearest is None else "unknown"
    return {
        "answer": answer,
        "nearest": prediction.label if prediction.nearest is None else prediction.nearest,
        "certain": prediction.certain,
        "score": prediction.score,
        "scores": scores,
        "classes": None if model.set_alpha is None else list(prediction.classes),
    }


def _rows(upload: Upload, model: FittedModel) -> Encoded:
    """The vectors of rows of numbers."""
    good = []
    for item in upload.items:
        if isinstance(item.content, dict):
            good.append(item)
        elif not item.error:
            columns = model.encoding.columns
            more = ", …" if len(columns) > _NAMED else ""
            names = ", ".join(columns[:_NAMED]) + more
            item.status = 422
            item.error = f"A row was expected, a JSON object with the columns {names} in 'row'."
    x = np.empty((0, model.known.n_features_in_))
    if good:
        rows = [item.content for item in good]
        x, wrong = row_numbers(rows, model.encoding.table_columns, "the request")
        for item, why in zip(good, wrong, strict=True):
            if why:
                item.status, item.error = 422, why
        keep = [i for i, item in enumerate(good) if not item.error]
        good, x = [good[i] for i in keep], x[keep]
    refuse_if_nothing_is_left(upload)
    return Encoded(good, model.encoding.standardised(x))
