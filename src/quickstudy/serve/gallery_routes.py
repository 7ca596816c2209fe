"""Galleries over HTTP: enrol, identify, verify, export, forget; thresholds and the audit log."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query, Request

from quickstudy.core.errors import DataError
from quickstudy.gallery import Deletion, Enrolment, Gallery, Policy
from quickstudy.serve.answers import (
    Answers,
    Enrolled,
    GalleryCard,
    Merge,
    Pair,
    Person,
    PersonChange,
    PolicyForm,
    Rate,
    Removed,
    Verdict,
)
from quickstudy.serve.forms import CLAIM, ITEMS, PERSON
from quickstudy.serve.problems import ProblemError
from quickstudy.serve.registry import ServedGallery
from quickstudy.serve.service import Encoded, Service, deadline_of, need, request_id_of, skipped
from quickstudy.serve.uploads import Upload, read_upload

_READ = [Depends(need("read"))]
_ENROL = [Depends(need("enrol"))]
_ADMINISTER = [Depends(need("administer"))]


def gallery_routes(service: Service) -> APIRouter:
    """The routes under /v1/galleries."""
    router = APIRouter(prefix="/v1/galleries", tags=["galleries"])
    registry, limits = service.registry, service.settings.limits

    async def encode(gallery: Gallery, upload: Upload, request: Request) -> Encoded:
        encoder = await asyncio.to_thread(gallery.pretrained)
        return await service.encode(upload, encoder, deadline=deadline_of(request))

    @router.get("", dependencies=_READ)
    async def list_galleries() -> list[GalleryCard]:
        """The galleries that are served."""
        served = registry.galleries.values()
        return [await asyncio.to_thread(_card, service, one) for one in served]

    @router.get("/{gallery}", dependencies=_READ)
    async def get_gallery(gallery: str) -> GalleryCard:
        """One gallery: how many it knows, and what it promises."""
        return await asyncio.to_thread(_card, service, registry.gallery(gallery))

    @router.get("/{gallery}/identities", dependencies=_READ)
    async def list_identities(gallery: str) -> list[Person]:
        """Everybody who is enrolled, by name."""
        people = await asyncio.to_thread(registry.gallery(gallery).gallery.identities)
        return [Person(**person) for person in people]

    @router.post(
        "/{gallery}/identities", status_code=201, dependencies=_ENROL, openapi_extra=PERSON
    )
    async def enrol(gallery: str, request: Request) -> Enrolled:
        """Enrol somebody, or add photos. Who looks like somebody else is refused, unless forced."""
        one = registry.gallery(gallery).gallery
        upload = await read_upload(request, limits)
        name = upload.text("name", needed=True) or ""
        until = _moment(upload.text("retain_until"))
        contents = [item.content for item in upload.items]
        encoded = await encode(one, upload, request)
        rows = {id(item): content for item, content in zip(upload.items, contents, strict=True)}
        details = upload.fields.get("details")

        def learn() -> Enrolment:
            return one.enrol_checked(
                name,
                encoded.vectors,
                paths=[Path(item.name) for item in encoded.items],
                flaws=[one.flaws(rows[id(item)]) for item in encoded.items],
                on_poor="skip" if upload.flag("skip_poor") else "warn",
                force=upload.flag("force"),
                consent=upload.text("consent"),
                retain_until=until,
                details=details if isinstance(details, dict) else None,
            )

        return _enrolled(await asyncio.to_thread(learn), request, skipped(upload))

    @router.get("/{gallery}/identities/{identity:path}/export", dependencies=_ADMINISTER)
    async def export_person(gallery: str, identity: str) -> dict[str, Any]:
        """All that is kept of one person, with the vectors and the entries of the audit log."""
        return await asyncio.to_thread(registry.gallery(gallery).gallery.export_person, identity)

    @router.get("/{gallery}/identities/{identity:path}", dependencies=_READ)
    async def get_identity(gallery: str, identity: str) -> Person:
        """One person, without vectors."""
        about = await asyncio.to_thread(registry.gallery(gallery).gallery.export_person, identity)
        templates = [template["id"] for template in about["templates"]]
        kept = {key: about[key] for key in ("name", "consent", "retain_until", "details")}
        return Person(**kept, created=about["created"], templates=templates)

    @router.patch("/{gallery}/identities/{identity:path}", dependencies=_ADMINISTER)
    async def change_person(gallery: str, identity: str, change: PersonChange) -> Person:
        """Give somebody another name."""
        one = registry.gallery(gallery).gallery
        if change.name is not None:
            await asyncio.to_thread(one.rename, identity, change.name)
        return await get_identity(gallery, change.name or identity)

    @router.delete("/{gallery}/identities/{identity:path}", dependencies=_ADMINISTER)
    async def remove_person(gallery: str, identity: str, request: Request) -> Removed:
        """Forget somebody, down to the last byte; the answer says what remains elsewhere."""
        one = registry.gallery(gallery).gallery
        return _removed(await asyncio.to_thread(one.remove, identity), request)

    @router.get("/{gallery}/look-alikes", dependencies=_READ)
    async def look_alikes(
        gallery: str, most: Annotated[int, Query(ge=1, le=100)] = 20
    ) -> list[Pair]:
        """The pairs of identities that resemble each other most, the nearest first."""
        one = registry.gallery(gallery).gallery
        pairs = await asyncio.to_thread(one.look_alikes, most=most)
        return [Pair(**vars(pair)) for pair in pairs]

    @router.post("/{gallery}/merge", dependencies=_ADMINISTER)
    async def merge(gallery: str, names: Merge, request: Request) -> Removed:
        """Two names of one person become one. Two faces of one photo are never merged."""
        one = registry.gallery(gallery).gallery
        return _removed(await asyncio.to_thread(one.merge, names.identity, names.into), request)

    @router.delete("/{gallery}/templates/{template}", dependencies=_ADMINISTER)
    async def remove_template(gallery: str, template: int, request: Request) -> Removed:
        """Forget one template; with the last one its identity goes too."""
        one = registry.gallery(gallery).gallery
        if not 0 < template < 2**31:
            raise ProblemError(404, f"There is no template {template}.")
        return _removed(await asyncio.to_thread(one.remove_template, template), request)

    @router.post("/{gallery}/identify", dependencies=_READ, openapi_extra=ITEMS)
    async def identify(
        gallery: str, request: Request, top_k: Annotated[int, Query(ge=1, le=100)] = 5
    ) -> Answers:
        """Who is on each photo, or that it is somebody unknown."""
        served = registry.gallery(gallery)
        upload = await read_upload(request, limits)
        encoded = await encode(served.gallery, upload, request)
        photos = [item.name for item in encoded.items]
        decisions = await asyncio.to_thread(
            served.gallery.identify, encoded.vectors, top_k=top_k, photos=photos
        )
        return await asyncio.to_thread(
            service.gallery_answers, request, served, upload, encoded, decisions
        )

    @router.post("/{gallery}/verify", dependencies=_READ, openapi_extra=CLAIM)
    async def verify(gallery: str, request: Request) -> Answers:
        """Whether each photo is of the one who is claimed."""
        served = registry.gallery(gallery)
        upload = await read_upload(request, limits)
        claim = upload.text("identity", needed=True) or ""
        encoded = await encode(served.gallery, upload, request)

        def decide() -> list[Any]:
            return [
                served.gallery.verify(vector, claim, photo=item.name)
                for vector, item in zip(encoded.vectors, encoded.items, strict=True)
            ]

        decisions = await asyncio.to_thread(decide)
        return await asyncio.to_thread(
            service.gallery_answers, request, served, upload, encoded, decisions
        )

    @router.get("/{gallery}/review", dependencies=_READ)
    async def review(gallery: str) -> list[dict[str, Any]]:
        """The answers of the last minutes at which a person should look, the newest first."""
        served = registry.gallery(gallery)
        return [
            {"id": answer, "answer": asked.label, **asked.about}
            for answer, asked in registry.memory.uncertain(served.name)
        ]

    @router.post("/{gallery}/feedback", status_code=201, dependencies=_ENROL)
    async def give_feedback(gallery: str, verdict: Verdict, request: Request) -> Enrolled:
        """Say who it was: the embedding becomes a further template of that identity. Undo it by
        removing the template.
        """
        served = registry.gallery(gallery)
        asked = registry.memory.get(verdict.answer, served.name)
        if verdict.verdict not in ("right", "wrong"):
            raise ProblemError(422, f"A verdict is 'right' or 'wrong', got '{verdict.verdict:.40}'")
        label = verdict.label
        if verdict.verdict == "right" and label is None:
            label = asked.about["nearest"]
        if label is None:
            registry.memory.drop(verdict.answer)
            return _enrolled(
                Enrolment("unknown", (), ("Nobody was enrolled, as no identity came.",)),
                request,
                [],
            )
        result = await asyncio.to_thread(
            served.gallery.enrol,
            label,
            np.asarray(asked.vector)[None],
            force=verdict.verdict == "wrong",
        )
        registry.memory.drop(verdict.answer)
        return _enrolled(result, request, [])

    @router.get("/{gallery}/policy", dependencies=_READ)
    async def get_policy(gallery: str) -> dict[str, Any]:
        """The thresholds in force, and where they come from."""
        policy = await asyncio.to_thread(lambda: registry.gallery(gallery).gallery.policy)
        return vars(policy)

    @router.put("/{gallery}/policy", dependencies=_ADMINISTER)
    async def set_policy(gallery: str, form: PolicyForm) -> dict[str, Any]:
        """Put other thresholds in force; with a rate and no threshold it calibrates itself."""
        one = registry.gallery(gallery).gallery
        version = await asyncio.to_thread(one.set_policy, Policy(**form.model_dump()))
        return {"version": version, **vars(await asyncio.to_thread(lambda: one.policy))}

    @router.post("/{gallery}/calibrate", dependencies=_ADMINISTER)
    async def calibrate(gallery: str, rate: Rate) -> dict[str, Any]:
        """Choose the thresholds for a false-accept rate, by the cohort or by leaving identities
        out.
        """
        one = registry.gallery(gallery).gallery
        result = await asyncio.to_thread(one.calibrate, rate.false_accept_rate)
        return {
            "policy": vars(result.policy),
            "unknowns": result.persons,
            "range": result.range,
            "warnings": list(result.warnings),
        }

    @router.get("/{gallery}/audit", dependencies=_ADMINISTER)
    async def audit(
        gallery: str, last: Annotated[int, Query(ge=1, le=10_000)] = 100
    ) -> list[dict[str, Any]]:
        """The last changes and decisions, the newest last."""
        one = registry.gallery(gallery).gallery
        return await asyncio.to_thread(lambda: one.audit(last=last))

    @router.get("/{gallery}/audit/check", dependencies=_ADMINISTER)
    async def check_audit(gallery: str) -> dict[str, Any]:
        """Whether the audit log is whole."""
        return vars(await asyncio.to_thread(registry.gallery(gallery).gallery.check_audit))

    return router


def _card(service: Service, served: ServedGallery) -> GalleryCard:
    info = served.gallery.info()
    return GalleryCard(
        name=served.name,
        kind=info["kind"],
        encoder=info["encoder"],
        identities=info["identities"],
        templates=info["templates"],
        promise=service.gallery_promise(served),
        policy_version=info["policy_version"],
        says=info["promise"],
    )


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise DataError(
            f"retain_until must be a date such as 2027-01-31, got '{text[:40]}'."
        ) from None


def _enrolled(result: Enrolment, request: Request, left_out: list[dict[str, str]]) -> Enrolled:
    more = [{"item": str(path), "error": why} for path, why in result.skipped]
    return Enrolled(
        identity=result.identity,
        templates=list(result.templates),
        known=result.known,
        retain_until=result.retain_until,
        warnings=list(result.warnings),
        skipped=[*left_out, *more],
        request_id=request_id_of(request),
    )


def _removed(deletion: Deletion, request: Request) -> Removed:
    return Removed(
        names=list(deletion),
        remains=list(deletion.remains),
        warnings=list(deletion.warnings),
        request_id=request_id_of(request),
    )
