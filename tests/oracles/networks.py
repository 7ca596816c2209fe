"""The two networks of the gradient-based files, with the weights of the file."""

from typing import Any

import torch

from quickstudy.encoders import MLP, Conv4


def network(d, kind, factory, **k) -> tuple[Any, dict[str, str], dict[str, Any]]:
    """A quickstudy learner with the weights of the file, and the names of its parameters there."""
    enc = (
        MLP(6, widths=(8,))
        if kind == "mlp"
        else Conv4(width=4, size=16, norm=k.pop("norm", "batch"))
    )
    q = factory(enc, **k).double()
    own = dict(q.named_parameters())
    names = {}
    for n in d.sub(f"{kind}_weights."):
        if kind == "mlp":
            m = n.replace("layer1.", "encoder.layers.0.")
        else:
            m = n
            for i in range(4):
                m = m.replace(f"conv{i + 1}.", f"encoder.blocks.{i}.conv.").replace(
                    f"norm{i + 1}.", f"encoder.blocks.{i}.norm."
                )
        names[n] = m
        if m in own:
            with torch.no_grad():
                own[m].copy_(d[f"{kind}_weights.{n}"])
    return q, names, own


def gradients(
    d, tag, q, names, own, e, tol, *, extra=None, why="", loss=None, skip=(), softmax=False
):
    q.zero_grad()
    out = q(e)
    l = e.target.loss(out, e.query.y).mean() if loss is None else loss(q, e)
    l.backward()
    if f"{tag}_query_logits" in d:
        d.row(
            f"{tag} query logits", out, d[f"{tag}_query_logits"], tol, why
        ) if not softmax else d.row(
            f"{tag} query log-probabilities",
            out.log_softmax(-1),
            d[f"{tag}_query_logits"].log_softmax(-1),
            tol,
            why,
        )
    d.row(f"{tag} query loss", l, d[f"{tag}_query_loss"], tol, why)
    want = d.sub(f"{tag}_outer_gradient.")
    look = {
        **{n: own[m].grad for n, m in names.items() if m in own},
        **{n: f() for n, f in (extra or {}).items()},
    }
    d.rows(
        f"{tag} outer gradients",
        look,
        {k: v for k, v in want.items() if k in look and k not in skip},
        tol * 100,
        why,
    )


def adapted(d, tag, q, names, e, tol, why=""):
    fast = q.adapt(e.support, e.target, e.query.x if q.traits.transductive else None)[0]
    want = d.sub(f"{tag}_adapted.")
    d.rows(
        f"{tag} adapted weights",
        {n: fast.get(m) for n, m in names.items()},
        {k: v for k, v in want.items() if names.get(k) in fast},
        tol,
        why,
    )


def everything_adapts(kind, loop):
    from quickstudy.inner.learner import GradientLearner
    from quickstudy.inner.select import Selection
    from quickstudy.inner.start import LinearHead

    return lambda enc: GradientLearner(
        enc, LinearHead(enc.out_dim, 3), loop=loop, adapts=Selection(("*",))
    )
