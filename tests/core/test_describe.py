import contextlib
import copy
import inspect
import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from quickstudy.algorithms import (
    ALGORITHMS,
    LinearProbe,
    MatchingNet,
    NearestNeighbour,
    ProtoNet,
    anil,
    fomaml,
    maml,
)
from quickstudy.augment import Affine
from quickstudy.core import describe as describe_module
from quickstudy.core.describe import Described, describe, rebuild
from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.types import Classes, Reals
from quickstudy.data import Glyphs, MiniImageNet, Omniglot, Sinusoid
from quickstudy.encoders import MLP, Conv4, Identity
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.inner.select import Selection
from quickstudy.inner.start import LinearHead
from quickstudy.objectives import QueryLoss
from quickstudy.testing import toy_learner

PARTS = [
    Conv4(),
    Conv4(in_channels=3, width=4, size=20, norm="batch", norm_scale=False),
    MLP(3, widths=(5, 2)),
    MLP(3, widths=[4]),
    Identity(7),
    LinearHead(3, 2, init="zeros"),
    FixedRate(0.1),
    InnerLoop(FixedRate(0.2), steps=3, first_order=True),
    Selection(),
    Selection(("*",), ("*.norm.*",)),
    ProtoNet(Conv4(width=4)),
    ProtoNet(MLP(2), similarity="cosine"),
    MatchingNet(Identity(2), scale=2.0, learn_scale=False),
    NearestNeighbour(Identity(2), similarity="dot"),
    LinearProbe(Identity(2), inverse_penalty=0.5),
    maml(MLP(2), n_out=3),
    fomaml(MLP(2), n_out=3, inner_steps=1),
    anil(Conv4(width=4, norm="support"), n_out=3, inner_lr=0.01),
    GradientLearner(
        Conv4(width=4),
        LinearHead(4, 5),
        loop=InnerLoop(FixedRate(1.0), steps=0),
        adapts=Selection(("encoder.blocks.3.*", "head.*")),
    ),
    QueryLoss(),
    Affine(degrees=5.0, probability=1.0),
    Omniglot(protocol="lake", rotations=False),
    MiniImageNet(),
    Glyphs(drawings=2),
    Sinusoid(half_range=True),
]


def through_json(value):
    return json.loads(json.dumps(value, allow_nan=False))


class Scaled(AbstractEncoder):
    """As a user would write one."""

    def __init__(self, inner, by=2.0):
        super().__init__()
        self.inner, self.by, self.out_dim, self.norm = inner, by, inner.out_dim, inner.norm

    def forward(self, x, context=()):
        return self.by * self.inner(x, context)


class Keywords(Described):
    def __init__(self, a, **more):
        self.a, self.more = a, more


class Several(Described):
    def __init__(self, *names):
        self.names = names


@pytest.mark.parametrize("part", PARTS, ids=lambda p: type(p).__name__)
def test_round_trip(part):
    description = through_json(describe(part))
    again = rebuild(description)
    assert type(again) is type(part)
    assert through_json(describe(again)) == description
    if isinstance(part, nn.Module):
        shapes = {name: t.shape for name, t in part.state_dict().items()}
        assert {name: t.shape for name, t in again.state_dict().items()} == shapes
        again.load_state_dict(part.state_dict())


def test_a_nested_learner_comes_back_whole():
    learner = anil(
        Conv4(width=4, norm="support", norm_scale=False),
        n_out=3,
        inner_lr=0.01,
        inner_steps=7,
        first_order=True,
    )
    again = rebuild(through_json(describe(learner)))
    assert (again.encoder.norm, again.encoder.out_dim, again.head.out_dim) == ("support", 4, 3)
    assert (again.loop.rule.lr, again.loop.steps, again.loop.first_order) == (0.01, 7, True)
    assert again.fast_names == learner.fast_names == ("head.weight", "head.bias")
    assert again.traits == learner.traits
    assert again.encoder.blocks[0].norm.weight is None


def test_every_algorithm_is_described():
    for build in ALGORITHMS.values():
        given = {"n_out": 3, "semantic_dim": 2}
        widths = {
            name: given[name] for name in given if name in inspect.signature(build).parameters
        }
        learner = build(MLP(2), **widths)
        assert type(rebuild(through_json(describe(learner)))) is type(learner)


def test_only_what_was_given_is_written():
    assert describe(FixedRate(0.5)) == {"type": "FixedRate", "arguments": {"lr": 0.5}}
    assert describe(Conv4(width=4)) == {"type": "Conv4", "arguments": {"width": 4}}


@pytest.mark.parametrize("target", [Classes(5), Reals(2)])
def test_targets(target):
    assert rebuild(through_json(describe(target))) == target


def test_plain_values():
    for value in ("a", 1, 1.5, True, None, {"k": [1, {"a": None}]}):
        assert rebuild(through_json(describe(value))) == (
            value if not isinstance(value, dict) else {"k": (1, {"a": None})}
        )
    assert rebuild(describe([1, [2, 3]])) == (1, (2, 3))


def test_a_users_own_class_is_known_by_its_module():
    description = describe(ProtoNet(Scaled(MLP(2, widths=(3,)), by=3.0)))
    assert description["arguments"]["encoder"]["type"] == f"{__name__}.Scaled"
    again = rebuild(through_json(description))
    assert isinstance(again.encoder, Scaled)
    assert again.encoder.by == 3.0


def test_keyword_arguments_come_back_as_keyword_arguments():
    again = rebuild(through_json(describe(Keywords(1, b=2, c=[3]))))
    assert (again.a, again.more) == (1, {"b": 2, "c": (3,)})


def test_a_constructor_with_a_star_cannot_be_described_and_says_so():
    with pytest.raises(ConfigError, match=r"Several.*\*names"):
        describe(Several("a", "b"))


def test_copies_keep_their_description():
    learner = maml(Conv4(width=4), n_out=3)
    twin = copy.deepcopy(learner)
    assert describe(twin) == describe(learner)
    assert twin._arguments["encoder"] is twin.encoder


# --- what cannot be described


@pytest.mark.parametrize(
    "value", [nn.Linear(2, 2), torch.zeros(1), object(), b"bytes", {1, 2}, len]
)
def test_foreign_values_are_refused_by_name(value):
    with pytest.raises(ConfigError) as caught:
        describe({"inside": [value]})
    assert type(value).__qualname__ in str(caught.value)
    assert "AbstractEncoder" in str(caught.value)


# --- what a file may not do


def test_an_unknown_type_gets_the_nearest_spelling():
    with pytest.raises(
        LoadError,
        match=r"part called 'ProtoNett', .*\. Did you mean 'ProtoNet'.*known_parts\(\)",
    ):
        rebuild({"type": "ProtoNett", "arguments": {}})


def test_an_unknown_module_is_to_be_imported_by_the_user():
    with pytest.raises(LoadError, match=r"Import .* first \(my_project\.encoders\)"):
        rebuild({"type": "my_project.encoders.Mine", "arguments": {}})


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "eval",
        "builtins.exec",
        "subprocess.Popen",
        "torch.load",
        "torch.nn.Linear",
        "pickle.loads",
        "antigravity.fly",
        "__import__",
        "quickstudy.core.describe.rebuild",
        "Described.__init_subclass__",
        "object",
    ],
)
def test_loading_never_imports_and_never_calls_what_is_not_a_part(name, tmp_path):
    marker = tmp_path / "was here"
    code = f"open({str(marker)!r}, 'w').close()"
    for arguments in (
        {},
        {"command": f"touch '{marker}'"},
        {"source": code},
        {"args": ["touch", str(marker)]},
    ):
        with pytest.raises(LoadError, match="not known here"):
            rebuild({"type": name, "arguments": arguments})
        with pytest.raises(LoadError, match="not known here"):
            rebuild(
                {
                    "type": "ProtoNet",
                    "arguments": {"encoder": {"type": name, "arguments": arguments}},
                }
            )
    assert not marker.exists()
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "damaged",
    [
        {"type": "ProtoNet"},
        {"arguments": {}},
        {},
        {"type": "ProtoNet", "arguments": {}, "more": 1},
        {"type": "ProtoNet", "arguments": []},
        {"type": ["ProtoNet"], "arguments": {}},
        {"type": {"a": 1}, "arguments": {}},
        {"type": None, "arguments": {}},
        {"type": 3, "arguments": {}},
        {"type": "ProtoNet", "arguments": {}},
        {"type": "ProtoNet", "arguments": {"encodr": None}},
        {"type": "AbstractEncoder", "arguments": {}},
        {"type": "FixedRate", "arguments": {"lr": -1.0}},
        {"type": "MLP", "arguments": {"in_dim": 2, "widths": []}},
        {"type": "Classes", "arguments": {}},
        {"type": "Classes", "arguments": {"width": 0}},
        {"type": "Classes", "arguments": {"width": "five"}},
        {"type": "Reals", "arguments": {"width": 1, "more": 2}},
    ],
)
def test_damaged_descriptions_are_load_errors(damaged):
    with pytest.raises(LoadError):
        rebuild(damaged)


# --- how large it may be


def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ({"type": "MLP", "arguments": {"in_dim": 10**6, "widths": [10**6]}}, "1000000000000 num"),
        ({"type": "MLP", "arguments": {"in_dim": 4, "widths": [4] * 15_000}}, "20000 calls"),
        ({"type": "MLP", "arguments": {"in_dim": 4, "widths": [4] * 10**6}}, "20000 values"),
        ({"type": "MLP", "arguments": {"in_dim": 2**40, "widths": [2]}}, "numbers"),
        ({"type": "Conv4", "arguments": {"width": 10**5}}, "90000000000 numbers"),
        (nested(61), "deeper than 60 levels"),
        (nested(100_000), "deeper than 60 levels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_too_large_is_refused_before_it_is_built(description, words):
    with pytest.raises(LoadError, match=words):
        rebuild(description)


def test_depth_is_bounded_where_each_layer_is_small():
    description = describe(toy_learner("in_context"))
    description["arguments"]["layers"] = 10**5
    with pytest.raises(LoadError, match="more than 20000 calls"):
        rebuild(description)
    with pytest.raises(LoadError, match="numbers"):
        rebuild(description, numbers=100_000)


def test_no_more_numbers_than_the_file_holds():
    description = describe(MLP(1000, widths=(2000,)))
    assert rebuild(description, numbers=2_002_000).out_dim == 2000
    with pytest.raises(LoadError, match="where at most 1048676 are expected"):
        rebuild(description, numbers=100)


def test_other_threads_are_not_counted():
    with (
        ThreadPoolExecutor(1) as pool,
        describe_module._Bounded(10) as bounded,
        describe_module._counted(bounded),
    ):
        assert pool.submit(lambda: MLP(100).out_dim).result() == 64
        with pytest.raises(LoadError):
            MLP(100)


@given(
    name=st.sampled_from(sorted(ALGORITHMS)),
    where=st.integers(0, 30),
    value=st.sampled_from([-1, 0, 2**31, 2**63, 10**30, 1e308, float("nan"), "x", None, [], {}]),
)
@settings(max_examples=200)
def test_whatever_number_a_file_gives_it_is_built_or_refused_in_words(name, where, value):
    description = through_json(describe(toy_learner(name)))
    slots = [
        (arguments, key)
        for arguments in argument_lists(description)
        for key, plain in arguments.items()
        if not isinstance(plain, dict)
    ]
    if slots:
        arguments, key = slots[where % len(slots)]
        arguments[key] = value
        with contextlib.suppress(LoadError):
            rebuild(description, numbers=100_000)


def argument_lists(description):
    if isinstance(description, dict):
        yield description["arguments"]
        for value in description["arguments"].values():
            yield from argument_lists(value)


def test_a_class_shows_the_signature_of_its_constructor() -> None:
    signature = inspect.signature(Conv4)
    assert signature == inspect.Signature.from_callable(Conv4.__init__).replace(
        parameters=list(inspect.signature(Conv4.__init__).parameters.values())[1:]
    )
    assert "width" in signature.parameters
    # Sphinx asks the class itself; an instance has none of its own.
    assert Conv4.__signature__ == signature
    assert not isinstance(getattr(Conv4(), "__signature__", None), inspect.Signature)
