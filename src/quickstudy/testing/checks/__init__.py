"""The contracts of learners and encoders, executable: one function per promise, by subject."""

from quickstudy.testing.checks.contract import check_learner as check_learner
from quickstudy.testing.checks.encoder import check_encoder as check_encoder
from quickstudy.testing.checks.form import check_has_docstring as check_has_docstring
from quickstudy.testing.checks.form import (
    check_rejects_wrong_targets as check_rejects_wrong_targets,
)
from quickstudy.testing.checks.form import check_shapes as check_shapes
from quickstudy.testing.checks.gradients import check_gradient_is_exact as check_gradient_is_exact
from quickstudy.testing.checks.gradients import (
    check_gradient_reaches_every_parameter as check_gradient_reaches_every_parameter,
)
from quickstudy.testing.checks.gradients import (
    check_works_without_grad_mode as check_works_without_grad_mode,
)
from quickstudy.testing.checks.inputs import (
    check_features_serve_as_well as check_features_serve_as_well,
)
from quickstudy.testing.checks.inputs import (
    check_padding_is_invisible as check_padding_is_invisible,
)
from quickstudy.testing.checks.inputs import (
    check_unlabelled_is_what_was_promised as check_unlabelled_is_what_was_promised,
)
from quickstudy.testing.checks.invariance import check_any_way as check_any_way
from quickstudy.testing.checks.invariance import (
    check_classes_are_equivariant as check_classes_are_equivariant,
)
from quickstudy.testing.checks.invariance import (
    check_queries_do_not_leak as check_queries_do_not_leak,
)
from quickstudy.testing.checks.invariance import (
    check_support_order_is_free as check_support_order_is_free,
)
from quickstudy.testing.checks.invariance import check_tasks_do_not_leak as check_tasks_do_not_leak
from quickstudy.testing.checks.invariance import check_unbalanced_shots as check_unbalanced_shots
from quickstudy.testing.checks.learning import (
    check_learns_a_separable_toy as check_learns_a_separable_toy,
)
from quickstudy.testing.checks.precision import (
    check_dtype_and_device_are_kept as check_dtype_and_device_are_kept,
)
from quickstudy.testing.checks.purity import check_adapt_is_pure as check_adapt_is_pure
from quickstudy.testing.checks.purity import check_seed_is_idempotent as check_seed_is_idempotent
from quickstudy.testing.checks.purity import (
    check_state_size_is_constant as check_state_size_is_constant,
)
from quickstudy.testing.checks.saving import check_exports as check_exports
from quickstudy.testing.checks.saving import (
    check_predictor_round_trip as check_predictor_round_trip,
)
