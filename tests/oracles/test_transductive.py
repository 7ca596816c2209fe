"""Transductive inference beside other people's code, on the same numbers."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from quickstudy import algorithms as al

from .golden import Golden, identity


def test_bd_cspn(golden: Callable[[str], Golden]) -> None:
    from quickstudy.functional.rectified import rectified

    d = golden("bd_cspn")
    for tag in ("shot1", "shot5"):
        e = d.episode(tag)
        s, z = (F.normalize(p.x, dim=2) for p in (e.support, e.query))
        mu, shift = rectified(s, e.support.y, z, 4, sharpness=10.0, keep_labels=False, shrink=True)
        d.row(f"{tag} shift", shift[:, 0], d[f"{tag}_shift"], 1e-12)
        d.row(f"{tag} prototypes", mu, d[f"{tag}_prototypes"], 1e-9)
        if tag == "shot1":
            mu = rectified(s, e.support.y, z, 4, sharpness=10.0)[0]
            want = F.normalize(d[f"{tag}_prototypes"], dim=2)
            d.row(f"{tag} direction of weighted means", F.normalize(mu, dim=2), want, 1e-9)
        o = al.BDCSPN(identity(16), transform="l2n", as_others=True).double()(e)
        d.row(f"{tag} scores", -o, d[f"{tag}_squared_distance"], 1e-9)


def test_laplacian_shot(golden: Callable[[str], Golden]) -> None:
    d = golden("laplacian_shot")
    for tag in ("shot1", "shot5"):
        e = d.episode(tag)
        z = F.normalize(e.query.x, dim=2)
        for k in (3, 4):
            m = al.LaplacianShot(identity(16), transform="l2n", neighbours=k - 1).double()
            d.row(
                f"{tag} affinity of knn={k} (ours {k - 1})",
                m._affinity(z),
                d[f"{tag}_knn{k}_affinity"],
                0,
            )
            for lam in (0.5, 1.0):
                for protos in ("means", "rectified"):
                    n = d[f"{tag}_knn{k}_lambda{lam}_{protos}_rounds"]
                    m = al.LaplacianShot(
                        identity(16),
                        transform="l2n",
                        neighbours=k - 1,
                        smoothness=lam,
                        rounds=int(n.max()),
                    ).double()
                    near = -d[f"{tag}_{protos}_unary"]
                    out = []
                    for t in range(2):  # the bound's update itself, from their unary terms
                        a, y = m._affinity(z)[t], near[t]
                        for _ in range(int(n[t])):
                            y = near[t] + lam * a @ y.softmax(-1)
                        out.append(y.softmax(-1))
                    d.row(
                        f"{tag} knn={k} lambda={lam} {protos} update",
                        torch.stack(out),
                        d[f"{tag}_knn{k}_lambda{lam}_{protos}_labels_soft"],
                        1e-9,
                    )
            m = al.LaplacianShot(
                identity(16), transform="l2n", neighbours=k - 1, smoothness=0.5
            ).double()
            d.row(
                f"{tag} knn={k} whole learner (probabilities)",
                m(e).softmax(-1),
                d[f"{tag}_knn{k}_lambda0.5_rectified_labels_soft"],
                1e-9,
            )


def test_pt_map(golden: Callable[[str], Golden]) -> None:
    d = golden("pt_map")
    for tag in ("shot1", "shot5"):
        for n in (0, 1, 20):
            m = al.PTMAP(identity(16), steps=n).double()
            d.row(
                f"{tag} {n} epochs",
                m(d.episode(tag)).exp(),
                d[f"{tag}_probabilities_epochs{n}"],
                1e-4,
            )


def test_tim(golden: Callable[[str], Golden]) -> None:
    d = golden("tim")
    for tag in ("shot1", "shot5", "unequal"):
        for n, lr in ((10, 1e-3), (100, 1e-3), (150, 1e-4)):
            o = al.TIM(identity(16), steps=n, lr=lr, transform="l2n").double()(d.episode(tag))
            d.row(f"{tag} {n} x {lr}", o, d[f"{tag}_gd_{n}x{lr}_logits"], 1e-6)


def test_alpha_tim(golden: Callable[[str], Golden]) -> None:
    d = golden("alpha_tim")
    for tag in ("shot1", "shot5", "shot5b", "unequal"):
        for n, lr in ((10, 1e-3), (100, 1e-3), (150, 1e-4)):
            o = al.AlphaTIM(
                identity(16), alpha=float(d[f"{tag}_alpha"]), steps=n, lr=lr, transform="l2n"
            ).double()(d.episode(tag))
            d.row(f"{tag} {n} x {lr}", o, d[f"{tag}_{n}x{lr}_logits"], 1e-5)
