"""Train and eval mode of modules: put back as it was, and kept where the user set it."""

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def in_mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """The module in train or eval mode for a while; afterwards each part is in its own mode
    again.
    """
    before = [(part, part.training) for part in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for part, mode in before:
            part.training = mode


def into_training(module: nn.Module) -> None:
    """Put a module into train mode, but leave the parts in eval mode that the user put there.

    Those are the parts in eval mode inside a module that is in train mode. A module that is in eval
    mode as a whole, as loading leaves it, is put into train mode but for parts whose parameters are
    all frozen.
    """
    if not module.training:
        _train_unless_frozen(module)
    module.training = True


def _train_unless_frozen(module: nn.Module) -> None:
    if _is_frozen(module):
        return
    module.training = True
    for child in module.children():
        _train_unless_frozen(child)


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)
