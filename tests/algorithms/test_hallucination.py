import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import Hallucinator, MatchingNet, ProtoNet
from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import drawing, generator
from quickstudy.encoders import MLP, Identity
from quickstudy.testing import toy_episode

E = toy_episode(n_shot=(1, 2, 3, 2))


def _learner(**options) -> Hallucinator:
    torch.manual_seed(0)
    learner = Hallucinator(Identity(6), n_imagined=3, **{"transform": "un", **options})
    if learner.residual:
        torch.nn.init.normal_(learner.generator[-1].weight)  # so that it imagines something
    return learner.eval()


@pytest.mark.parametrize(
    ("head", "plain"), [("protonet", ProtoNet(Identity(6))), ("matching", MatchingNet(Identity(6)))]
)
@pytest.mark.parametrize("kind", ["residual", "concat"])
def test_without_imagined_examples_it_is_the_plain_learner(head, plain, kind) -> None:
    learner = _learner(head=head, generator=kind)
    learner.n_imagined = 0
    # the matching network has the same scale of its own
    scale = 10.0 if head == "protonet" else 1.0
    torch.testing.assert_close(learner(E), scale * plain(E))


def test_at_test_imagination_can_be_left_out() -> None:
    torch.testing.assert_close(_learner(at_test=False)(E), 10 * ProtoNet(Identity(6))(E))


def test_at_the_start_the_residual_generator_repeats_real_examples() -> None:
    learner = Hallucinator(Identity(6), n_imagined=4, transform="un").eval()
    made = learner.imagined(E.support.x, E.support.y, 4)
    for t in range(3):
        for c in range(4):
            real = E.support.x[t][E.support.y[t] == c]
            assert all(any(torch.equal(x, r) for r in real) for x in made[t, c])


@pytest.mark.parametrize("kind", ["residual", "concat"])
@pytest.mark.parametrize("head", ["protonet", "matching"])
def test_imagined_examples_by_a_loop(head, kind) -> None:
    learner = _learner(head=head, generator=kind, real_weight=0.3)
    out, g = learner(E), generator("hallucination")
    u, noise = torch.rand(1, 4, 3, generator=g)[0], torch.randn(1, 4, 3, 6, generator=g)[0]
    for t in range(3):
        real = [E.support.x[t][E.support.y[t] == c] for c in range(4)]
        for c in range(4):
            made = []
            for m in range(3):
                x = real[c][int(u[c, m] * len(real[c]))]
                y = learner.generator(torch.cat((x, noise[c, m])))
                made.append(x + y if kind == "residual" else y)
            for q, query in enumerate(E.query.x[t]):
                if head == "protonet":
                    expected = (
                        -10
                        * (query - 0.3 * real[c].mean(0) - 0.7 * torch.stack(made).mean(0))
                        .square()
                        .sum()
                    )
                else:
                    mass = sum(
                        0.3 / len(real[c]) * torch.exp(10 * F.cosine_similarity(query, x, dim=0))
                        for x in real[c]
                    )
                    mass = mass + sum(
                        0.7 / 3 * torch.exp(10 * F.cosine_similarity(query, x, dim=0)) for x in made
                    )
                    expected = mass.log()
                torch.testing.assert_close(out[t, q, c], expected, rtol=1e-3, atol=1e-3)


def test_training_draws_new_noise_and_eval_does_not() -> None:
    learner = _learner()
    assert torch.equal(learner(E), learner(E))
    learner.train()
    first = learner(E)
    assert not torch.equal(first, learner(E))
    with drawing(torch.Generator().manual_seed(1)):
        a = learner(E)
    with drawing(torch.Generator().manual_seed(1)):
        assert torch.equal(a, learner(E))


def test_prototype_matching_reads_prototypes_whatever_the_shots() -> None:
    torch.manual_seed(0)
    learner = Hallucinator(MLP(6, widths=(5,)), head="pmn", n_imagined=2).eval()
    out = learner(E)
    assert out.shape == (3, 12, 4)
    assert bool((out.abs() <= 10 + 1e-4).all())  # scaled cosines
    out.square().mean().backward()
    assert all(p.grad is not None for p in learner.parameters())


def test_gradients_of_the_queries_reach_the_generator() -> None:
    learner = _learner(scale=0.01).train()  # an easy task: a large scale would leave no gradient
    E.target.loss(learner(E), E.query.y).mean().backward()
    assert all(
        p.grad is not None and bool(p.grad.count_nonzero()) for p in learner.generator.parameters()
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"head": "proto"}, "no head 'proto'"),
        ({"generator": "gan"}, "no generator 'gan'"),
        ({"real_weight": 0.0}, r"real_weight lies in \(0, 1\]"),
        ({"n_imagined": -1}, "n_imagined cannot be negative"),
    ],
)
def test_what_cannot_be_is_refused(options, said) -> None:
    with pytest.raises(ConfigError, match=said):
        Hallucinator(Identity(6), **options)
