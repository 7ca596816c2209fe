"""SNAIL and MANN beside other people's code, with the same weights."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from quickstudy import algorithms as al

from .golden import D, Golden, identity


def test_snail(golden: Callable[[str], Golden]) -> None:
    from quickstudy.algorithms.black_box.causal import CausalAttention, CausalConvolution

    d = golden("snail")
    x, w = d["sequence"], d.sub("tc_block_weights.")
    for name, first in (("dilations_1_2_4", 0), ("dilations_2_4_8", 1)):
        h = x
        for i in range(4):
            c = CausalConvolution(7 + 5 * i, 5, 2 ** (i + first)).double()
            with torch.no_grad():
                for p, k in ((c.conv.weight, "weight"), (c.conv.bias, "bias")):
                    p.copy_(torch.cat([w[f"layer{i}.{j}.{k}"] for j in ("value", "gate")]))
            h = c(h)
        d.row(f"TC block, {name}", h, d[f"tc_block_{name}"], 1e-10)
    a, w = CausalAttention(7, 6, 4).double(), d.sub("attention_weights.")
    with torch.no_grad():
        for ours, theirs in (("query", "query"), ("key", "key"), ("value", "value")):
            (
                getattr(a, ours).weight.copy_(w[f"{theirs}.weight"]),
                getattr(a, ours).bias.copy_(w[f"{theirs}.bias"]),
            )
    d.row("attention, softmax over keys", a(x), d["attention_softmax_over_keys"], 1e-10)
    d.row(
        "attention, softmax as in the repository",
        a(x),
        d["attention_softmax_as_in_repository"],
        1e-10,
        "the repository's softmax runs over the queries",
    )

    def formula(shape, layer):
        n = math.prod(shape)
        k = torch.arange(n, dtype=D)
        return (
            torch.sin(1.7 * k + 0.37 * layer + 0.5)
            / math.sqrt(max(n // shape[0] if len(shape) > 1 else n, 1))
            * 1.5
        ).view(shape)

    for first in (1, 2):
        q = al.SNAIL(
            identity(5),
            n_out=3,
            length=7,
            filters=int(d["net_filters"]),
            first_dilation=first,
        ).double()
        parts, layer = list(q.net), 0
        with torch.no_grad():
            for m in parts:
                if isinstance(m, CausalAttention):
                    for l in (m.query, m.key, m.value):
                        (
                            l.weight.copy_(formula(l.weight.shape, layer)),
                            l.bias.copy_(formula(l.bias.shape, layer + 1)),
                        )
                        layer += 2
                else:
                    f = int(d["net_filters"])
                    ws = [
                        (
                            formula((f, *m.conv.weight.shape[1:]), layer + 2 * j),
                            formula((f,), layer + 2 * j + 1),
                        )
                        for j in (0, 1)
                    ]
                    (
                        m.conv.weight.copy_(torch.cat([v[0] for v in ws])),
                        m.conv.bias.copy_(torch.cat([v[1] for v in ws])),
                    )
                    layer += 4
            (
                q.head.weight.copy_(formula(q.head.weight.shape, layer)),
                q.head.bias.copy_(formula(q.head.bias.shape, layer + 1)),
            )
        o, named = q(d.episode("net")), f"dilations_{first}_{2 * first}_{4 * first}"
        for softmax in ("over_keys", "as_in_repository"):
            d.row(
                f"whole network, {named}, softmax {softmax}",
                o,
                d[f"net_logits_{named}_softmax_{softmax}"],
                1e-9,
                "" if softmax == "over_keys" else "the repository's softmax runs over the queries",
            )


def test_mann(golden: Callable[[str], Golden]) -> None:
    d = golden("mann")
    w, R, row_, rows_, H, C = d.sub("weights."), 2, 5, 8, 9, 3
    told = F.one_hot(d["y"], C).double()
    late = torch.cat((torch.zeros(1, C, dtype=D), told[:-1]))
    for variant in ("paper", "paper_own_row", "repository"):
        q = al.MANN(
            identity(4),
            n_out=C,
            width=H,
            rows=rows_,
            row=row_,
            heads=R,
            strength=1.0,
            own_rows=variant != "paper",
            normalise=False,
        ).double()
        # theirs f, i, o, u; torch i, f, g, o
        order = lambda m: torch.cat([m.chunk(4, -1)[i] for i in (1, 0, 3, 2)], -1)
        with torch.no_grad():
            (
                q.cell.weight_ih.copy_(
                    torch.cat((order(w["gates_of_input"]), order(w["gates_of_read"]))).T
                ),
                q.cell.weight_hh.copy_(order(w["gates_of_state"]).T),
            )
            q.cell.bias_ih.copy_(order(w["gates_bias"])), q.cell.bias_hh.zero_()
            (
                q.key.weight.copy_(w["key"].permute(0, 2, 1).reshape(R * row_, H)),
                q.key.bias.copy_(w["key_bias"].flatten()),
            )
            q.gate.copy_(w["gate"])
            q.head.weight.copy_(w["out"].T), q.head.bias.copy_(w["out_bias"])
        memory = q.blank(1, d["x"][None])
        got = {k: [] for k in ("logits", "read_weights", "usage", "memory")}
        for t in range(len(d["x"])):
            out, memory = q.step(memory, torch.cat((d["x"][t], late[t]))[None])
            for k, v in zip(got, (out, memory[5], memory[4], memory[3]), strict=True):
                got[k].append(v[0])
        why = ""
        if variant == "repository":
            why = (
                "a vector to write beside the key, gates that read the state, first rows in use "
                "at the start"
            )
        for k, v in got.items():
            d.row(f"{variant} {k}", torch.stack(v), d[f"{variant}_{k}"], 1e-4, why)
