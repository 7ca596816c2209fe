"""Heads on features beside other people's code, on the same numbers."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from quickstudy import algorithms as al
from quickstudy.core.types import Classes, Episode, Examples

from .golden import D, Golden, identity


def test_simpleshot(golden: Callable[[str], Golden]) -> None:
    d = golden("simpleshot")
    for tag in ("shot1", "shot5"):
        for t in ("CL2N", "L2N", "UN"):
            m = al.SimpleShot(identity(16), transform=t.lower()).double()
            m.mean.copy_(d["mean"])
            d.row(
                f"{tag} {t}",
                (-m(d.episode(tag))).clamp_min(0).sqrt(),
                d[f"{tag}_distance_{t}"],
                1e-7,
            )


def test_rfs_distillation(golden: Callable[[str], Golden]) -> None:
    import quickstudy.objectives.distil as mod
    from quickstudy.core.objective import AbstractObjective

    d = golden("rfs_distillation")
    kind = next(
        c
        for c in vars(mod).values()
        if isinstance(c, type) and issubclass(c, AbstractObjective) and c.__module__ == mod.__name__
    )
    x = torch.cat((d["student_logits"], d["teacher_logits"]), 1)[
        None
    ].requires_grad_()  # pupil and teacher each read their half of it
    eye, none = torch.eye(7, dtype=D), torch.zeros(7, 7, dtype=D)
    for t in (1.0, 4.0):
        for weight in (1.0, 0.5):
            o = kind(n_classes=7, dim=14, temperature=t, weight=weight).double()
            taught = nn.Linear(14, 7).double()
            with torch.no_grad():
                for l, w in ((o.classifier, (eye, none)), (taught, (none, eye))):
                    l.weight.copy_(torch.cat(w, 1)), l.bias.zero_()
            o.teacher = nn.ModuleList([identity(14), taught])
            y = d["labels"][None]
            l = o(
                al.ProtoNet(identity(14)),
                Episode(
                    Examples(x[:, :5], y[:, :5]),
                    Examples(x[:, 5:], y[:, 5:]),
                    Classes(7),
                    classes=torch.arange(7)[None],
                ),
            )
            if weight == 1.0:
                d.row(f"T={t} distillation", l, d[f"kd_T{int(t)}"], 1e-10)
                d.row(
                    f"T={t} gradient",
                    torch.autograd.grad(l, x)[0][0, :, :7],
                    d[f"kd_grad_T{int(t)}"],
                    1e-10,
                )
            else:
                d.row(
                    f"T={t} half of it and half of the cross entropy",
                    l,
                    d[f"total_T{int(t)}"],
                    1e-10,
                )


def test_meta_baseline(golden: Callable[[str], Golden]) -> None:
    d = golden("meta_baseline")
    e = d.episode("shot5")
    m = al.ProtoNet(identity(12), similarity="cosine")
    d.row("cosine, temperature 10", 10 * m(e), d["meta_baseline_cosine_temperature10"], 1e-10)
    d.row("squared distance", al.ProtoNet(identity(12))(e), d["meta_baseline_squared"], 1e-10)


def test_cosine_classifier(
    golden: Callable[[str], Golden], monkeypatch: pytest.MonkeyPatch
) -> None:
    d = golden("cosine_classifier")
    for tag in ("shot1", "shot3"):
        e = d.episode(tag)
        import quickstudy.algorithms.transfer.baseline as mod

        for loss in ("softmax", "dist"):
            st, orders = d.sub(f"{tag}_{loss}_start."), iter(d[f"{tag}_{loss}_orders"])
            m = (
                al.Baseline(identity(6))
                if loss == "softmax"
                else al.BaselinePP(identity(6), scale=float(d["scale_of_dist"]))
            ).double()
            keys = ("weight", "bias") if loss == "softmax" else ("direction", "length")
            start = [st[key][None] for key in keys]
            with monkeypatch.context() as patched:
                patched.setattr(torch, "randperm", lambda n_, generator=None: next(orders))
                learned = mod._trained(m, start, m.formed(e.support.x), e.support.y)
            d.row(
                f"{tag} {'Baseline' if loss == 'softmax' else 'Baseline++'}, from their start and "
                "in their order",
                m.answer(learned, m.formed(e.query.x))[0],
                d[f"{tag}_{loss}_logits"],
                1e-4,
            )
    for tag in ("shot1", "shot5"):
        e = d.episode(f"finetune_{tag}")
        d.row(
            f"{tag} cosines to the means, before fine-tuning",
            al.CosineTuning(identity(6), steps=0, scale=1.0, transform="un").double()(e),
            d[f"finetune_{tag}_0x0.01_temperature10.0_cosines"],
            1e-8,
        )
        m = al.CosineTuning(
            identity(6), steps=20, scale=10.0, transform="un", early_stop=False
        ).double()
        d.row(
            f"{tag} after 20 steps",
            m(e) / 10,
            d[f"finetune_{tag}_20x0.01_temperature10.0_cosines"],
            1e-6,
            "easyfsl: Adam on the means themselves, no bias; quickstudy: SGD with momentum on "
            "means of length 1, and a bias",
        )
