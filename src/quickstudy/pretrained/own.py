"""An encoder of one's own: a function or a class in a Python module, named as module:function."""

import hashlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.data import read_picture
from quickstudy.pretrained.encoder import AbstractPretrained, FunctionEncoder

_FORM = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_TRIED = 32  # pixels a side of the picture that a function is tried with
_READ_AT_LEAST = 256  # pixels; large photographs may be decoded to a part of their size


def is_own(source: str) -> bool:
    """Whether a text names something in a Python module."""
    return _FORM.fullmatch(source) is not None


def open_own(source: str) -> AbstractPretrained:
    """The encoder that a Python module holds; importing the module runs it.

    Args:
        source: "module:name". The module is looked for in the current folder, too. What is called
            ``name`` is an `AbstractPretrained`, a class of such, which is called without
            arguments, or a function from a list of Pillow images to vectors ``[n D]``.

    Raises:
        ConfigError: when there is no such thing, or it gives no vectors.
    """
    module_name, _, name = source.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"The encoder '{source}' is to be in the Python module '{module_name}', which cannot "
            f"be imported: {error}. Run the command where {module_name}.py lies, or install it."
        ) from error
    if name not in vars(module):
        known = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise ConfigError(
            f"The module '{module_name}' has no '{name}'. {did_you_mean(name, known)}"
        )
    value = vars(module)[name]
    if isinstance(value, type) and issubclass(value, AbstractPretrained):
        value = value()
    if isinstance(value, AbstractPretrained):
        value.source = source
        return value
    if not callable(value):
        raise ConfigError(
            f"'{source}' is a {type(value).__name__}. An encoder of your own is a function from a "
            "list of Pillow images to vectors, or an AbstractPretrained."
        )
    return _of_function(source, value)


def _of_function(source: str, function: Callable[[list[Any]], Any]) -> FunctionEncoder:
    tried = np.asarray(function([Image.new("RGB", (_TRIED, _TRIED), "grey")]))
    if tried.ndim != 2 or len(tried) != 1 or not np.issubdtype(tried.dtype, np.number):
        raise ConfigError(
            f"'{source}' gave an array of shape {tried.shape} and type {tried.dtype} for a list of "
            "one Pillow image, but one row of numbers was expected."
        )
    encoder = FunctionEncoder(
        function,
        key=hashlib.sha256(f"{source}\n{_text_of(function)}".encode()).hexdigest()[:16],
        dim=tried.shape[1],
        read=lambda path: read_picture(path, at_least=_READ_AT_LEAST),
    )
    encoder.source = source
    encoder.notes = (
        f"'{source}' is known again by the text of its module. What that loads (weights, settings) "
        "must not change, or vectors of before and after are compared.",
    )
    return encoder


def _text_of(function: Callable[[list[Any]], Any]) -> str:
    """The text of the module that a function stands in; of what has none, nothing."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:
        return ""
    return Path(file).read_text(encoding="utf-8", errors="replace") if file else ""
