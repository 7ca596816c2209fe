"""Checks of the form: the documentation, the shapes, the targets that are served."""

from torch import Tensor
from torch.utils import _pytree as pytree

from quickstudy.core.arguments import returned
from quickstudy.core.errors import ContractError, TargetError
from quickstudy.core.types import Classes, Reals, Target
from quickstudy.testing.checks.requirements import contract_check, require_scores
from quickstudy.testing.checks.subject import Subject, adapt


@contract_check("a class or a function that makes the learner without a docstring of its own.")
def check_has_docstring(subject: Subject) -> None:
    """The documentation says what the learner is."""
    builder = subject.builder or type(subject.learner)
    if not (builder.__doc__ or "").strip():
        raise ContractError(
            f"expected a docstring that says what it is, but {builder.__qualname__} has none."
        )


@contract_check(
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
        learner = subject.learner
        state = returned(adapt(learner, e), learner, "adapt")
        out = returned(learner.predict(state, e.query.x), learner, "predict", Tensor)
        require_scores(e, out, f"for {target}")
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


@contract_check("a learner of fixed width that does not compare target.width with its own.")
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
