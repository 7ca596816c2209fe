"""What users give by mistake, without the annotation checks that the other tests run under."""

import copy
import inspect
import warnings
from collections.abc import Iterator

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS, MatchingNet, ProtoNet, maml
from quickstudy.core.errors import QuickstudyError
from quickstudy.core.tasks import Setting
from quickstudy.data import Vectors
from quickstudy.encoders import MLP, Conv4, Identity, Wrapped
from quickstudy.testing import toy_learner
from quickstudy.training import Plan

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


@pytest.fixture(autouse=True)
def _as_users_run_it() -> Iterator[None]:
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_annotations_are_not_checked_here() -> None:
    with pytest.raises(AttributeError):
        qs.Classes(2).score("scores", "labels")


def table(n_classes=30):
    rng = np.random.default_rng(0)
    y = np.arange(n_classes).repeat(10)
    return Vectors(rng.normal(size=(n_classes, 6))[y] + rng.normal(size=(10 * n_classes, 6)), y)


# --- shapes, types and labels


def fitted():
    learner = ProtoNet(MLP(4, widths=(8,)))
    return learner, learner.fit(qs.Examples.single(torch.randn(6, 4), LABELS), qs.Classes(3))


def test_arrays_of_numpy_and_double_precision_are_taken():
    learner, predictor = fitted()
    x = torch.randn(6, 4)
    expected = learner.fit(qs.Examples.single(x, LABELS), qs.Classes(3))(x)
    for given_x in (x.double(), x.numpy(), x.double().numpy()[::1], np.asfortranarray(x.numpy())):
        for y in (LABELS, LABELS.numpy(), LABELS.numpy().astype(">i2"), LABELS.tolist()):
            again = learner.fit(qs.Examples.single(given_x, y), qs.Classes(3))
            torch.testing.assert_close(again(given_x), expected)
    x.numpy().flags.writeable = False
    assert predictor(np.flip(x.numpy(), 0)).shape == (6, 3)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (torch.randn(4), r"a batch of queries, .* x\[None\]"),
        (torch.randn(2, 5), r"MLP takes examples of the shape \(4\), got \(5,\)"),
        (torch.randn(2, 3, 4), r"of the shape \(4\), got \(3, 4\)"),
        (torch.randint(0, 255, (2, 4), dtype=torch.uint8), r"x\.float\(\) / 255"),
        (torch.randn(2, 4, dtype=torch.complex64), "floating-point numbers"),
        (torch.full((2, 4), torch.nan), "2 of 2 answers of the predictor of ProtoNet"),
        (torch.randn(2, 4).to_sparse(), r"x\.to_dense\(\)"),
        (torch.randn(0, 4), "batch of queries"),
        (np.array([["a", "b", "c", "d"]]), "cannot become a tensor"),
        (None, "must be a tensor, an array of numpy or a list"),
        ("photo.png", "must be a tensor, an array of numpy or a list"),
    ],
    ids=[
        "no batch",
        "too wide",
        "an axis too many",
        "bytes",
        "complex",
        "not a number",
        "sparse",
        "empty",
        "texts",
        "none",
        "a name",
    ],
)
def test_queries_that_are_none(query, words):
    with pytest.raises(QuickstudyError, match=words):
        fitted()[1](query)


@pytest.mark.parametrize("size", [(1, 20, 20), (3, 16, 16), (16, 16), (1, 1, 16, 16)])
def test_pictures_of_another_size_or_number_of_channels(size):
    learner = ProtoNet(Conv4(size=16, width=4))
    with pytest.raises(QuickstudyError, match=r"Conv4 takes examples of the shape \(1, 16, 16\)"):
        learner.fit(qs.Examples.single(torch.randn(6, *size), LABELS), qs.Classes(3))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8, torch.int8])
@pytest.mark.parametrize("name", ["protonet", "matching", "maml"])
def test_labels_of_every_integer_type_work_in_forward_too(name, dtype):
    """LOG 11."""
    x, learner = torch.randn(1, 6, 6), toy_learner(name, n_out=3)
    y = LABELS[None]
    right = qs.Episode(qs.Examples(x, y), qs.Examples(x, y), qs.Classes(3))
    other = qs.Episode(qs.Examples(x, y.to(dtype)), qs.Examples(x, y.to(dtype)), qs.Classes(3))
    assert torch.equal(learner(other), learner(right))
    assert torch.equal(
        other.target.loss(learner(other), other.query.y), right.target.loss(learner(right), y)
    )


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([1, 1, 2, 2, 3, 3], "must lie in 0 … 2"),
        ([0, 0, 1, 1, -1, 2], "must lie in 0 … 2"),
        ([0, 0, 1, 1, 1, 1], r"there is none of \[2\]"),
        ([0.0, 0.0, 1.0, 1.0, 2.0, 2.0], r"y\.long\(\)"),
        (["a", "a", "b", "b", "c", "c"], "return_inverse"),
        ([0, 1, 2], "one label per example"),
        ([[0], [0], [1], [1], [2], [2]], "integers 0 … 2, one per example"),
    ],
    ids=str,
)
def test_labels_that_are_none(labels, words):
    x = torch.randn(6, 6)
    for learn in (
        lambda e: toy_learner("protonet").fit(e, qs.Classes(3)),
        lambda e: toy_learner("protonet")(qs.Episode(e, e, qs.Classes(3))),
    ):
        with pytest.raises(QuickstudyError, match=words):
            learn(qs.Examples.single(x, labels))


def test_a_class_without_an_example_in_one_task_of_a_batch():
    x = torch.randn(2, 6, 6)
    e = qs.Examples(x, torch.stack((LABELS, LABELS.clamp(max=1))))
    with pytest.raises(QuickstudyError, match=r"there is none of \[2\] in task 1"):
        toy_learner("protonet")(qs.Episode(e, e, qs.Classes(3)))


def test_flat_answers_of_a_regression_are_never_broadcast():
    """LOG 07."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner = maml(MLP(1, widths=(16,)), n_out=1, inner_lr=0.05, inner_steps=20)
        x = torch.linspace(-1, 1, 10)[:, None]
        y = 3 * x[:, 0]
        right = learner.fit(qs.Examples.single(x, y[:, None]), qs.Reals(1))(x)
        flat = learner.fit(qs.Examples.single(x, y), qs.Reals(1))(x)
        assert torch.equal(flat, right)
        with pytest.raises(QuickstudyError, match=r"2 numbers for each example"):
            learner.fit(qs.Examples.single(x, y), qs.Reals(2))
        with pytest.raises(QuickstudyError, match=r"answers have the shape"):
            qs.Reals(1).loss(torch.zeros(1, 10, 1), y[None])
        with pytest.raises(QuickstudyError, match=r"answers have the shape"):
            learner.adapt(qs.Examples(x[None], y[None]), qs.Reals(1))
        e = qs.Episode(qs.Examples(x[None], y[None]), qs.Examples(x[None], y[None]), qs.Reals(1))
        assert e.query.y.shape == (1, 10, 1)


# --- parts and sizes


@pytest.mark.parametrize(
    "build",
    [
        lambda: ProtoNet(nn.Linear(6, 8)),
        lambda: MatchingNet(nn.Linear(6, 8)),
        lambda: maml(nn.Linear(6, 8), n_out=3),
        lambda: ALGORITHMS["meta_sgd"](nn.Linear(6, 8), n_out=3),
        lambda: ALGORITHMS["anil"](nn.Linear(6, 8), n_out=3),
        lambda: ALGORITHMS["unicorn_maml"](nn.Linear(6, 8)),
    ],
)
def test_a_module_given_as_encoder(build):
    """LOG 14."""
    with pytest.raises(QuickstudyError, match=r"encoders\.Wrapped\(module, out_dim"):
        build()


def test_only_networks_of_torch_are_wrapped():
    with pytest.raises(QuickstudyError, match=r"a torch\.nn\.Module"):
        Wrapped(len, out_dim=2)


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
@pytest.mark.parametrize("part", [nn.Linear(6, 8), MLP, "conv4", None], ids=str)
def test_every_algorithm_refuses_what_is_no_encoder(name, part):
    widths = {"n_out": 3, "semantic_dim": 6}
    known = inspect.signature(ALGORITHMS[name]).parameters
    with pytest.raises(QuickstudyError):
        ALGORITHMS[name](part, **{k: v for k, v in widths.items() if k in known})


def test_optimisers_of_torch_and_folders_as_text(tmp_path):
    """LOG 14."""
    learner = ProtoNet(MLP(6, widths=(8,)))
    tasks, plan = table().tasks("train", Setting(3, 2, 3)), Plan(steps=1, validate_every=0)
    with pytest.raises(QuickstudyError, match="Optimiser"):
        qs.train(learner, tasks, plan=plan, optimiser=torch.optim.Adam(learner.parameters()))
    assert qs.train(learner, tasks, plan=plan, out=str(tmp_path / "run")).finished


@pytest.mark.parametrize("name", ["n_way", "n_shot", "n_query", "n_unlabelled", "n_distractors"])
@pytest.mark.parametrize("value", [3.0, "3", None, True, [3], torch.tensor(3.5)], ids=str)
def test_sizes_of_a_task_that_are_no_whole_numbers(name, value):
    """LOG 16."""
    sizes = {"n_way": 3, "n_shot": 2, "n_query": 3, "n_unlabelled": 1}
    with pytest.raises(QuickstudyError, match=f"{name} must be a whole number"):
        Setting(**{**sizes, name: value})


def test_sizes_of_numpy_are_taken_and_the_report_is_saved(tmp_path):
    """LOG 16."""
    setting = Setting(np.int64(3), np.int64(2), np.int64(3))
    tasks = table().tasks("test", setting)
    report = qs.evaluate(ProtoNet(Identity(6)), tasks, n_tasks=np.int64(4))
    report.save(tmp_path / "r.json")
    assert qs.Report.load(tmp_path / "r.json").mean == report.mean


@pytest.mark.parametrize(
    "build",
    [
        lambda: qs.Classes(3.0),
        lambda: qs.Reals("1"),
        lambda: MLP(4.0),
        lambda: MLP(4, widths=(8.0,)),
        lambda: Conv4(width=4.0),
        lambda: Identity("4"),
        lambda: Identity(True),
        lambda: maml(MLP(4), n_out=3.0),
        lambda: maml(MLP(4), n_out=3, inner_steps=2.5),
        lambda: maml(MLP(4), n_out=3, inner_lr="0.1"),
    ],
)
def test_sizes_of_parts_that_are_no_whole_numbers(build):
    with pytest.raises(QuickstudyError, match="must be a"):
        build()


def test_sizes_of_numpy_can_be_saved(tmp_path):
    learner = ProtoNet(MLP(np.int64(6), widths=[np.int32(4)]))
    predictor = learner.fit(qs.Examples.single(torch.randn(6, 6), LABELS), qs.Classes(np.int64(3)))
    x = torch.randn(2, 6)
    assert torch.equal(qs.Predictor.load(predictor.save(tmp_path))(x), predictor(x))


# --- what is frozen stays frozen


def frozen_backbone():
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)).eval()
    return backbone.requires_grad_(False)


@pytest.mark.parametrize("whole_in_eval", [False, True])
@pytest.mark.parametrize("validates", [False, True])
def test_a_frozen_part_in_eval_mode_does_not_move_in_training(whole_in_eval, validates):
    """LOG 01."""
    backbone = frozen_backbone()
    learner = ProtoNet(Wrapped(nn.Sequential(backbone, nn.Linear(8, 8)), out_dim=8))
    learner.train(not whole_in_eval)
    backbone.eval()
    before = copy.deepcopy(backbone.state_dict())
    modes = []
    backbone.register_forward_hook(lambda *_: modes.append(backbone[2].training))
    tasks = table().tasks("train", Setting(3, 2, 3))
    val_tasks = table().tasks("val", Setting(3, 2, 3)) if validates else None
    plan = Plan(steps=5, validate_every=2 if validates else 0, n_val_tasks=2)
    qs.train(learner, tasks, plan=plan, val_tasks=val_tasks)
    moved = [n for n, t in backbone.state_dict().items() if not torch.equal(t, before[n])]
    assert not moved
    assert not any(modes)


def test_parts_that_are_not_frozen_are_trained_also_after_loading():
    learner = ProtoNet(MLP(6, widths=(8,))).eval()
    modes = []
    learner.encoder.register_forward_hook(lambda *_: modes.append(learner.encoder.training))
    tasks = table().tasks("train", Setting(3, 2, 3))
    qs.train(learner, tasks, plan=Plan(steps=1, validate_every=0))
    assert modes
    assert all(modes)


def three_layers():
    body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8))
    body[0].requires_grad_(False)
    return body


GRADIENT_BASED = ["maml", "fomaml", "meta_sgd", "maml_pp", "reptile", "alfa", "imaml", "metal"]
GRADIENT_BASED += ["meta_lstm", "learned_optimiser", "meta_curvature", "unicorn_maml"]


@pytest.mark.parametrize("name", GRADIENT_BASED)
def test_the_inner_loop_leaves_frozen_weights_alone(name):
    """LOG 03."""
    build = ALGORITHMS[name]
    width = {"n_out": 3} if "n_out" in inspect.signature(build).parameters else {}
    try:
        learner = build(Wrapped(three_layers(), out_dim=8), **width)
    except QuickstudyError:
        return  # refused in words
    frozen = learner.encoder.module[0].weight.clone()
    support = qs.Examples(torch.randn(1, 6, 6), LABELS[None])
    queries = torch.randn(1, 2, 6) if learner.traits.transductive else None
    fast, _ = learner.adapt(support, qs.Classes(3), queries)
    assert "encoder.module.0.weight" not in fast
    assert torch.equal(learner.encoder.module[0].weight, frozen)


def test_freezing_after_the_learner_was_built_is_refused():
    learner = maml(MLP(6, widths=(8,)), n_out=3)
    support = qs.Examples.single(torch.randn(6, 6), LABELS)
    learner.requires_grad_(False)
    learner.fit(support, qs.Classes(3))  # in use as a whole, not in training
    learner.head.requires_grad_(True)
    with pytest.raises(QuickstudyError, match=r"encoder.layers.0.weight, .*frozen since"):
        learner.fit(support, qs.Classes(3))
    encoder = MLP(6).requires_grad_(False)
    with pytest.raises(QuickstudyError, match="All parameters that the inner loop would adapt"):
        ALGORITHMS["boil"](encoder, n_out=3)


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.classifier = nn.Linear(6, 8), nn.Linear(8, 1000)

    def forward(self, x):
        return self.used(x)


@pytest.mark.parametrize("name", [n for n in GRADIENT_BASED if n not in ("metal", "maml_pp")])
def test_unused_parameters_are_left_alone_or_named(name):
    """LOG 05."""
    build = ALGORITHMS[name]
    width = {"n_out": 3} if "n_out" in inspect.signature(build).parameters else {}
    support = qs.Examples.single(torch.randn(6, 6), LABELS)
    try:
        learner = build(Wrapped(Unused(), out_dim=8), **width)
        predictor = learner.fit(support, qs.Classes(3))
        assert predictor(torch.randn(2, 6)).shape == (2, 3)
        e = qs.Episode(support, support, qs.Classes(3))
        loss = e.target.loss(learner(e), e.query.y).mean()
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in learner.parameters())
    except QuickstudyError as error:
        assert "classifier" in str(error)  # noqa: PT017


def test_nothing_to_train():
    """LOG 06."""
    tasks = table().tasks("train", Setting(3, 2, 3))
    with pytest.raises(QuickstudyError, match="nothing to train"):
        qs.train(ProtoNet(Identity(6)), tasks, plan=Plan(steps=2, validate_every=0))


# --- answers


class Broken(qs.AbstractTasks):
    data, split, split_hash, setting, seed = "d", "test", "x", Setting(3, 2, 3), 0

    def batch(self, numbers):
        t = len(numbers)
        x = torch.randn(t, 9, 4)
        x[:, :, 0] = torch.nan
        support = qs.Examples(torch.randn(t, 6, 4), torch.arange(3).repeat(2).repeat(t, 1))
        query = qs.Examples(x, torch.arange(3).repeat(3).repeat(t, 1))
        return qs.Episode(support, query, qs.Classes(3))


def test_answers_that_are_no_numbers_end_an_evaluation():
    """LOG 09."""
    with pytest.raises(QuickstudyError, match="not finite"):
        qs.evaluate(ProtoNet(Identity(4)), Broken(), n_tasks=10)


# --- whatever comes: refused in words, or answered with numbers

INDUCTIVE = [name for name in ALGORITHMS if not toy_learner(name).traits.transductive]
CHEAP = ["protonet", "matching", "nearest_neighbour", "maml", "linear_probe", "r2d2", "relation"]

dtypes = st.one_of(
    hnp.floating_dtypes(endianness="?"),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.boolean_dtypes(),
    hnp.complex_number_dtypes(),
    hnp.unicode_string_dtypes(max_len=3),
    hnp.datetime64_dtypes(max_period="D", min_period="D"),
    st.just(np.dtype(object)),
)
usual_shapes = st.sampled_from([(6, 6), (6, 5), (6,), (6, 1, 6), (1, 6, 6), (0, 6), (6, 0), ()])
arrays = dtypes.flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        usual_shapes | hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
        elements=st.integers(-3, 3) if dtype.kind == "O" else None,
        fill=st.nothing(),
    )
)
floats = hnp.arrays(
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.just((6, 6)),
    elements=st.floats(width=16) | st.sampled_from([0.0, -1.0, 65504.0]),
)
huge = hnp.arrays(np.float64, st.just((6, 6)), elements=st.floats())
labels = st.one_of(
    st.just(LABELS.numpy()),
    hnp.arrays(hnp.integer_dtypes(), st.just((6,)), elements=st.integers(-2, 4)),
    arrays,
)
lenient = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)


def learn_and_answer(name, x, y, query, target):
    """The answers, or None where they were refused in words."""
    learner = toy_learner(name, n_out=target.width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of solvers that do not converge
        try:
            predictor = learner.fit(qs.Examples.single(x, y), target)
            out = predictor(query)
        except QuickstudyError:
            return None
    assert out.shape == (len(query), target.width)
    assert not out.isnan().any()
    assert not out.isposinf().any()
    return out


@given(x=arrays | floats | huge, y=labels, query=arrays, n=st.integers(1, 4))
@lenient
def test_weird_arrays(x, y, query, n):
    for name in ("protonet", "maml"):
        learn_and_answer(name, x, y, query, qs.Classes(n))


@given(x=floats | huge, query=floats | huge, name=st.sampled_from(CHEAP))
@lenient
def test_weird_numbers(x, query, name):
    learn_and_answer(name, x, LABELS, query, qs.Classes(3))


@pytest.mark.parametrize("name", INDUCTIVE)
@given(x=huge, query=huge, scale=st.sampled_from([0.0, 1e-30, 1e-3, 1e10, 1e30, 1e150]))
@settings(lenient, max_examples=3)
def test_weird_numbers_through_every_learner(name, x, query, scale):
    target = next(iter(toy_learner(name).traits.targets))(3)
    y = LABELS if isinstance(target, qs.Classes) else x[:, :3]
    if name == "zero_shot":
        x, y = x[:3], torch.arange(3)
    learn_and_answer(name, np.clip(np.nan_to_num(x), -1, 1) * scale, y, query, target)


@given(y=arrays, target=st.sampled_from([qs.Reals(1), qs.Reals(2)]))
@settings(lenient, max_examples=30)
def test_weird_answers_of_a_regression(y, target):
    x = np.random.default_rng(0).normal(size=(6, 6))
    out = learn_and_answer("maml", x, y, x, target)
    if out is not None:
        assert y.shape in ((6, target.dim), (6,))


@given(
    support=arrays | floats | huge,
    query=arrays | floats | huge,
    y=labels,
    query_y=labels,
    n=st.integers(1, 4),
)
@settings(lenient, max_examples=50)
def test_weird_episodes(support, query, y, query_y, n):
    learner = toy_learner("protonet")
    try:
        e = qs.Episode(
            qs.Examples.single(support, y), qs.Examples.single(query, query_y), qs.Classes(n)
        )
        out = learner(e)
        e.target.loss(out, e.query.y)
    except QuickstudyError:
        return
    except IndexError as error:  # torch, of query labels that are out of range in a loss
        assert "Target" in str(error)  # noqa: PT017
        return
    assert out.shape == (1, e.query.x.shape[1], n)
