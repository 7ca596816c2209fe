"""Learned rules, rates and losses beside other people's code, from the same weights."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quickstudy import algorithms as al
from quickstudy.encoders import Conv4

from .golden import D, Golden
from .networks import adapted, gradients, network


def of_maml_pp(d, tag, norm):
    q = (
        al.maml_pp(
            Conv4(width=4, size=16, norm=norm),
            n_out=3,
            inner_lr=0.3,
            inner_steps=3,
            per_step_norm=tag == "per_step_norm",
            per_step_statistics=norm == "per_task",
        )
        .double()
        .train()
    )
    own, names = dict(q.named_parameters()), {}
    for i in range(4):
        names[f"conv{i}.weight"] = f"encoder.blocks.{i}.conv.weight"
        names[f"rates.conv{i}.weight"] = f"loop.rule.rates.encoder-blocks-{i}-conv-weight"
        for w in ("weight", "bias"):
            names[f"conv{i}.norm.{w}"] = (
                f"per_step.encoder-blocks-{i}-norm-{w}"
                if tag == "per_step_norm"
                else f"encoder.blocks.{i}.norm.{w}"
            )
    names |= {
        "head.weight": "head.weight",
        "head.bias": "head.bias",
        "rates.head.weight": "loop.rule.rates.head-weight",
        "rates.head.bias": "loop.rule.rates.head-bias",
    }
    with torch.no_grad():
        for n, m in names.items():
            v = d[f"{tag}_{n}"]
            own[m].copy_(v[:3] if n.startswith("rates.") else v)
        if (
            norm == "per_task"
        ):  # theirs does not begin at 0 and 1: building the network runs it on zeros
            for i in range(4):
                for k in ("mean", "var"):
                    q.per_step._buffers[f"encoder-blocks-{i}-norm-{k}"].copy_(
                        d[f"{tag}_conv{i}.norm.running_{k}"]
                    )
    return q, names, own


def test_maml_pp(golden: Callable[[str], Golden]) -> None:
    from quickstudy.core.clock import set_clocks
    from quickstudy.objectives import MultiStep
    from quickstudy.objectives.multi_step import step_weights

    d = golden("maml_pp")
    e = d.episode("conv")
    for tag, norm in (
        ("per_step_norm", "batch"),
        ("per_step_norm", "per_task"),
        ("shared_norm", "batch"),
    ):
        for epoch in (0, 4, 12):
            for second in (True, False):
                q, names, own = of_maml_pp(d, tag, norm)
                q.loop.first_order = not second
                objective = MultiStep(annealing_steps=5000, epoch=500)
                set_clocks(objective, epoch * 500)
                l = objective(q, e)
                l.backward()
                t = f"{tag}_epoch{epoch}_{'second' if second else 'first'}_order"
                d.row(f"{t} norm={norm} loss", l, d[f"{t}_loss"], 1e-9)
                want = {
                    k: (v[:3] if k.startswith("rates.") else v)
                    for k, v in d.sub(f"{t}_outer_gradient.").items()
                    if k in names
                }
                if want:
                    d.rows(
                        f"{t} norm={norm} outer gradients",
                        {n: own[m].grad for n, m in names.items()},
                        want,
                        1e-7,
                    )
                if norm == "per_task" and second:
                    b = q.per_step._buffers
                    got = {
                        f"conv{i}.norm.running_{k}": b[f"encoder-blocks-{i}-norm-{k}"]
                        for i in range(4)
                        for k in ("mean", "var")
                    }
                    d.rows(
                        f"{t} running statistics per step",
                        got,
                        {k: v for k, v in d.sub(f"{t}_after.").items() if k in got},
                        1e-7,
                        "of a batch, the supports of all tasks are seen first, then the queries; "
                        "theirs goes task by task",
                    )
    for nm, msl in (("with_multi_step_loss", True), ("without_multi_step_loss", False)):
        q, names, own = of_maml_pp(d, "per_step_norm", "per_task")
        one = e.task(0)
        objective = MultiStep(annealing_steps=5000, epoch=500)
        set_clocks(objective, 0 if msl else 10**6)
        objective(q, one).backward()
        b = q.per_step._buffers
        got = {
            f"conv{i}.norm.running_{s}": b[f"encoder-blocks-{i}-norm-{s}"]
            for i in range(4)
            for s in ("mean", "var")
        }
        d.rows(
            f"running statistics per step after one task, {nm}",
            got,
            d.sub(f"per_step_norm_first_task_alone_{nm}_after."),
            1e-6,
        )
    for J in (1, 2, 3, 5, 10):
        for E in (10, 15):
            got = [step_weights(J, epoch=k, annealing_epochs=E) for k in range(21)]
            d.row(
                f"multi-step weights, {J} steps, annealing {E}",
                torch.tensor(got, dtype=D),
                d[f"msl_weights_steps{J}_annealing{E}"],
                1e-12,
            )


def test_alfa(golden: Callable[[str], Golden]) -> None:
    d = golden("alfa")
    for kind in ("mlp", "conv"):
        for variant, first in (("", False), ("differentiated_", False), ("", True)):
            q, names, own = network(
                d,
                kind,
                al.alfa,
                n_out=3,
                inner_lr=0.2,
                inner_steps=3,
                first_order=first,
                constant_gradients=not variant,
            )
            r = q.loop.rule
            fast = [n for n, m in names.items() if m in q.fast_names]
            fast.sort(key=lambda n: q.fast_names.index(names[n]))
            with torch.no_grad():
                r.rates.copy_(
                    torch.stack([d[f"{kind}_rates.{n.replace('.', '-')}"][:3] for n in fast], 1)
                )
                r.decays.copy_(
                    torch.stack([d[f"{kind}_decays.{n.replace('.', '-')}"][:3] for n in fast], 1)
                )
                for n, p in r.generator.named_parameters():
                    p.copy_(d[f"{kind}_generator.{n}"])
            tag = f"{kind}_{variant}{'first' if first else 'second'}_order"
            adapted(d, tag, q, names, d.episode(kind), 1e-10)
            e = d.episode(kind)
            d.row(f"{tag} query logits", q(e), d[f"{tag}_query_logits"], 1e-10)
            q.zero_grad()
            e.target.loss(q(e), e.query.y).mean().backward()
            got = {n: own[m].grad for n, m in names.items() if m in own} | {
                f"generator.{n}": p.grad for n, p in r.generator.named_parameters()
            }
            got |= {
                f"rates.{n.replace('.', '-')}": F.pad(r.rates.grad[:, k], (0, 1))
                for k, n in enumerate(fast)
            }
            got |= {
                f"decays.{n.replace('.', '-')}": F.pad(r.decays.grad[:, k], (0, 1))
                for k, n in enumerate(fast)
            }
            want = {k: v for k, v in d.sub(f"{tag}_outer_gradient.").items() if k in got}
            d.rows(
                f"{tag} outer gradients",
                got,
                want,
                1e-8,
            )


def test_metal(golden: Callable[[str], Golden]) -> None:
    d = golden("metal")
    for kind in ("mlp", "conv"):
        for variant in ("published", "support_adapter_off"):
            for first in (False, True) if variant == "published" else (False,):
                q, names, own = network(
                    d, kind, al.metal, n_out=3, inner_lr=0.2, inner_steps=3, first_order=first
                )
                with torch.no_grad():
                    for j in range(3):
                        for net, o in (
                            ("support", q.loss.of_support[j]),
                            ("query", q.loss.of_queries[j]),
                        ):
                            w = d.sub(f"{kind}_{net}_loss_net.step{j}.")
                            a = d.sub(f"{kind}_{net}_adapter.step{j}.")
                            for layer, numbers, key in (
                                (o.first, w, "first"),
                                (o.second, w, "second"),
                                (o.adapter[0], a, "first"),
                                (o.adapter[2], a, "second"),
                            ):
                                layer.weight.copy_(numbers[f"{key}.weight"])
                                layer.bias.copy_(numbers[f"{key}.bias"])
                            if net == "query" or "off" not in variant:
                                o.g.copy_(a["scale"])
                                o.h.copy_(a["shift"])
                tag = f"{kind}_{variant}_{'first' if first else 'second'}_order"
                e = d.episode(kind)
                adapted(d, tag, q, names, e, 1e-9)
                if d.sub(f"{tag}_outer_gradient."):
                    gradients(d, tag, q, names, own, e, 1e-9)
                else:
                    d.row(f"{tag} query logits", q(e), d[f"{tag}_query_logits"], 1e-9)


def test_learned_optimiser(
    golden: Callable[[str], Golden], monkeypatch: pytest.MonkeyPatch
) -> None:
    from quickstudy.inner.recurrent_rules import CoordinateLSTM, preprocessed
    from quickstudy.inner.rules import StepInputs

    d = golden("learned_optimiser")
    for k in (5, 10):
        for dt in ("float32", "float64"):
            g = d["gradients"].to(getattr(torch, dt))
            d.row(
                f"preprocessing, k={k}, {dt}",
                preprocessed(g, float(k)),
                d[f"log_and_sign_k{k}_{dt}"],
                3e-4 if dt == "float32" else 1e-9,
            )
    w = d.sub("lstm.")
    r = CoordinateLSTM(hidden=6, scale=0.1).double()
    r.first = nn.LSTMCell(2, 6).double()
    r.second = nn.LSTMCell(6, 5).double()
    r.out = nn.Linear(5, 1).double()
    # theirs i, j, f, o; torch i, f, g, o
    order = lambda m, n: torch.cat([m.chunk(4, -1)[i] for i in (0, 2, 1, 3)], -1)
    with torch.no_grad():
        for cell, name, n_in in ((r.first, "layer1", 2), (r.second, "layer2", 6)):
            gates, bias = order(w[f"{name}.weight"], 0), order(w[f"{name}.bias"], 0)
            n = bias.numel() // 4
            cell.weight_ih.copy_(gates[:n_in].T), cell.weight_hh.copy_(gates[n_in:].T)
            cell.bias_ih.copy_(bias), cell.bias_hh.zero_()
            cell.bias_hh[n : 2 * n] = 1.0
        r.out.weight.copy_(w["out.weight"].T), r.out.bias.copy_(w["out.bias"])
    n = d["lstm_gradients"].shape[1]
    monkeypatch.setattr(
        "quickstudy.inner.recurrent_rules.preprocessed",
        lambda g: preprocessed(g, float(d["lstm_k"])),
    )
    memory = (
        torch.zeros(6, n, dtype=D),
        torch.zeros(6, n, dtype=D),
        torch.zeros(5, n, dtype=D),
        torch.zeros(5, n, dtype=D),
    )
    p = {"a": torch.zeros(n, dtype=D)}
    for t, g in enumerate(d["lstm_gradients"]):
        move = StepInputs(t, p, {"a": g}, torch.ones(1, dtype=D))
        after, memory = r(move, memory)
        d.row(f"update {t}", after["a"] - p["a"], d["lstm_updates"][t], 1e-9)


def test_meta_lstm(golden: Callable[[str], Golden]) -> None:
    from quickstudy.inner.recurrent_rules import preprocessed

    d = golden("meta_lstm")
    d.row("preprocessing", preprocessed(d["preprocess_input"]), d["preprocess_output"], 1e-4)
    for steps in (1, 2, 5):
        q, names, own = network(d, "mlp", al.meta_lstm, n_out=3, inner_steps=steps, hidden=10)
        # theirs [loss, gradient], ours [gradient, loss]
        r, w, perm = (
            q.loop.rule,
            d.sub("meta_learner."),
            [2, 3, 0, 1],
        )
        with torch.no_grad():
            r.cell.weight_ih.copy_(w["cell.weight_ih"][:, perm])
            for k in ("weight_hh", "bias_ih", "bias_hh"):
                getattr(r.cell, k).copy_(w[f"cell.{k}"])
            for gate, k in ((r.forget, "forget"), (r.input, "input")):
                gate.weight.copy_(w[f"{k}.weight"].T), gate.bias.copy_(w[f"{k}.bias"][0])
        e = d.episode("mlp")
        q.zero_grad()
        out = q(e)
        l = e.target.loss(out, e.query.y).mean()
        l.backward()
        d.row(f"steps{steps} query logits", out, d[f"steps{steps}_query_logits"], 1e-9)
        d.row(f"steps{steps} query loss", l, d[f"steps{steps}_query_loss"], 1e-9)
        fast = q.adapt(e.support, e.target)[0]
        d.row(
            f"steps{steps} adapted",
            torch.cat([fast[m].flatten(1) for m in names.values()], 1),
            d[f"steps{steps}_adapted_flat"],
            1e-7,
        )
        g = d.sub(f"steps{steps}_outer_gradient.")
        got = {
            "start": torch.cat([own[m].grad.flatten() for m in names.values()]),
            "forget.weight": r.forget.weight.grad.T,
            "input.weight": r.input.weight.grad.T,
            "forget.bias": r.forget.bias.grad[None],
            "input.bias": r.input.bias.grad[None],
            "cell.weight_ih": r.cell.weight_ih.grad[:, perm],
            "cell.weight_hh": r.cell.weight_hh.grad,
            "cell.bias_ih": r.cell.bias_ih.grad,
            "cell.bias_hh": r.cell.bias_hh.grad,
        }
        d.rows(f"steps{steps} outer gradients", got, g, 1e-7)


def test_t_nas(golden: Callable[[str], Golden]) -> None:
    from quickstudy.core.encoder import AbstractEncoder

    class Mix(AbstractEncoder):
        """The small mixture of the file."""

        def __init__(self):
            super().__init__()
            self.a = nn.Linear(6, 5)
            self.b = nn.Linear(6, 5)
            self.c = nn.Linear(6, 5, bias=False)
            self.logits = nn.Parameter(torch.zeros(1, 3))
            self.out_dim, self.norm = 5, "none"

        def forward(self, x, context=()):
            w = F.softmax(self.logits, -1)[0]
            return w[0] * F.relu(self.a(x)) + w[1] * self.b(x).tanh() + w[2] * self.c(x)

    d = golden("t_nas")
    for steps in (2, 5):
        q = al.t_nas(
            Mix(),
            n_out=3,
            inner_lr=float(d["rate_of_weights"]),
            logits_lr=float(d["rate_of_theta"]),
            inner_steps=steps,
        ).double()
        own = dict(q.named_parameters())
        names = {
            n: ("encoder.logits" if n == "theta" else n if n.startswith("head") else f"encoder.{n}")
            for n in d.sub("weights.")
        }
        with torch.no_grad():
            for n, m in names.items():
                own[m].copy_(d[f"weights.{n}"])
        e = d.episode("mlp")
        e.target.loss(q(e), e.query.y).mean().backward()
        d.rows(
            f"steps{steps} outer gradients",
            {n: own[m].grad for n, m in names.items()},
            d.sub(f"steps{steps}_outer_gradient."),
            1e-9,
        )
