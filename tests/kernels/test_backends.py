import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from quickstudy.core.errors import ConfigError
from quickstudy.kernels import backend, norm_relu_pool
from quickstudy.kernels import backends as backends
from quickstudy.kernels.backends import chosen


def test_numba_serves_the_cpu_where_it_is_installed():
    assert chosen(torch.zeros(1)) == "numba"
    assert chosen(torch.zeros(1, device="meta")) == "torch"
    with backend("torch"):
        assert chosen(torch.zeros(1)) == "torch"
    with backend("numba"):
        assert chosen(torch.zeros(1, dtype=torch.float64)) == "numba"


def test_without_numba_the_stock_operations_do(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    backends._numba_is_there.cache_clear()
    try:
        assert chosen(torch.zeros(1)) == "torch"
        with (
            pytest.raises(ConfigError, match=r"pip install 'quickstudy\[fast\]'"),
            backend("numba"),
        ):
            pass
    finally:
        monkeypatch.undo()
        backends._numba_is_there.cache_clear()


def test_an_unknown_form_is_refused_with_the_nearest_spelling():
    with pytest.raises(ConfigError, match="Did you mean 'numba'"), backend("nummba"):
        pass


def test_the_choice_ends_with_the_block_even_after_an_error():
    with pytest.raises(ZeroDivisionError), backend("plain"):
        _ = 1 // 0
    assert chosen(torch.zeros(1)) == "numba"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_plain(dtype):
    assert chosen(torch.zeros(1, dtype=dtype)) == "plain"
    with torch.autocast("cpu", torch.bfloat16):
        assert chosen(torch.zeros(1)) == "plain"


def test_graphs_that_others_record_are_plain():
    seen = []

    def f(z):
        seen.append(chosen(z))
        return norm_relu_pool(z, None, None, 1e-5)[0]

    z = torch.randn(2, 3, 4, 4)
    wanted = f(z)
    torch.testing.assert_close(torch.func.vmap(f)(z[None])[0], wanted)
    torch.testing.assert_close(make_fx(f)(z)(z), wanted)
    exported = torch.export.export(_Module(f), (z,)).module()
    torch.testing.assert_close(exported(z), wanted)
    assert seen[0] == "numba"
    assert set(seen[1:]) == {"plain"}


class _Module(torch.nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, z):
        return self.f(z)


def test_who_waits_for_kernels_to_be_compiled_is_told_so_once(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    code = """
import torch
from quickstudy.kernels.compiled import arrays, finish
for t in (torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1).double()):
    finish(*arrays(t, t, t, t[0, 0, 0], t[0, 0, 0], t[0, 0, 0]))
"""
    for expected in (1, 0):  # the second time they are read from the disk
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr.count("Kernels are compiled for this machine, once") == expected
