"""Which device to compute on."""

import torch

from quickstudy.core.errors import ConfigError
from quickstudy.training.engine import launch


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU. Processes that were launched together take
    a GPU each.

    Raises:
        ConfigError: for a device that is not there, or a single one for several processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"No device is called '{name}'. Use auto, cpu, cuda or cuda:0."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"'{name}' was asked for but this torch finds no CUDA device. Use --device cpu."
        )
    place = launch()
    if device.type != "cuda" or place.size == 1:
        return device
    if device.index is not None or place.local_size > torch.cuda.device_count():
        raise ConfigError(
            f"--device {name}: the {place.local_size} processes on this machine need a GPU each, "
            f"and it has {torch.cuda.device_count()}. Use --device cuda "
            "and at most as many processes, or --device cpu."
        )
    return torch.device("cuda", place.local_rank)
