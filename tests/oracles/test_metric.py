"""Metric-based learners beside other people's code, on the same numbers."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from quickstudy import algorithms as al
from quickstudy.core.types import Classes, Episode, Examples

from .golden import D, Golden, identity


def test_prototypical(golden: Callable[[str], Golden]) -> None:
    d = golden("prototypical")
    for tag in ("shot1", "shot5", "unequal"):
        e = d.episode(tag)
        for ref, ours in (("l2", "euclidean"), ("cosine", "cosine"), ("dot", "dot")):
            d.row(
                f"{tag} {ref}",
                al.ProtoNet(identity(12), similarity=ours)(e),
                d[f"{tag}_logits_{ref}"],
                1e-7 if ref == "cosine" else 1e-12,
            )
        x = e.support.x.clone().requires_grad_()
        l = e.target.loss(
            al.ProtoNet(identity(12))(Episode(Examples(x, e.support.y), e.query, e.target)),
            e.query.y,
        ).mean()
        d.row(f"{tag} loss", l, d[f"{tag}_loss_l2"], 1e-12)
        d.row(
            f"{tag} gradient of the support",
            torch.autograd.grad(l, x)[0],
            d[f"{tag}_grad_support_l2"],
            1e-12,
        )


def test_matching(golden: Callable[[str], Golden]) -> None:
    from quickstudy.functional.full_context import in_context, look

    d = golden("matching")
    for tag in ("5w1s", "3w4s", "4w2s_one_step"):
        e = d.episode(tag)
        d.row(
            f"{tag} plain",
            al.MatchingNet(identity(10), scale=1.0, learn_scale=False)(e).softmax(-1),
            d[f"{tag}_probabilities_plain"],
            1e-7,
        )
        steps = int(d[f"{tag}_steps"])
        m = al.FullContextMatchingNet(identity(10), steps=steps, combine="add", scale=1.0).double()
        m.support_lstm.load_state_dict(d.sub(f"{tag}_support_lstm."))
        m.query_cell.load_state_dict(d.sub(f"{tag}_query_cell."))
        g = in_context(m.support_lstm, e.support.x)
        d.row(f"{tag} g", g, d[f"{tag}_g"], 1e-12)
        d.row(
            f"{tag} f, added",
            look(m.query_cell, e.query.x, d[f"{tag}_g"], steps=steps, add=True),
            d[f"{tag}_f_add"],
            1e-10,
        )
        d.row(
            f"{tag} probabilities, full context",
            m(e).softmax(-1),
            d[f"{tag}_probabilities_full_context_add"],
            1e-6,
        )
        cell = nn.LSTMCell(20, 10).double()
        cell.load_state_dict(d.sub(f"{tag}_easyfsl_query_cell."))
        n = e.support.x.shape[1]
        d.row(
            f"{tag} f, concatenated",
            look(cell, e.query.x, g, steps=n),
            d[f"{tag}_easyfsl_f"],
            1e-10,
        )


def test_relation(golden: Callable[[str], Golden]) -> None:
    from quickstudy.core.encoder import AbstractEncoder

    class Maps(AbstractEncoder):
        """Features that are maps."""

        def __init__(self, norm):
            super().__init__()
            self.map_shape, self.out_dim, self.norm = (8, 7, 7), 392, norm

        def forward(self, x, context=()):
            return x.flatten(2)

    d = golden("relation")
    w = d.sub("weights.")
    for shot in (1, 3):
        for mode in ("eval", "batch_statistics"):
            m = al.RelationNet(Maps("running"), hidden=8).double()
            with torch.no_grad():
                m.of_class.weight.copy_(w["conv1.weight"][:, :8])
                m.of_query.weight.copy_(w["conv1.weight"][:, 8:])
                m.second.weight.copy_(w["conv2.weight"])
                for n, k in zip(m.norms, ("norm1", "norm2"), strict=True):
                    n.weight.copy_(w[f"{k}.weight"]), n.bias.copy_(w[f"{k}.bias"])
                    (
                        n.norm.running_mean.copy_(w[f"{k}.running_mean"]),
                        n.norm.running_var.copy_(w[f"{k}.running_var"]),
                    )
                for l, k in ((m.hidden, "hidden"), (m.out, "out")):
                    l.weight.copy_(w[f"{k}.weight"]), l.bias.copy_(w[f"{k}.bias"])
            m.train(mode != "eval")
            e = Episode(
                Examples(d[f"shot{shot}_support_maps"][None], d[f"shot{shot}_support_y"][None]),
                Examples(d[f"shot{shot}_query_maps"][None], torch.zeros(1, 6, dtype=torch.long)),
                Classes(4),
            )
            d.row(f"shot{shot} {mode}", m(e)[0].sigmoid(), d[f"shot{shot}_relation_{mode}"], 1e-10)


def test_margins(golden: Callable[[str], Golden]) -> None:
    from quickstudy.functional.margins import arcface, cosface, sphereface

    d = golden("margins")
    y = d["labels"]
    for key in [k[:-5] for k in d if k.endswith("_loss")]:
        kind, *rest = key.split("_")
        e, w = d["embeddings"].clone().requires_grad_(), d["class_weights"].clone().requires_grad_()
        cos = F.normalize(e, dim=1) @ F.normalize(w, dim=0)
        if kind == "sphereface":
            out = sphereface(cos, y, e.norm(dim=1), margin=int(rest[0][1:]))
        else:
            out = (arcface if kind == "arcface" else cosface)(
                cos, y, scale=float(rest[0][1:]), margin=float(rest[1][1:])
            )
        l = F.cross_entropy(out, y)
        d.row(f"{key} loss", l, d[f"{key}_loss"], 1e-10)
        g = torch.autograd.grad(l, [e, w])
        d.row(
            f"{key} gradients",
            torch.cat([x.flatten() for x in g]),
            torch.cat([d[f"{key}_grad_{n}"].flatten() for n in ("embeddings", "class_weights")]),
            1e-8,
        )


def test_pairs(golden: Callable[[str], Golden]) -> None:
    from quickstudy.algorithms import Siamese
    from quickstudy.functional.mining import batch_hard, semi_hard
    from quickstudy.objectives import Pairs, Triplets

    d = golden("pairs")
    y = d["labels"]
    for nm in ("raw", "unit"):
        x = d["embeddings"] if nm == "raw" else F.normalize(d["embeddings"], dim=1)
        dist = torch.cdist(x, x)
        d.row(f"{nm} distances", dist, d[f"{nm}_distance"], 1e-6)
        s = Siamese(identity(10), compare="distance", normalise=nm == "unit")
        e = Examples(d["embeddings"][None], y[None])
        batch = Episode(
            Examples(e.x[:, ::2], e.y[:, ::2]), Examples(e.x[:, 1::2], e.y[:, 1::2]), Classes(6)
        )
        m = float(d[f"{nm}_contrastive_margin"])
        once = lambda k: (
            d[f"{nm}_contrastive_{k}_pairs"][:, 0] < d[f"{nm}_contrastive_{k}_pairs"][:, 1]
        )
        want = (
            d[f"{nm}_contrastive_pos_loss"][once("pos_loss")].square().mean()
            + d[f"{nm}_contrastive_neg_loss"][once("neg_loss")].square().mean()
        ) / 2
        d.row(
            f"{nm} contrastive (squares of the hinges, means of both kinds)",
            Pairs(loss="contrastive", margin=m)(s, batch),
            want,
            1e-6,
        )
        for power, dd in ((1, dist), (2, dist.square())):
            for mg in (0.2, 1.0):
                for kind in ("batch_hard", "semi_hard"):
                    k = f"{nm}_{kind}_power{power}_margin{mg}"
                    if f"{k}_triplets" not in d:
                        continue
                    mine = set(
                        zip(
                            *(
                                v.tolist()
                                for v in (
                                    batch_hard(dd, y)
                                    if kind == "batch_hard"
                                    else semi_hard(dd, y, margin=mg)
                                )
                            )
                        )
                    )
                    theirs = set(map(tuple, d[f"{k}_triplets"].tolist()))
                    if kind == "batch_hard":
                        d.row(f"{k} triplets that differ", float(len(mine ^ theirs)), 0.0, 0)
                    else:  # the reference keeps every semi-hard negative, quickstudy the nearest
                        nearest = {}
                        for a, p, n in theirs:
                            if (a, p) not in nearest or dd[a, n] < dd[a, nearest[a, p]]:
                                nearest[a, p] = n
                        d.row(
                            f"{k} nearest of theirs that differ",
                            float(len(mine ^ {(a, p, n) for (a, p), n in nearest.items()})),
                            0.0,
                            0,
                        )
                        if power == 2:
                            tr = float(
                                torch.stack(
                                    [
                                        F.relu(dd[a, p] - dd[a, n] + mg)
                                        for (a, p), n in nearest.items()
                                    ]
                                ).mean()
                            )
                            d.row(
                                f"{k} objective",
                                Triplets(mining="semi_hard", margin=mg)(s, batch),
                                tr,
                                1e-6,
                            )
                    if kind == "batch_hard" and power == 1:
                        d.row(
                            f"{k} objective",
                            Triplets(mining="batch_hard", margin=mg)(s, batch),
                            d[f"{k}_loss"],
                            1e-6,
                        )
        d.row(
            f"{nm} batch_hard soft margin",
            Triplets(mining="batch_hard")(s, batch),
            d[f"{nm}_batch_hard_soft_margin_loss"],
            1e-6,
        )


def test_nt_xent(golden: Callable[[str], Golden]) -> None:
    from quickstudy.objectives.simclr import nt_xent as ours

    d = golden("nt_xent")
    for k in "ab":
        for tau in (0.1, 0.5):
            z = d[f"{k}_views"].clone().requires_grad_()
            l = ours(z, temperature=tau)
            d.row(f"{k} temperature {tau} loss", l, d[f"{k}_loss_{tau}"], 1e-6)
            d.row(
                f"{k} temperature {tau} gradient",
                torch.autograd.grad(l, z)[0],
                d[f"{k}_grad_{tau}"],
                1e-6,
            )


def test_feat(golden: Callable[[str], Golden]) -> None:
    d = golden("feat")
    w = d.sub("weights.")
    m = al.FEAT(identity(12), temperature=float(d["temperature"])).double().eval()
    with torch.no_grad():
        for name in ("query", "key", "value", "out"):
            getattr(m, name).weight.copy_(w[f"{name}.weight"])
        m.out.bias.zero_()
        m.norm.weight.copy_(w["norm.weight"]), m.norm.bias.copy_(w["norm.bias"])
    for shot in (1, 3):
        e = d.episode(f"shot{shot}")
        d.row(
            f"shot{shot} adapted prototypes",
            m.adapt(e.support, e.target)[0],
            d[f"shot{shot}_adapted"],
            1e-12,
        )
        d.row(f"shot{shot} logits", m(e), d[f"shot{shot}_logits_euclidean"], 1e-12)
        with torch.no_grad():
            m.out.bias.copy_(d[f"shot{shot}_out_bias"])
        d.row(
            f"shot{shot} logits, output layer with a bias",
            m(e),
            d[f"shot{shot}_with_out_bias_logits_euclidean"],
            1e-12,
        )
        torch.nn.init.zeros_(m.out.bias)


def test_r2d2(golden: Callable[[str], Golden]) -> None:
    d = golden("r2d2")
    for tag in ("5w1s", "3w5s", "5w5s_relu"):
        e = d.episode(tag)
        for lam in (50.0, 1.0):
            m = al.R2D2(identity(16), penalty=lam, scale=1.0, normalised=False).double()
            d.row(
                f"{tag} MetaOptNet's ridge head, lambda {lam}",
                m(e),
                d[f"{tag}_logits_metaoptnet_repo_lambda{int(lam)}"],
                2e-5,
            )
        d.row(
            f"{tag} Bertinetto, lambda 1",
            al.R2D2(identity(16), penalty=1.0, scale=1.0).double()(e),
            d[f"{tag}_logits_bertinetto_lambda1"],
            1e-6,
        )


def test_metaoptnet(golden: Callable[[str], Golden]) -> None:
    d = golden("metaoptnet")
    for tag in ("5w1s", "3w5s", "5w2s_relu"):
        e = d.episode(tag)
        for c in (0.1, 1.0):
            m = al.MetaOptNet(identity(16), penalty=c, ridge=1.0, scale=1.0).double()
            s, z = e.support.x.clone().requires_grad_(), e.query.x.clone().requires_grad_()
            o = m(Episode(Examples(s, e.support.y), Examples(z, e.query.y), e.target))
            d.row(f"{tag} C={c} logits", o, d[f"{tag}_logits_C{c}"], 5e-6)
            l = e.target.loss(o, e.query.y).mean()
            d.row(f"{tag} C={c} loss", l, d[f"{tag}_loss_C{c}"], 5e-6)
            g = torch.autograd.grad(l, [s, z])
            d.row(f"{tag} C={c} gradient of the support", g[0], d[f"{tag}_grad_support_C{c}"], 1e-3)
            d.row(f"{tag} C={c} gradient of the queries", g[1], d[f"{tag}_grad_query_C{c}"], 1e-5)


def test_simple_cnaps(golden: Callable[[str], Golden]) -> None:
    d = golden("simple_cnaps")
    for tag in ("shot2", "shot5", "unequal", "shot1"):
        o = 2 * al.SimpleCNAPs(identity(8)).double()(d.episode(tag))
        d.row(
            f"{tag} twice the scores",
            o,
            d[f"{tag}_logits"],
            1e-9,
            "their covariance of one example is a number that is added everywhere"
            if tag == "shot1"
            else "",
        )
        if tag == "shot1":
            e, out = d.episode(tag), []
            for t in range(2):
                s = e.support.x[t]
                whole = torch.cov(s.T)
                q = torch.stack(
                    [torch.eye(8, dtype=D) + 0.5 * whole + 0.5 * s[c].var() for c in range(4)]
                )
                gap = e.query.x[t][:, None] - s[None]
                out.append(-torch.einsum("qcd,cde,qce->qc", gap, torch.linalg.inv(q), gap))
            d.row(
                "shot1, with that number added everywhere",
                torch.stack(out),
                d["shot1_logits"],
                1e-9,
            )


def test_oslo(golden: Callable[[str], Golden]) -> None:
    from quickstudy.functional.oslo import oslo as ours
    from quickstudy.functional.oslo import oslo_means

    d = golden("oslo")
    for tag in ("shot1", "shot5", "unequal"):
        e = d.episode(tag, 4)
        for st, ls, lz in ((1, 0.1, 0.1), (2, 0.1, 0.1), (5, 0.1, 0.05), (5, 0.5, 0.2)):
            k = f"{tag}_steps{st}_inlier{ls}_class{lz}"
            how = {"inlier_temperature": ls, "class_temperature": lz}
            z, xi = ours(e.support.x, e.support.y, e.query.x, 4, steps=st, **how)
            d.row(f"{k} assignments", z, d[f"{k}_assignments"], 1e-10)
            d.row(f"{k} inlierness", 1 - xi, d[f"{k}_outlierness"], 1e-10)
            d.row(
                f"{k} prototypes",
                oslo_means(e.support.x, e.support.y, e.query.x, 4, steps=st + 1, **how)[:, -1],
                d[f"{k}_prototypes_after"],
                1e-10,
            )


def test_semi_supervised(golden: Callable[[str], Golden]) -> None:
    from quickstudy.functional.similarity import negative_squared_euclidean

    d = golden("semi_supervised")
    for tag in ("shot1", "unequal"):

        def run(m, loss_grad=True):
            e = d.episode(tag)
            s = e.support.x.clone().requires_grad_()
            u = d[f"{tag}_unlabelled_x"].double().clone().requires_grad_()
            e = Episode(Examples(s, e.support.y, unlabelled=u), e.query, e.target)
            o = m(e)
            return o, torch.autograd.grad(
                e.target.loss(o, e.query.y).sum(), [s, u], allow_unused=True
            )

        o, g = run(al.SemiSoft(identity(10)).double())
        d.row(f"{tag} soft, 1 step", o, d[f"{tag}_soft_steps1_logits_per_step"][:, 1], 1e-5)
        d.row(
            f"{tag} soft, gradient of the support",
            g[0],
            d[f"{tag}_soft_steps1_grad_support"],
            1e-5,
        )
        d.row(
            f"{tag} soft, gradient of the unlabelled",
            g[1],
            d[f"{tag}_soft_steps1_grad_unlabelled"],
            1e-5,
        )
        m = al.SoftKMeans(identity(10), steps=3, scale=1.0, transform="un").double()
        e = d.episode(tag)
        state = m.learn(e.support.x, e.support.y, 4, d[f"{tag}_unlabelled_x"].double())
        d.row(
            f"{tag} soft, 3 steps (soft k-means with the unlabelled as queries)",
            m.answer(state, e.query.x),
            d[f"{tag}_soft_steps3_logits_per_step"][:, 3],
            1e-5,
        )
        for radius in (1.5, 100.0):
            m = al.SemiCluster(identity(10), radius=radius).double()
            o, g = run(m)
            c = -0.5 * math.log(2 * math.pi)
            d.row(
                f"{tag} cluster, radius {radius} (half of the scores, and a constant)",
                o / 2 + c,
                d[f"{tag}_radius_radius{radius}_logits_per_step"][:, 1],
                1e-5,
            )
        m = al.SemiMasked(identity(10)).double()
        w = d.sub("masked_mlp.")
        with torch.no_grad():
            m.judge[0].weight.copy_(w["first.weight"].T), m.judge[0].bias.copy_(w["first.bias"])
            (
                m.judge[2].weight.copy_(w["second.weight"].T[[0, 2]]),
                m.judge[2].bias.copy_(w["second.bias"][[0, 2]]),
            )
        o, g = run(m)
        d.row(
            f"{tag} masked",
            o,
            d[f"{tag}_masked_logits_per_step"][:, 1],
            1e-5,
            "theirs multiplies by the mask twice (declared)",
        )

        class Twice(al.SemiMasked):
            """With the mask squared."""

            def shares(self, u, means):
                s = super().shares(u, means)
                return s * s / negative_squared_euclidean(u, means).softmax(-1)

        twice = Twice(identity(10)).double()
        twice.load_state_dict(m.state_dict())
        o, g = run(twice)
        d.row(f"{tag} masked, the mask twice", o, d[f"{tag}_masked_logits_per_step"][:, 1], 1e-5)
        e = d.episode(tag)
        from quickstudy.algorithms.semi_supervised import _shape
        from quickstudy.functional.prototypes import class_means

        near = negative_squared_euclidean(
            d[f"{tag}_unlabelled_x"].double(), class_means(e.support.x, e.support.y, 4)
        )
        dd = -near / (-near).mean(1, keepdim=True)
        th = m.judge(_shape(dd)).exp()
        d.row(f"{tag} masked, bias", th[..., 0], d[f"{tag}_masked_bias"], 1e-4)
        d.row(f"{tag} masked, scale", th[..., 1], d[f"{tag}_masked_scale"], 1e-4)
        d.row(
            f"{tag} masked, largest mask",
            (th[:, None, :, 1] * (th[:, None, :, 0] - dd)).sigmoid().amax(2),
            d[f"{tag}_masked_largest_mask"],
            1e-4,
        )
