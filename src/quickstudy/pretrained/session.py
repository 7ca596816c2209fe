"""Sessions of onnxruntime; without torch."""

from pathlib import Path
from typing import Any

from quickstudy.core.errors import ConfigError, LoadError


def open_session(file: Path, *, package: str = "onnxruntime") -> Any:
    """A session that runs an ``.onnx`` file on the processor.

    Args:
        file: the file.
        package: what to install where onnxruntime is missing.

    Raises:
        ConfigError: when onnxruntime is not installed.
        LoadError: when there is no such file, or it is not a model.
    """
    if not file.is_file():
        raise LoadError(f"There is no file '{file}'. Check the path.")
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            f"Models in the ONNX format need the package onnxruntime: pip install '{package}'."
        ) from error
    options = onnxruntime.SessionOptions()
    # Threads that wait in a busy loop take the processor from everything else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds of error have no common base
        raise LoadError(
            f"{file} is not a model that onnxruntime can read: {str(error).splitlines()[0]} Export "
            "or fetch it again."
        ) from error
