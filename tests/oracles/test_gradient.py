"""MAML and its relatives beside other people's code, from the same weights."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from quickstudy import algorithms as al
from quickstudy.core.rng import drawing
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.types import Classes, Episode, Examples, Reals
from quickstudy.encoders import MLP

from .golden import D, Golden
from .networks import adapted, everything_adapts, gradients, network


def test_maml(golden: Callable[[str], Golden]) -> None:
    from quickstudy.inner.loop import InnerLoop
    from quickstudy.inner.rules import FixedRate

    d = golden("maml")
    for kind in ("mlp", "conv"):
        for first in (False, True):
            for steps in (1, 3, 5) if kind == "mlp" else (3,):
                tag = f"{kind}_{'first' if first else 'second'}_order_steps{steps}"
                loop = InnerLoop(
                    FixedRate(float(d[f"{kind}_rate"])), steps=steps, first_order=first
                )
                q, names, own = network(d, kind, everything_adapts(kind, loop))
                e = d.episode(kind)
                adapted(d, tag, q, names, e, 1e-10)
                gradients(d, tag, q, names, own, e, 1e-10)
                with torch.no_grad():
                    losses = [
                        e.target.loss(
                            q._predict(
                                q._state(q._task(e.support, e.target, None), fast, j),
                                e.support.x,
                                j,
                            ),
                            e.support.y,
                        )
                        for j, fast in enumerate(
                            q.loop.path(
                                q.start(e.support, e.target),
                                q._task(e.support, e.target, None).loss_at,
                            )
                        )
                    ]
                d.row(
                    f"{tag} support losses",
                    torch.stack(losses, 1),
                    d[f"{tag}_support_losses"],
                    1e-10,
                )


def test_maml_sinusoid(golden: Callable[[str], Golden]) -> None:
    d = golden("maml_sinusoid")
    for steps in (1, 2, 4):
        for first in (False, True):
            q = al.maml(
                MLP(1, widths=(6, 6)),
                n_out=1,
                inner_lr=float(d["rate"]),
                inner_steps=steps,
                first_order=first,
            ).double()
            own = dict(q.named_parameters())
            names = {"1": "encoder.layers.0", "2": "encoder.layers.1", "3": "head"}
            with torch.no_grad():
                for k, v in d.sub("weights.").items():
                    own[f"{names[k[1]]}.{'weight' if k[0] == 'w' else 'bias'}"].copy_(
                        v.T if k[0] == "w" else v
                    )
            f = lambda k: d[k].double()
            e = Episode(
                Examples(f("support_x"), f("support_y")),
                Examples(f("query_x"), f("query_y")),
                Reals(1),
            )
            out = q(e)
            l = (out - e.query.y).square().mean()
            t = f"steps{steps}_{'first' if first else 'second'}_order"
            d.row(f"{t} outputs", out, d[f"{t}_query_outputs_per_step"][:, -1], 1e-4)
            d.row(f"{t} query loss", l, d[f"{t}_query_loss_per_step"][-1], 1e-5)
            g = dict(zip(own, torch.autograd.grad(l, list(own.values()))))
            d.rows(
                f"{t} outer gradients",
                {
                    k: (lambda x: x.T if k[0] == "w" else x)(
                        g[f"{names[k[1]]}.{'weight' if k[0] == 'w' else 'bias'}"]
                    )
                    for k in d.sub("weights.")
                },
                d.sub(f"{t}_outer_gradient."),
                1e-4,
            )


def test_anil_boil(golden: Callable[[str], Golden]) -> None:
    d = golden("anil_boil")
    for kind in ("mlp", "conv"):
        for steps in (1, 5):
            q, names, own = network(
                d, kind, al.anil, n_out=3, inner_lr=float(d[f"{kind}_rate"]), inner_steps=steps
            )
            adapted(d, f"{kind}_anil_steps{steps}", q, names, d.episode(kind), 1e-10)
            gradients(d, f"{kind}_anil_steps{steps}", q, names, own, d.episode(kind), 1e-10)
    for steps in (1, 3):
        q, names, own = network(
            d, "mlp", al.boil, n_out=3, inner_lr=float(d["mlp_rate"]), inner_steps=steps
        )
        adapted(d, f"mlp_boil_steps{steps}", q, names, d.episode("mlp"), 1e-10)
        gradients(d, f"mlp_boil_steps{steps}", q, names, own, d.episode("mlp"), 1e-10)


def test_meta_sgd(golden: Callable[[str], Golden]) -> None:
    from quickstudy.inner.learned_rules import PerParameter
    from quickstudy.inner.learner import fast_shapes
    from quickstudy.inner.loop import InnerLoop
    from quickstudy.inner.select import Selection

    d = golden("meta_sgd")
    for kind in ("mlp", "conv"):
        for first in (False, True):
            for steps in (1, 3) if kind == "mlp" else (2,):

                def make(enc):
                    loop = InnerLoop(
                        PerParameter(fast_shapes(enc, 3, Selection(("*",)))),
                        steps=steps,
                        first_order=first,
                    )
                    return everything_adapts(kind, loop)(enc)

                q, names, own = network(d, kind, make)
                rate = lambda n: q.loop.rule.rates[names[n].replace(".", "-")]
                with torch.no_grad():
                    for n, v in d.sub(f"{kind}_rates.").items():
                        rate(n).copy_(v)
                tag = f"{kind}_{'first' if first else 'second'}_order_steps{steps}"
                adapted(d, tag, q, names, d.episode(kind), 1e-10)
                gradients(
                    d,
                    tag,
                    q,
                    names,
                    own,
                    d.episode(kind),
                    1e-10,
                    extra={f"rates.{n}": (lambda n=n: rate(n).grad) for n in names},
                )


def test_meta_curvature(golden: Callable[[str], Golden]) -> None:
    from quickstudy.inner.learned_rules import MetaCurvature
    from quickstudy.inner.learner import fast_shapes
    from quickstudy.inner.loop import InnerLoop
    from quickstudy.inner.select import Selection

    d = golden("meta_curvature")
    for kind in ("mlp", "conv"):
        for steps in (1, 2):

            def make(enc):
                return everything_adapts(
                    kind,
                    InnerLoop(
                        MetaCurvature(
                            fast_shapes(enc, 3, Selection(("*",))), lr=float(d[f"{kind}_rate"])
                        ),
                        steps=steps,
                    ),
                )(enc)

            q, names, own = network(d, kind, make)
            M, T, extra = q.loop.rule.matrices, d.sub(f"{kind}_transform."), {}
            with torch.no_grad():
                for n, m in names.items():
                    k = m.replace(".", "-")
                    if f"{n}.elementwise" in T:  # elementwise there, a diagonal matrix here
                        M[f"{k}-0"].copy_(torch.diag(T[f"{n}.elementwise"]))
                        extra[f"transform.{n}.elementwise"] = lambda k=k: M[
                            f"{k}-0"
                        ].grad.diagonal()
                    else:
                        M[f"{k}-0"].copy_(T[f"{n}.outputs"]), M[f"{k}-1"].copy_(T[f"{n}.inputs"].T)
                        extra[f"transform.{n}.outputs"] = lambda k=k: M[f"{k}-0"].grad
                        extra[f"transform.{n}.inputs"] = lambda k=k: M[f"{k}-1"].grad.T
                        if f"{n}.taps" in T:
                            M[f"{k}-2"].copy_(T[f"{n}.taps"])
                            extra[f"transform.{n}.taps"] = lambda k=k: M[f"{k}-2"].grad
            tag = f"{kind}_steps{steps}"
            adapted(d, tag, q, names, d.episode(kind), 1e-10)
            gradients(d, tag, q, names, own, d.episode(kind), 1e-10, extra=extra)


def test_proto_maml(golden: Callable[[str], Golden]) -> None:
    d = golden("proto_maml")
    for kind in ("mlp", "conv"):
        for first in (False, True):
            for steps in (0, 1, 3):
                q, names, own = network(
                    d,
                    kind,
                    al.proto_maml,
                    inner_lr=float(d[f"{kind}_rate"]),
                    inner_steps=steps,
                    first_order=first,
                )
                tag = f"{kind}_{'first' if first else 'second'}_order_steps{steps}"
                adapted(d, tag, q, names, d.episode(kind), 1e-10)
                gradients(d, tag, q, names, own, d.episode(kind), 1e-10)


def test_unicorn_maml(golden: Callable[[str], Golden]) -> None:
    d = golden("unicorn_maml")
    for kind in ("mlp", "conv"):
        for common in ("zero", "random"):
            for steps in (1, 2, 5):
                tag = f"{kind}_common_{common}_steps{steps}"
                if kind == "conv":  # theirs adapts the scale and shift of the normalisation too
                    from quickstudy.inner.learner import GradientLearner
                    from quickstudy.inner.loop import InnerLoop
                    from quickstudy.inner.rules import FixedRate
                    from quickstudy.inner.select import Selection
                    from quickstudy.inner.start import RepeatedHead

                    make = lambda enc, **k: GradientLearner(
                        enc,
                        RepeatedHead(enc.out_dim),
                        loop=InnerLoop(
                            FixedRate(k["inner_lr"]), steps=k["inner_steps"], first_order=True
                        ),
                        adapts=Selection(("*",)),
                    )
                else:
                    make = al.unicorn_maml
                q, names, own = network(
                    d, kind, make, inner_lr=float(d[f"{kind}_rate"]), inner_steps=steps
                )
                gradients(d, tag, q, names, own, d.episode(kind), 1e-10, softmax=True)
                if common == "random":
                    d.row(
                        f"{tag} their gradient of the common vector is nothing",
                        d[f"{tag}_outer_gradient.common.weight"].abs().max(),
                        0.0,
                        1e-10,
                    )


@pytest.mark.filterwarnings("ignore:The inner loop of iMAML", "ignore:Conjugate gradients of")
def test_imaml(golden: Callable[[str], Golden]) -> None:
    from quickstudy.inner.implicit import ImplicitLoop
    from quickstudy.inner.rules import FixedRate

    d = golden("imaml")
    for kind, cases in (("mlp", (2.0, 20.0, 0.3)), ("conv", (2.0, 50.0))):
        for lam in cases:
            tag = f"{kind}_strength{lam}"
            n = lambda k: d[f"{tag}_{k}"]
            loop = ImplicitLoop(
                FixedRate(float(n("rate"))),
                steps=int(n("steps")),
                strength=lam,
                cg_steps=int(n("cg_steps")),
            )
            q, names, own = network(d, kind, everything_adapts(kind, loop))
            e = d.episode(kind)
            flat = lambda fast: torch.cat([fast[m].flatten(1) for m in names.values()], 1)
            with torch.no_grad():
                phi = flat(q.adapt(e.support, e.target)[0])
            d.row(f"{tag} adapted", phi, n("adapted"), 1e-8)
            curved = float(n("smallest_curvature_met").min())
            # Each task is adapted to once: damping and shift belong to the way back alone.
            tasks = [e.task(t) for t in range(3)]
            losses = [one.target.loss(q(one), one.query.y).mean() for one in tasks]
            # theirs passes its damping on as the shift
            for case, shift, damping in (
                ("plain", 0.0, 0.0),
                ("authors_defaults", 1.0, 1.0),
                ("damped10", 0.0, 10.0),
            ):
                loop.shift, loop.damping = shift, damping
                got = []
                for loss in losses:
                    q.zero_grad()
                    loss.backward(retain_graph=True)
                    got.append(torch.cat([own[m].grad.flatten() for m in names.values()]))
                d.row(
                    f"{tag} outer gradient, {case} (smallest curvature {curved:.2f})",
                    torch.stack(got),
                    n(f"outer_{case}"),
                    1e-5,
                )
                if case == "plain" and f"{tag}_outer_exact" in d and curved > 0:
                    exact = n("outer_exact")
                    d.row(f"{tag} outer gradient, exact solve", torch.stack(got), exact, 1e-3)


def test_reptile(golden: Callable[[str], Golden]) -> None:
    from quickstudy.inner.learner import GradientLearner
    from quickstudy.inner.loop import InnerLoop
    from quickstudy.inner.rules import FixedRate
    from quickstudy.inner.select import Selection
    from quickstudy.inner.start import LinearHead
    from quickstudy.objectives import Reptile

    d = golden("reptile")
    names = {
        "w1": "encoder.layers.0.weight",
        "b1": "encoder.layers.0.bias",
        "w2": "head.weight",
        "b2": "head.bias",
    }
    T = lambda k, v: v.transpose(-1, -2) if k[0] == "w" else v
    for opt in ("adam", "sgd"):
        for steps in (1, 5, 20):
            enc = MLP(6, widths=(9,))
            q = (
                al.reptile(enc, n_out=4, inner_lr=1e-2, inner_steps=steps)
                if opt == "adam"
                else GradientLearner(
                    enc,
                    LinearHead(9, 4),
                    loop=InnerLoop(FixedRate(0.1), steps=steps, first_order=True),
                    adapts=Selection(("*",)),
                )
            ).double()
            own: dict[str, Any] = dict(q.named_parameters())
            with torch.no_grad():
                for k, m in names.items():
                    own[m].copy_(T(k, d[f"weights.{k}"]))
            x, y = d["x"], d["y"]
            e = Episode(
                Examples(x[:, ::2], y[:, ::2]), Examples(x[:, 1::2], y[:, 1::2]), Classes(4)
            )
            fast = q.adapt(Examples(x, y), e.target)[0]
            tag = f"{opt}_steps{steps}"
            d.rows(
                f"{tag} adapted",
                {k: T(k, fast[m]) for k, m in names.items()},
                d.sub(f"{tag}_adapted."),
                1e-4 if opt == "adam" else 1e-7,
            )
            Reptile()(q, e).backward()
            rate = float(d["outer_rate"])
            d.rows(
                f"{tag} after the outer step",
                {k: T(k, own[m].detach() - rate * own[m].grad) for k, m in names.items()},
                d.sub(f"{tag}_outer."),
                1e-4 if opt == "adam" else 1e-7,
                "their Adam keeps its second moments and its count of steps from task to task "
                "(declared)"
                if opt == "adam"
                else "",
            )


def test_tsa_maml(golden: Callable[[str], Golden]) -> None:
    d = golden("tsa_maml")
    e = Examples(d["support_x"], d["support_y"])
    enc = MLP(6, widths=(8,))
    q = al.tsa_maml(
        enc,
        n_out=3,
        n_groups=3,
        n_cluster_tasks=24,
        inner_lr=float(d["rate"]),
        inner_steps=int(d["steps"]),
        first_order=True,
    ).double()
    own = dict(q.base.named_parameters())
    with torch.no_grad():
        for n, v in d.sub("mlp_weights.").items():
            own[n.replace("layer1.", "encoder.layers.0.")].copy_(v)
    n, t = int(d["n_clustered"]), Classes(3)
    fast = q.base.adapt(e, t)[0]
    flat = torch.cat([fast[k].flatten(1) for k in q.base.fast_names], 1)
    d.row("adapted", flat, d["adapted_flat"], 1e-9)

    class Tasks(AbstractTasks):
        def batch(self, numbers: Sequence[int]) -> Episode:
            i = list(numbers)
            return Episode(Examples(e.x[i], e.y[i]), Examples(e.x[i], e.y[i]), t)

    import copy

    trained = copy.deepcopy(q.base)
    q.start_from(trained, Tasks())
    route = q.route(e, t)
    # [theirs, ours]
    match = torch.stack([(q.centres - c).abs().amax(1) for c in d["group_starts"]])
    to = match.argmin(1)
    d.row("group starts", q.centres[to].double(), d["group_starts"], 1e-5)
    d.row("assignments that differ", float((to[d["assigned"].long()] != route).sum()), 0.0, 0)
    d.row("distances", torch.cdist(flat, q.centres[to].double()), d["distances"], 1e-5)


def test_mlti(golden: Callable[[str], Golden], monkeypatch: pytest.MonkeyPatch) -> None:
    import quickstudy.objectives.mlti as mod

    d = golden("mlti")
    q = al.ProtoNet(MLP(6, widths=(8, 5))).double()
    own = dict(q.named_parameters())
    names = {
        f"layer{i + 1}.{k}": f"encoder.layers.{i}.{k}" for i in (0, 1) for k in ("weight", "bias")
    }
    with torch.no_grad():
        for n, m in names.items():
            own[m].copy_(d[f"weights.{n}"])
    both = lambda k: torch.stack((d[f"first_{k}"], d[f"second_{k}"]))
    e = Episode(
        Examples(both("support_x"), both("support_y")),
        Examples(both("query_x"), both("query_y")),
        Classes(4),
    )
    uniform = torch.rand
    for c in range(3):
        lam, perm = float(d[f"case{c}_share_of_second"]), d[f"case{c}_classes_of_second"]
        # task 0 is mixed with task 1; a second pair (task 1 with itself, unmixed) is taken out of
        # the mean again
        shares = torch.tensor([1 - lam, 1.0], dtype=D)
        ranks = torch.stack((perm.argsort().double(), torch.arange(4, dtype=D)))
        monkeypatch.setattr(mod, "_beta", lambda b, n, g: shares)
        monkeypatch.setattr(mod, "_partners", lambda n, own_, g: torch.tensor([1, 1]))
        monkeypatch.setattr(
            torch, "rand", lambda *s, **k: ranks if s == (2, 4) else uniform(*s, **k)
        )
        obj = mod.Mlti(stages=(1,))
        with drawing(torch.Generator().manual_seed(0)):
            l = obj(q, e)
        alone = Episode(
            Examples(e.support.x[1:], e.support.y[1:]),
            Examples(e.query.x[1:], e.query.y[1:]),
            e.target,
        )
        l = 2 * l - e.target.loss(q(alone), alone.query.y).mean()
        d.row(f"case {c} loss", l, d[f"case{c}_loss"], 1e-9)
        g = torch.autograd.grad(l, [own[m] for m in names.values()])
        d.rows(f"case {c} gradients", dict(zip(names, g)), d.sub(f"case{c}_grad."), 1e-8)
    monkeypatch.undo()
    one = e.task(0)
    d.row("unmixed", e.target.loss(q(one), one.query.y).mean(), d["unmixed_loss"], 1e-9)
