"""The contract that every learner keeps, as code. Needs no test runner."""

import copy
import functools
import math
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils import _pytree as pytree

from quickstudy.core.errors import ContractError, TargetError
from quickstudy.core.learner import AbstractLearner, Traits, encoder_of
from quickstudy.core.predictor import Predictor
from quickstudy.core.types import Classes, Episode, Examples, Reals, Target
from quickstudy.data.features import on_features
from quickstudy.objectives.query_loss import QueryLoss
from quickstudy.testing.toy import toy_episode

# of the largest number compared: float32 sums in another order, through a few gradient steps
TOLERANCE = 2e-4
# between precisions and devices, where a ReLU or a maximum may fall to the other side in an inner
# step
COARSE = 1e-2
META_STEPS, META_RATE = 60, 1e-2
BLACK_BOX_STEPS, BLACK_BOX_RATE = 800, 1e-3


@dataclass(frozen=True)
class Subject:
    """Who is checked, and on what.

    Args:
        learner: a check works on its own copy, in eval mode.
        shape: of one example.
        n_way: classes per task, or numbers per answer of a regression. A learner of fixed width
            must have been built for it.
        n_tasks: ``T``.
        builder: where the learner's documentation is: the function that made it, or its class if
            None.
    """

    learner: AbstractLearner[Any]
    shape: tuple[int, ...] = (6,)
    n_way: int = 4
    n_tasks: int = 3
    builder: Callable[..., Any] | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        """One target of each kind that the learner serves."""
        return tuple(
            kind(self.n_way) for kind in (Classes, Reals) if kind in self.learner.traits.targets
        )

    def episode(self, **changes: Any) -> Episode:
        """A `toy_episode` that fits the learner's data type and device; ``changes`` are its
        arguments.
        """
        target = changes.get("target", self.targets[0])
        given = {
            "n_tasks": self.n_tasks,
            "n_way": self.n_way,
            "shape": self.shape,
            **changes,
            "target": target,
        }
        return _like(self.learner, toy_episode(**given))


Check: TypeAlias = Callable[[Subject], None]


def check_learner(
    learner: AbstractLearner[Any],
    *,
    shape: tuple[int, ...] = (6,),
    n_way: int = 4,
    n_tasks: Sequence[int] = (1, 3),
    builder: Callable[..., Any] | None = None,
) -> None:
    """Run every check that the learner's traits call for, simplest first. The learner is left as it
    was.

    Args:
        learner: yours. Parameters at their random start are fine.
        shape: of one example.
        n_way: classes per task, or numbers per answer of a regression. A learner of fixed width
            must have been built for it.
        n_tasks: the lengths of the task axis to try.
        builder: where the learner's documentation is: the function that made it, or its class if
            None.

    Raises:
        ContractError: at the first check that fails: which, what was expected, what came, and the
            usual cause.

    Example:
        >>> from quickstudy.testing import check_learner, toy_learner
        >>> check_learner(toy_learner("protonet"))
    """
    for i, n in enumerate(n_tasks):
        subject = Subject(learner, shape=shape, n_way=n_way, n_tasks=n, builder=builder)
        for check in yield_checks(learner.traits):
            if i == 0 or check not in ONCE:
                check(subject)


def yield_checks(traits: Traits) -> Iterator[Check]:
    """The checks that these promises call for, simplest first. Each takes a `Subject`."""
    yield check_has_header
    yield check_shapes
    yield check_rejects_wrong_targets
    yield check_adapt_is_pure
    yield check_seed_is_idempotent
    yield check_state_size_is_constant
    yield check_tasks_do_not_leak
    if not traits.transductive:
        yield check_queries_do_not_leak
    if traits.order_free:
        yield check_support_order_is_free
    if Classes in traits.targets:
        yield check_unbalanced_shots
    if Classes in traits.targets and traits.class_equivariant:
        yield check_classes_are_equivariant
    if traits.any_way:
        yield check_any_way
    if traits.encodes_alone:
        yield check_features_serve_as_well
    yield check_unlabelled_is_what_was_promised
    yield check_padding_is_invisible
    yield check_works_without_grad_mode
    yield check_dtype_and_device_are_kept
    yield check_gradient_reaches_every_parameter
    if traits.exact_gradient:
        yield check_gradient_is_exact
    if not traits.transductive:
        yield check_predictor_round_trip
    if not traits.transductive and traits.exportable:
        yield check_exports
    yield check_learns_a_separable_toy


def _check(usual_cause: str) -> Callable[[Check], Check]:
    """Run the body on a copy in eval mode, leave the global generators alone, and let every failure
    say the same things.
    """

    def wrap(body: Check) -> Check:
        @functools.wraps(body)
        def check(subject: Subject) -> None:
            who, name = type(subject.learner).__name__, body.__name__.removeprefix("check_")
            try:
                with torch.random.fork_rng(range(torch.cuda.device_count())), torch.enable_grad():
                    torch.manual_seed(0)
                    body(replace(subject, learner=copy.deepcopy(subject.learner).eval()))
            except Exception as error:
                came = (
                    str(error)
                    if isinstance(error, ContractError)
                    else f"the learner raised {type(error).__name__}: {str(error)[:1000]}"
                )
                where = f"{who} fails the check '{name}' at n_tasks={subject.n_tasks}"
                raise ContractError(f"{where}: {came}\nUsual cause: {usual_cause}") from error

        return check

    return wrap


@_check(
    "a docstring without the headings that every algorithm's has; 'Differs: nothing.' is an answer."
)
def check_has_header(subject: Subject) -> None:
    """The documentation says which paper, how to call it and what differs from the paper."""
    text = (subject.builder or type(subject.learner)).__doc__ or ""
    missing = [heading for heading in ("Example:", "Paper:", "Differs:") if heading not in text]
    if missing:
        raise ContractError(
            "expected a docstring with 'Example:', 'Paper:' and 'Differs:', but it lacks "
            f"{' and '.join(missing)}."
        )


@_check(
    "a task axis that was squeezed away, or an output as wide as the support instead of the target."
)
def check_shapes(subject: Subject) -> None:
    """Scores are finite and [T Q O]; every tensor of the state begins with T."""
    if not subject.targets:
        raise ContractError(
            "expected traits.targets to hold Classes, Reals or both, but it holds neither."
        )
    for target in subject.targets:
        e = subject.episode(target=target)
        state = _adapt(subject.learner, e)
        _answers(e, subject.learner.predict(state, e.query.x), f"for {target}")
        for leaf in pytree.tree_leaves(state):
            if not isinstance(leaf, Tensor) or leaf.shape[:1] != (e.n_tasks,):
                came = (
                    f"shape {tuple(leaf.shape)}"
                    if isinstance(leaf, Tensor)
                    else f"a {type(leaf).__name__}"
                )
                raise ContractError(
                    f"expected a state of tensors that begin with the task axis, T = {e.n_tasks}, "
                    f"but one leaf is {came}."
                )


@_check("a learner of fixed width that does not compare target.width with its own.")
def check_rejects_wrong_targets(subject: Subject) -> None:
    """A kind of target that the traits do not list, and a width that a fixed learner cannot give,
    are refused.
    """
    traits = subject.learner.traits
    wrong: list[Target] = [
        kind(subject.n_way) for kind in (Classes, Reals) if kind not in traits.targets
    ]
    if not traits.any_way:
        wrong += [type(target)(subject.n_way + 1) for target in subject.targets]
    for target in wrong:
        try:
            subject.learner(subject.episode(target=target, n_way=target.width))
        except TargetError:
            continue
        except Exception as error:
            raise ContractError(
                f"expected a TargetError for {target}, but got {type(error).__name__}: {error}"
            ) from error
        raise ContractError(f"expected a TargetError for {target}, but got scores.")


@_check(
    "something kept on self by adapt, or a tensor changed in place; adapt returns what it learned "
    "and keeps nothing."
)
def check_adapt_is_pure(subject: Subject) -> None:
    """Learning a task changes neither the learner, nor its inputs, nor what was learned before."""
    learner, e = subject.learner, subject.episode()
    given, before = pytree.tree_map(torch.clone, e), _tensors(learner)
    state = _adapt(learner, e)
    first = learner.predict(state, e.query.x)
    _adapt(learner, subject.episode(seed=1, n_shot=3))
    if not all(map(torch.equal, pytree.tree_leaves(e), pytree.tree_leaves(given))):
        raise ContractError(
            "expected the episode as it was, but its tensors were changed in place."
        )
    after = _tensors(learner)
    changed = [
        name
        for name in sorted(before.keys() | after.keys())
        if not _same(before.get(name), after.get(name))
    ]
    if changed:
        raise ContractError(
            f"expected parameters and buffers as they were, but {', '.join(changed)} changed."
        )
    marked = [name for name, p in learner.named_parameters() if p.grad is not None]
    if marked:
        raise ContractError(
            f"expected no .grad before anyone called backward, but {', '.join(marked)} have one."
        )
    _agree(
        learner.predict(state, e.query.x),
        first,
        "the answers from a state, before and after another task was learned",
    )
    _agree(learner(e), first, "the answers to the same episode, the first and the second time")


@_check(
    "torch.rand, numpy.random or a scikit-learn solver without random_state; draw from "
    "quickstudy.core.rng.generator(key) instead."
)
def check_seed_is_idempotent(subject: Subject) -> None:
    """In eval mode the same task has one answer, whatever the global generators' state, and they
    are left untouched.
    """
    e = subject.episode()
    states = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002
    first = subject.learner(e)
    if not torch.equal(torch.get_rng_state(), states[0]) or str(np.random.get_state()) != states[1]:  # noqa: NPY002
        raise ContractError(
            "expected torch's and numpy's global generators to be left alone in eval mode, but one "
            "was drawn from."
        )
    # Of Python's own generator only the effect is judged: beartype, where it checks annotations,
    # draws from it too.
    try:
        random.seed(1)
        _agree(subject.learner(e), first, "the answers with one global seed and with another")
    finally:
        random.setstate(states[2])


@_check("a memory on self, or a state that collects the queries it has answered.")
def check_state_size_is_constant(subject: Subject) -> None:
    """A state has the same size however many tasks share its batch, were learned before, or queries
    were answered from it.

    It may grow with the support: a nearest neighbour keeps all of it.
    """
    learner, e = subject.learner, subject.episode()
    state = _adapt(learner, e)
    size = _state_shapes(state)
    for _ in range(3):
        learner.predict(state, e.query.x)
        if _state_shapes(state) != size:
            raise ContractError(
                f"expected predict to leave the state's shapes, {size}, but they became "
                f"{_state_shapes(state)}."
            )
    larger = subject.episode(n_tasks=subject.n_tasks + 2)
    for what, again in (
        ("after tasks had been learned and queries answered", e),
        ("in a larger batch", larger),
    ):
        came = _state_shapes(_adapt(learner, again))
        if came != size:
            raise ContractError(
                f"expected states of shapes {size} per task, but {what} they are {came}."
            )


@_check(
    "statistics over all tasks at once (batch norm on flattened tasks), or a reshape that mixes "
    "tasks and examples."
)
def check_tasks_do_not_leak(subject: Subject) -> None:
    """A batch of tasks gives what each task alone gives."""
    for target in subject.targets:
        e = subject.episode(target=target, n_tasks=subject.n_tasks + 1)
        _agree(
            subject.learner(e),
            _one_by_one(subject.learner, e),
            f"for {target}, the answers in a batch of tasks and task by task",
        )


@_check(
    "statistics over the queries (batch norm, centring); set transductive=True in the traits, or "
    "take them from the support."
)
def check_queries_do_not_leak(subject: Subject) -> None:
    """The answer to a query does not depend on the other queries."""
    e = subject.episode()
    state = _adapt(subject.learner, e)
    alone = [
        subject.learner.predict(state, e.query.x[:, i : i + 1]) for i in range(e.query.x.shape[1])
    ]
    _agree(
        subject.learner.predict(state, e.query.x),
        torch.cat(alone, 1),
        "the answers to queries together and one by one",
    )


@_check(
    "a recurrent network over the support, or only its first examples used; set order_free=False "
    "in the traits if that is the method."
)
def check_support_order_is_free(subject: Subject) -> None:
    """The order of the support does not matter."""
    e = subject.episode()
    order = _permutations(*e.support.y.shape[:2], device=e.support.x.device)
    tasks = torch.arange(e.n_tasks, device=order.device)[:, None]
    shuffled = Episode(
        Examples(e.support.x[tasks, order], e.support.y[tasks, order]), e.query, e.target
    )
    _agree(
        subject.learner(shuffled),
        subject.learner(e),
        "the answers with the support in another order",
    )


@_check(
    "a reshape to [C K], which needs equal shots and sorted labels; use "
    "functional.prototypes.class_means or a one-hot product."
)
def check_unbalanced_shots(subject: Subject) -> None:
    """Shots may differ from class to class, and the classes with more of them from task to task."""
    learner, n = subject.learner, subject.n_way
    for last in (
        3,
        4,
    ):  # with 3 the total is that of two shots each, so that a wrong reshape goes through
        e = subject.episode(
            n_tasks=subject.n_tasks + 1, n_shot=(1, *[2] * (n - 2), last), target=Classes(n)
        )
        out = learner(e)
        _answers(e, out, f"with 1 to {last} shots a class")
        _agree(
            out,
            _one_by_one(learner, e),
            f"with 1 to {last} shots a class, the answers in a batch of tasks and task by task",
        )
        if learner.traits.class_equivariant:
            _agree(
                *_renamed_both_ways(learner, e),
                f"with 1 to {last} shots a class, the answers with the classes renamed",
            )


@_check(
    "a bias per class index, or labels used as numbers; set class_equivariant=False in the traits "
    "if classes have fixed outputs."
)
def check_classes_are_equivariant(subject: Subject) -> None:
    """Renaming the classes renames the outputs and changes nothing else."""
    _agree(
        *_renamed_both_ways(subject.learner, subject.episode(target=Classes(subject.n_way))),
        "the answers with the classes renamed",
    )


@_check(
    "a number of classes fixed at construction; set any_way=False in the traits and refuse other "
    "widths with a TargetError."
)
def check_any_way(subject: Subject) -> None:
    """One learner serves 2, 5 and 7 classes, or numbers per answer."""
    for target in (
        kind(n)
        for kind in (Classes, Reals)
        if kind in subject.learner.traits.targets
        for n in (2, 5, 7)
    ):
        e = subject.episode(n_way=target.width, target=target)
        _answers(e, subject.learner(e), f"for {target}")


@_check(
    "something computed of the raw examples, or an encoder that is adapted to the task; set "
    "encodes_alone=False in the traits."
)
def check_features_serve_as_well(subject: Subject) -> None:
    """Features that were computed beforehand give the answers that the examples give."""
    learner, e = subject.learner, subject.episode()
    encoder = encoder_of(learner)
    seen = replace(
        e,
        support=replace(e.support, x=encoder(e.support.x)),
        query=replace(e.query, x=encoder(e.query.x)),
    )
    if encoder.norm not in ("batch", "support"):
        _agree(
            on_features(learner)(seen),
            learner(e),
            "the answers to features computed beforehand and to the examples",
        )


@_check(
    "the unlabelled examples used without semi_supervised=True in the traits, or a learner that "
    "cannot do without them."
)
def check_unlabelled_is_what_was_promised(subject: Subject) -> None:
    """Unlabelled examples in the support are passed over, or, by a learner that is made for them,
    used where there are any.
    """
    learner, e = subject.learner, subject.episode()
    beside = _with_more(e, subject, always=True)
    out = learner(beside)
    _answers(e, out, "with unlabelled examples in the support")
    if learner.traits.semi_supervised:
        _agree(
            out,
            _one_by_one(learner, beside),
            "the answers with unlabelled examples in a batch of tasks and task by task",
        )
    else:
        _agree(out, learner(e), "the answers with and without unlabelled examples")


@_check("forward or fit overridden; the core's take padding away before adapt and predict.")
def check_padding_is_invisible(subject: Subject) -> None:
    """Padded rows, whatever they hold, change no answer, and padded queries are answered by
    zeros.
    """
    learner, e = subject.learner, subject.episode()
    support, query = _among_garbage(e.support), _among_garbage(e.query)
    assert support.mask is not None
    assert query.mask is not None
    out = learner(Episode(support, query, e.target))
    alone = [
        learner(Episode(_real(e.support, t), _real(e.query, t), e.target))[0]
        for t in range(e.n_tasks)
    ]
    for t, expected in enumerate(alone):
        _agree(out[t][query.mask[t]], expected, f"the answers to task {t} with and without padding")
    if out[~query.mask].count_nonzero():
        raise ContractError(
            f"expected zeros for the {int((~query.mask).sum())} padded queries, but got other "
            "numbers."
        )
    if not learner.traits.transductive:
        predictor = learner.fit(Examples(support.x[:1], support.y[:1], support.mask[:1]), e.target)
        _agree(
            predictor(e.query.x[0]),
            alone[0],
            "the answers of fit(support) with padding and of the learner without",
        )


@_check(
    "torch.autograd.grad inside adapt without torch.enable_grad(), or a result that is not "
    "detached when gradients are off."
)
def check_works_without_grad_mode(subject: Subject) -> None:
    """Without gradients the answers are the same and carry no graph; a state also answers in
    inference mode.
    """
    learner, e = subject.learner, subject.episode()
    expected = learner(e)
    with torch.no_grad():
        state = _adapt(learner, e)
        out = learner.predict(state, e.query.x)
    if out.requires_grad or any(leaf.requires_grad for leaf in pytree.tree_leaves(state)):
        raise ContractError(
            "under torch.no_grad() expected a state and scores without a graph, but they require "
            "gradients."
        )
    _agree(out, expected, "the answers with and without torch.no_grad()")
    with torch.inference_mode():
        _agree(
            learner.predict(state, e.query.x),
            expected,
            "the answers with and without torch.inference_mode()",
        )


@_check(
    "a tensor made without dtype=x.dtype, device=x.device, or .float(), .cpu() on the way; a "
    "constant belongs in a buffer."
)
def check_dtype_and_device_are_kept(subject: Subject) -> None:
    """A float64 learner answers in float64; everything happens on the device of the learner and the
    data.

    Where no accelerator is at hand torch's meta device stands in: it has no data, but refuses a
    tensor left on the CPU.
    """
    learner, e = subject.learner, subject.episode()
    single = learner(e)
    double = copy.deepcopy(learner).double()
    wide = _like(double, e)
    state = _adapt(double, wide)
    out = double.predict(state, wide.query.x)
    came = {
        str(leaf.dtype) for leaf in (out, *pytree.tree_leaves(state)) if leaf.is_floating_point()
    }
    if came != {"torch.float64"}:
        raise ContractError(
            "expected float64 from a float64 learner and episode, but state and scores hold "
            f"{' and '.join(sorted(came))}."
        )
    _agree(
        out.to(single.dtype),
        single,
        "the answers in float64 and in the learner's own precision",
        tolerance=COARSE,
    )
    if torch.cuda.is_available():
        out = copy.deepcopy(learner).to("cuda")(e.to("cuda"))
        if out.device.type != "cuda":
            raise ContractError(
                "expected scores on cuda from a learner and an episode there, but they are on "
                f"{out.device}."
            )
        _agree(
            out.to(single.device), single, "the answers on cuda and on the CPU", tolerance=COARSE
        )
    _follows_to_meta(learner, e)


@_check(
    "a parameter that no answer depends on, or a .detach(), .data or argmax on the way; remove or "
    "freeze what is not learned."
)
def check_gradient_reaches_every_parameter(subject: Subject) -> None:
    """The query loss has a finite gradient for every parameter that is to be learned.

    It may be exactly zero at the start, behind a layer that starts at zero, but not after a few
    steps of training too.
    """
    learner = subject.learner
    episodes = [
        _with_more(subject.episode(target=target, n_tasks=subject.n_tasks + 1), subject)
        for target in subject.targets
    ]
    unreached = {name for name, p in learner.named_parameters() if p.requires_grad}
    if not unreached:
        return
    optimiser = torch.optim.Adam(learner.parameters(), lr=1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        loss = torch.stack([QueryLoss()(learner, e) for e in episodes]).sum()
        if not loss.requires_grad:
            break
        loss.backward()
        gradients = {name: p.grad for name, p in learner.named_parameters() if p.grad is not None}
        broken = [name for name, g in gradients.items() if not g.isfinite().all()]
        if broken:
            raise ContractError(
                f"expected finite gradients of the query loss, but those of {', '.join(broken)} "
                "are not."
            )
        unreached -= {name for name, g in gradients.items() if g.count_nonzero()}
        optimiser.step()
    if unreached:
        names = ", ".join(sorted(unreached))
        raise ContractError(
            f"expected a gradient of the query loss for every parameter, but {names} got none, or "
            "only zeros."
        )


@_check(
    "a detached inner step (say exact_gradient=False for a first-order method), a .float() on the "
    "way, or backward through torch.func.vmap "
    "of inner gradients with an affine normalisation, which is silently wrong: loop over tasks, or "
    "apply scale and shift outside the norm."
)
def check_gradient_is_exact(subject: Subject) -> None:
    """In float64, the gradient of the query loss agrees with finite differences, for each parameter
    along a random direction.
    """
    learner = subject.learner.double()
    subject = replace(subject, learner=learner)
    e = _with_more(subject.episode(n_tasks=subject.n_tasks + 1), subject)
    named = [(name, p) for name, p in learner.named_parameters() if p.requires_grad]
    if not named:
        return
    gradients = torch.autograd.grad(
        QueryLoss()(learner, e), [p for _, p in named], allow_unused=True
    )
    for (name, p), gradient in zip(named, gradients, strict=True):
        direction = torch.randn_like(p)
        direction /= direction.norm()
        promised = 0.0 if gradient is None else float((gradient * direction).sum())
        # A kink of ReLU or max-pooling inside a wide difference is rarely inside a narrow one too;
        # a wide one forgives a rough solver.
        for width in (1e-6, 1e-8, 1e-4):
            measured = _slope(learner, e, p, direction, width)
            if abs(measured - promised) <= 1e-4 * max(abs(measured), abs(promised)) + 1e-7:
                break
        else:
            raise ContractError(
                f"expected the derivative of the query loss along a direction of {name} to be "
                f"{measured:.6g}, as finite differences "
                f"measure it, but backward gives {promised:.6g}."
            )


@_check(
    "something learned that is kept outside the state, or a part whose constructor arguments are "
    "not plain values."
)
def check_predictor_round_trip(subject: Subject) -> None:
    """What fit returns answers as the learner does, also after it was saved and loaded."""
    for target in subject.targets:
        e = subject.episode(n_tasks=1, target=target)
        predictor, x = subject.learner.fit(e.support, target), e.query.x[0]
        _agree(
            predictor(x),
            subject.learner(e)[0],
            f"for {target}, the answers of fit(support)(x) and of the learner itself",
        )
        with tempfile.TemporaryDirectory() as folder:
            loaded = Predictor.load(predictor.save(folder)).to(x.device)
        _agree(
            loaded(x),
            predictor(x),
            f"for {target}, the answers of the loaded predictor and of the saved one",
            tolerance=0.0,
        )


@_check(
    "a branch on values, .item(), a size taken as a constant, or numpy in predict; set "
    "exportable=False if the method needs it."
)
def check_exports(subject: Subject) -> None:
    """torch.export takes the predictor, for any number of queries."""
    e = subject.episode(n_tasks=1)
    predictor = subject.learner.fit(e.support, e.target)
    x = e.query.x[0]
    program = torch.export.export(
        predictor, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=False
    ).module()
    for some in (x, x[:2], torch.cat((x, x, x))):
        _agree(
            program(some),
            predictor(some),
            f"the answers of the exported program to {len(some)} queries and the predictor's",
        )


@_check(
    "answers that ignore the support, a wrong sign (scores are higher = closer), or an inner rate "
    "that is far too small or too large."
)
def check_learns_a_separable_toy(subject: Subject) -> None:
    """Tasks that are easy are learned: half-way from chance to perfect, and half the error of an
    answer that ignores the support.

    A learner that cannot do it with its parameters as they are gets a short meta-training; a black
    box a longer and gentler one.
    """
    steps, rate = (
        (BLACK_BOX_STEPS, BLACK_BOX_RATE)
        if subject.learner.traits.black_box
        else (META_STEPS, META_RATE)
    )
    for target in subject.targets:
        learner = copy.deepcopy(subject.learner)
        exam = subject.episode(n_tasks=8, n_shot=5, target=target, seed=10_000)
        reached = _mark(learner, exam)
        needed = 0.5 + 0.5 / subject.n_way if isinstance(target, Classes) else 0.5
        learned = [p for p in learner.parameters() if p.requires_grad]
        optimiser = torch.optim.Adam(learned, lr=rate) if learned else None
        for step in range(steps):
            if reached >= needed or optimiser is None:
                break
            learner.train()
            loss = QueryLoss()(
                learner, subject.episode(n_tasks=4, n_shot=5, target=target, seed=step)
            )
            if not loss.requires_grad:
                break
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step % (steps // 6) == steps // 6 - 1:
                reached = _mark(learner.eval(), exam)
        if reached < needed:
            kind = "accuracy" if isinstance(target, Classes) else "explained share of the variance"
            raise ContractError(
                f"for {target}, expected an {kind} of at least {needed:.3g} on an easy toy, but "
                f"got {reached:.3g}."
            )


ONCE = frozenset(
    {
        check_has_header,
        check_rejects_wrong_targets,
        check_gradient_reaches_every_parameter,
        check_gradient_is_exact,
        check_predictor_round_trip,
        check_exports,
        check_learns_a_separable_toy,
    }
)
"""Checks that choose their number of tasks themselves, so that one `Subject` per learner is
enough.
"""


def _adapt(learner: AbstractLearner[Any], e: Episode) -> Any:
    return learner.adapt(e.support, e.target, e.query.x if learner.traits.transductive else None)


def _with_more(e: Episode, subject: Subject, *, always: bool = False) -> Episode:
    """The episode with unlabelled examples in its support, where the learner has parameters that
    only those reach.
    """
    if not (always or subject.learner.traits.semi_supervised):
        return e
    return replace(
        e, support=replace(e.support, unlabelled=subject.episode(n_tasks=e.n_tasks, seed=1).query.x)
    )


def _one_by_one(learner: AbstractLearner[Any], e: Episode) -> Tensor:
    return torch.cat([learner(e.task(t)) for t in range(e.n_tasks)])


def _renamed_both_ways(learner: AbstractLearner[Any], e: Episode) -> tuple[Tensor, Tensor]:
    """Scores with the classes renamed, put back in the old order, and scores with the old names."""
    names = _permutations(e.n_tasks, e.target.width, e.support.x.device)
    support = Examples(e.support.x, names.gather(1, e.support.y))
    out = learner(Episode(support, e.query, e.target))
    return out.gather(2, names[:, None].expand_as(out)), learner(e)


def _permutations(n_tasks: int, n: int, device: torch.device) -> Int[Tensor, "T N"]:
    return torch.stack([torch.randperm(n) for _ in range(n_tasks)]).to(device)


def _like(learner: AbstractLearner[Any], e: Episode) -> Episode:
    """The episode in the data type and on the device of the learner."""
    held = next(
        (t for t in (*learner.parameters(), *learner.buffers()) if t.is_floating_point()),
        torch.empty(0),
    )
    return pytree.tree_map(
        lambda leaf: leaf.to(held.device, held.dtype if leaf.is_floating_point() else leaf.dtype), e
    )


def _real(examples: Examples, t: int) -> Examples:
    """Task ``t`` alone; every second task is one row short, so that not all have the same
    length.
    """
    n = examples.x.shape[1] - t % 2
    return Examples(examples.x[t : t + 1, :n], examples.y[t : t + 1, :n])


def _among_garbage(examples: Examples) -> Examples:
    """The rows of `_real`, in their order, at random places among rows of NaN."""
    T, N = examples.x.shape[:2]
    x = examples.x.new_full((T, N + 3, *examples.x.shape[2:]), math.nan)
    y = torch.zeros_like(examples.y[:, :1]).repeat(1, N + 3, *[1] * (examples.y.ndim - 2))
    mask = torch.zeros(T, N + 3, dtype=torch.bool, device=x.device)
    for t in range(T):
        real = _real(examples, t)
        places = torch.randperm(N + 3)[: real.x.shape[1]].sort().values.to(x.device)
        x[t, places], y[t, places], mask[t, places] = real.x[0], real.y[0], True
    return Examples(x, y, mask)


def _tensors(learner: AbstractLearner[Any]) -> dict[str, Tensor]:
    return {
        name: t.detach().clone()
        for name, t in (*learner.named_parameters(), *learner.named_buffers())
    }


def _state_shapes(state: Any) -> list[tuple[int, ...]]:
    return [tuple(leaf.shape[1:]) for leaf in pytree.tree_leaves(state)]


def _slope(
    learner: AbstractLearner[Any], e: Episode, p: Tensor, direction: Tensor, width: float
) -> float:
    """Central difference of the query loss for parameter ``p`` along ``direction``."""
    home, losses = p.detach().clone(), []
    for sign in (1, -1):
        with torch.no_grad():
            p.copy_(home + sign * width * direction)
        losses.append(float(QueryLoss()(learner, e).detach()))
    with torch.no_grad():
        p.copy_(home)
    return (losses[0] - losses[1]) / (2 * width)


def _follows_to_meta(learner: AbstractLearner[Any], e: Episode) -> None:
    try:
        out = copy.deepcopy(learner).to("meta")(e.to("meta"))
    except Exception as error:
        # Other errors come from methods that need the numbers (a solver in numpy, a branch on a
        # value), which meta has not.
        if isinstance(error, NotImplementedError) or "device" not in str(error):
            return
        raise ContractError(
            "expected every tensor on the device of learner and data, but on another one it "
            f"raised: {error}"
        ) from error
    if out.device.type != "meta":
        raise ContractError(
            f"expected scores on the device of learner and data, but they are on {out.device}."
        )


def _mark(learner: AbstractLearner[Any], exam: Episode) -> float:
    """Accuracy, or the share of the squared numbers that the answers explain: 0 for an answer that
    ignores the support.
    """
    with torch.no_grad():
        out = learner(exam)
    score = exam.target.score(out, exam.query.y).mean()
    return float(
        score if isinstance(exam.target, Classes) else 1 + score / exam.query.y.square().mean()
    )


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and torch.equal(a, b)


def _answers(e: Episode, out: Tensor, when: str) -> None:
    """Raise unless ``out`` are finite scores of the episode's queries."""
    expected = (*e.query.x.shape[:2], e.target.width)
    if out.shape != expected:
        raise ContractError(
            f"{when}, expected scores of shape [T Q O] = {expected}, but got {tuple(out.shape)}."
        )
    if not out.isfinite().all():
        raise ContractError(
            f"{when}, expected finite scores, but {int((~out.isfinite()).sum())} of {out.numel()} "
            "are not."
        )


def _agree(came: Tensor, expected: Tensor, what: str, *, tolerance: float = TOLERANCE) -> None:
    """Raise unless equal up to ``tolerance`` times the largest finite number expected."""
    if came.shape != expected.shape:
        raise ContractError(
            f"expected {what} to have one shape, but they have {tuple(came.shape)} and "
            f"{tuple(expected.shape)}."
        )
    came, expected = came.detach(), expected.detach()
    finite = expected[expected.isfinite()]
    size = float(finite.abs().max()) if finite.numel() else 0.0
    if not torch.isclose(came, expected, rtol=0.0, atol=tolerance * size).all():
        gap = float((came - expected).abs().max())
        raise ContractError(
            f"expected {what} to be equal, but they differ by up to {gap:.3g}, where the largest "
            f"number is {size:.3g}."
        )
