"""Policies that adapt beside other people's code, on the same trajectories."""

from collections.abc import Callable

import torch

from .golden import Golden


def test_maml_rl(golden: Callable[[str], Golden]) -> None:

    from quickstudy.inner.loop import InnerLoop
    from quickstudy.inner.rules import FixedRate
    from quickstudy.rl.adapt import Adaptation, PolicyLearner
    from quickstudy.rl.advantage import advantages, discounted, linear_baseline
    from quickstudy.rl.outer import TRPO, conjugate_gradient
    from quickstudy.rl.policy import GaussianPolicy
    from quickstudy.rl.rollout import Trajectories
    from quickstudy.rl.surrogate import Evidence, acting, divergence, importance, reinforce

    d = golden("maml_rl")
    gamma = float(d["gamma"])
    for tag in ("equal", "unequal"):
        p = GaussianPolicy(3, 2, widths=(7,)).double()
        names = {
            "hidden.weight": "layers.0.weight",
            "hidden.bias": "layers.0.bias",
            "mean.weight": "layers.1.weight",
            "mean.bias": "layers.1.bias",
            "log_std": "log_std",
        }
        own = dict(p.named_parameters())
        with torch.no_grad():
            for n, m in names.items():
                own[m].copy_(d[f"policy.{n}"])
        tr = {}
        for ph in ("before", "after"):
            t = tr[ph] = Trajectories(
                *(d[f"{tag}_{ph}_{k}"] for k in ("observations", "actions", "rewards")),
                d[f"{tag}_{ph}_mask"].bool(),
            )
            d.row(
                f"{tag} {ph} returns",
                discounted(t.reward, gamma) * t.mask,
                d[f"{tag}_{ph}_returns"],
                1e-10,
            )
            v = linear_baseline(t, discounted(t.reward, gamma)) * t.mask
            d.row(
                f"{tag} {ph} baseline",
                v,
                d[f"{tag}_{ph}_baseline_values"],
                1e-8,
            )
            value = d[f"{tag}_{ph}_baseline_values"]
            for lam in (1.0, 0.9):
                later = torch.cat((value[..., 1:], torch.zeros_like(value[..., :1])), 2)
                d.row(
                    f"{tag} {ph} advantages before normalising, from their baseline, lambda {lam}",
                    discounted((t.reward + gamma * later - value) * t.mask, gamma * lam) * t.mask,
                    d[f"{tag}_{ph}_advantages_lambda{lam}"] * t.mask,
                    1e-9,
                )
            for lam in (1.0, 0.9):
                a = advantages(t, gamma=gamma, smoothing=lam, average="episodes")
                d.row(
                    f"{tag} {ph} advantages, normalised, lambda {lam}",
                    a,
                    d[f"{tag}_{ph}_advantages_lambda{lam}_normalised"] * t.mask,
                    1e-8,
                )
        adv = {ph: d[f"{tag}_{ph}_advantages_lambda1.0_normalised"] * tr[ph].mask for ph in tr}
        loop = InnerLoop(FixedRate(float(d["fast_rate"])), steps=1)
        L = PolicyLearner(p, loop, gamma=gamma, average="episodes")
        ev = (
            Evidence(tr["before"], adv["before"], torch.zeros_like(adv["before"])),
            Evidence(tr["after"], adv["after"], d[f"{tag}_old_log_prob"]),
        )
        d.row(
            f"{tag} REINFORCE loss",
            reinforce(p, p.parameters_of(3), ev[0], average="episodes"),
            d[f"{tag}_reinforce_losses"],
            1e-9,
        )
        params = L.replay(ev)
        d.rows(
            f"{tag} adapted",
            {n: params[m] for n, m in names.items()},
            d.sub(f"{tag}_adapted."),
            1e-9,
        )
        loss = importance(p, params, ev[1], average="episodes")
        d.row(f"{tag} surrogate", loss, d[f"{tag}_surrogate_losses"], 1e-9)
        ws = list(p.parameters())
        g = dict(zip(own, torch.autograd.grad(loss.mean(), ws, retain_graph=True)))
        d.rows(
            f"{tag} surrogate gradient",
            {n: g[m] for n, m in names.items()},
            d.sub(f"{tag}_surrogate_gradient."),
            1e-8,
        )
        with torch.no_grad():
            old = acting(p, {k: v.detach() for k, v in params.items()}, tr["after"])
        new = acting(p, L.replay(ev), tr["after"])
        kl = divergence(old, new, tr["after"], average="episodes").mean()
        to_ours = lambda v: torch.cat(
            [
                dict(
                    zip(d.sub("policy."), v.split([x.numel() for x in d.sub("policy.").values()]))
                )[{m: n for n, m in names.items()}[k]]
                for k in own
            ]
        )
        flat = lambda ts: torch.cat([x.reshape(-1) for x in ts])
        slope = flat(torch.autograd.grad(kl, ws, create_graph=True))
        for damp in (0.0, 0.01):
            fisher = lambda v: (
                flat(torch.autograd.grad(slope @ v, ws, retain_graph=True)) + damp * v
            )
            d.row(
                f"{tag} Fisher-vector product, damping {damp}",
                fisher(to_ours(d[f"{tag}_vector"])),
                to_ours(d[f"{tag}_fisher_vector_damping{damp}"]),
                1e-8,
            )
            d.row(
                f"{tag} 10 steps of CG with it, damping {damp}",
                conjugate_gradient(fisher, flat([g[k] for k in own]), steps=10),
                to_ours(d[f"{tag}_cg10_damping{damp}"]),
                1e-3 if damp == 0 else 1e-6,
            )
        import quickstudy.rl.outer as outer

        fisher = lambda v: (
            flat(torch.autograd.grad(slope @ v, ws, retain_graph=True)) + float(d["cg_damping"]) * v
        )
        direction = outer.conjugate_gradient(fisher, flat([g[k] for k in own]), steps=10)
        d.row(
            f"{tag} full TRPO step, before the line search",
            direction * (2 * float(d["max_kl"]) / (direction @ fisher(direction))).sqrt(),
            to_ours(d[f"{tag}_full_trpo_step"]),
            1e-6,
        )
        ad = Adaptation(ev, ({}, {k: v.detach() for k, v in params.items()}))
        log = TRPO(
            max_kl=float(d["max_kl"]),
            cg_steps=10,
            damping=float(d["cg_damping"]),
            fisher_share=1.0,
            backtracks=10,
            backward_kl=True,
        ).step(L, ad)
        d.rows(
            f"{tag} weights after a whole TRPO step",
            {n: own[m] for n, m in names.items()},
            d.sub(f"{tag}_after_trpo_step."),
            1e-6,
        )
        d.row(f"{tag} KL after it", log["kl"], d[f"{tag}_trpo_kl_after"].mean(), 1e-8)
    for it in (3, 10):
        d.row(
            f"CG, {it} iterations",
            conjugate_gradient(lambda v: d["cg_matrix"] @ v, d["cg_b"], steps=it),
            d[f"cg_x_{it}"],
            1e-8,
        )
