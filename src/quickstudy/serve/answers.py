"""What the service answers, as its description (OpenAPI) says it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Form(BaseModel):
    """An answer in JSON."""

    model_config = ConfigDict(protected_namespaces=())


class Promise(Form):
    """What a model or gallery promises of unknowns."""

    false_accept_rate: float | None = Field(
        description="Share of unknowns that are taken for somebody, at most.", examples=[0.05]
    )
    unknowns: int | None = Field(
        description="How many unknowns it was measured with; null where that is not kept."
    )
    rule: str = Field(description="Where the threshold comes from.", examples=["cohort"])
    threshold: float | None = Field(description="What a score must exceed.")


class Answer(Form):
    """What is said of one item."""

    id: str = Field(description="Names the answer, for feedback.", examples=["8f0c…/0"])
    item: str = Field(examples=["photo.jpg"])
    answer: str | float | None = Field(
        description='The class or identity, "unknown", or "not calibrated".', examples=["oak"]
    )
    nearest: str | float | None = Field(default=None, description="The nearest, near enough or not")
    certain: bool | None = Field(default=None, description="False: a person should look.")
    score: float | None = Field(default=None, description="Compared with the threshold.")
    scores: dict[str, float] = Field(
        default_factory=dict,
        description="Of a model the probability of each class among the known ones; of a gallery "
        "the similarity of the nearest identities.",
    )
    classes: list[str | float] | None = Field(
        default=None,
        description="The prediction set, the most likely class first; null where none was asked "
        "for.",
    )
    error: str | None = Field(default=None, description="Why there is no answer.")


class Answers(Form):
    """What is said of the items of a request."""

    name: str = Field(description="Of the model or gallery.")
    version: str = Field(description="Hash of the model, or version of the gallery's policy.")
    request_id: str
    promise: Promise | None = Field(description="null where nothing is calibrated.")
    answers: list[Answer]


class ModelCard(Form):
    """A model that is served."""

    name: str
    kind: str = Field(examples=["images"])
    version: str | None
    encoder: str
    classes: dict[str, int] = Field(description="How many examples each class has.")
    promise: Promise | None
    can_begin: bool = Field(description="Whether it may be taught from nothing.")
    notes: list[str] = Field(default_factory=list)


class Changed(Form):
    """A model after a change."""

    name: str
    version: str | None
    request_id: str
    classes: dict[str, int]
    warnings: list[str] = Field(default_factory=list)
    skipped: list[dict[str, str]] = Field(default_factory=list)
    feedback: str | None = Field(default=None, description="Names the feedback, to undo it.")


class Curve(Form):
    """Error rates of a model by its threshold."""

    thresholds: list[float]
    false_accept: list[float] = Field(description="Share of the unknowns above each threshold.")
    false_reject: list[float] = Field(
        description="Share of the examples not above it, each scored without itself."
    )
    unknowns: int
    examples: int


class Place(Form):
    """Where an example lies in two dimensions."""

    label: str
    x: float
    y: float


class Map(Form):
    """The examples of a model in two dimensions, by principal components."""

    examples: list[Place]
    explained: float = Field(description="Share of the variance that two dimensions show.")
    asked: list[Place] = Field(default_factory=list)


class Method(Form):
    """How a method does on the examples of a model."""

    method: str = Field(examples=["prototype"])
    accuracy: float | None = Field(description="By leaving one example out at a time.")
    examples: int = Field(description="How many were left out in turn.")
    milliseconds: float | None = Field(description="To answer one vector.")
    note: str = Field(default="", description="Why it is not compared.")


class Measured(Form):
    """How a model does on labelled items."""

    name: str
    version: str
    request_id: str
    items: int
    accuracy: float | None = Field(description="Of items of known classes.")
    accuracy_interval: tuple[float, float] = Field(description="95 %, Wilson.")
    false_reject_rate: float | None
    false_accept_rate: float | None = Field(description="Of items of other classes.")
    false_accept_interval: tuple[float, float]
    by_class: dict[str, dict[str, int]]
    unread: list[dict[str, str]]


class Verdict(Form):
    """What a person says of an answer."""

    answer: str = Field(description="The id of the answer.", max_length=100)
    verdict: str = Field(description='"right" or "wrong".', examples=["wrong"])
    label: str | None = Field(
        default=None, description="The true class or identity; null = none of them."
    )


class NewName(Form):
    """Another name."""

    name: str = Field(min_length=1, max_length=500)


class GalleryCard(Form):
    """A gallery that is served."""

    name: str
    kind: str
    encoder: str
    identities: int
    templates: int
    promise: Promise
    policy_version: int
    says: Any = Field(description="What it can promise, in words.")


class Person(Form):
    """Who is enrolled."""

    name: str
    templates: list[int]
    consent: str | None
    retain_until: str | None
    details: dict[str, Any]
    created: str | None


class Enrolled(Form):
    """What came of enrolling."""

    identity: str
    templates: list[int]
    known: int
    retain_until: str | None
    warnings: list[str]
    skipped: list[dict[str, str]]
    request_id: str


class Removed(Form):
    """What was removed, and what remains elsewhere."""

    names: list[str]
    remains: list[str]
    warnings: list[str] = Field(
        description="What looks wrong with who got the templates, where two became one."
    )
    request_id: str


class PersonChange(Form):
    """What to change of a person; what is left out stays."""

    name: str | None = Field(default=None, max_length=500)


class Pair(Form):
    """Two identities that resemble each other."""

    names: tuple[str, str] = Field(description="The one with more templates first.")
    similarity: float = Field(description="Of their nearest templates.")
    is_confused: bool = Field(description="Whether one is taken for the other now.")
    photo: str | None = Field(
        description="A photo from which both were enrolled: they are two people."
    )


class Merge(Form):
    """Two names of one person."""

    identity: str = Field(description="The name that goes.", max_length=500, examples=["Ada L."])
    into: str = Field(description="The name that stays.", max_length=500, examples=["Ada"])


class PolicyForm(Form):
    """Thresholds of a gallery, see `quickstudy.gallery.Policy`."""

    threshold: float | None = None
    review_from: float | None = None
    review: float | None = None
    duplicate: float | None = None
    score: str = "nearest"
    rate: float | None = None


class Rate(Form):
    """A wanted false-accept rate."""

    false_accept_rate: float = Field(ge=1e-6, le=0.999, examples=[0.01])
