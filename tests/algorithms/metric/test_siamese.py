import pytest
import torch

from quickstudy.algorithms import Siamese
from quickstudy.core.errors import ConfigError
from quickstudy.encoders import MLP
from quickstudy.testing import check_learner, toy_episode


@pytest.mark.parametrize("compare", ["difference", "concatenate", "distance"])
def test_a_class_scores_the_mean_over_its_examples(compare: str) -> None:
    learner, e = Siamese(MLP(6, widths=(5,)), compare=compare), toy_episode(n_shot=(1, 2, 3, 2))
    out = learner(e)
    for t in range(3):
        support = learner.encoder(e.support.x[t : t + 1])[0]
        query = learner.encoder(e.query.x[t : t + 1])[0]
        for q in range(3):
            for c in range(4):
                scores = []
                for i in (e.support.y[t] == c).nonzero()[:, 0].tolist():
                    a, b = query[q], support[i]
                    if compare == "difference":
                        scores.append(learner.judge((a - b).abs())[0])
                    elif compare == "concatenate":
                        scores.append(
                            (learner.judge(torch.cat((a, b))) + learner.judge(torch.cat((b, a))))[0]
                            / 2
                        )
                    else:
                        scores.append(-(a - b).square().sum())
                torch.testing.assert_close(
                    out[t, q, c], torch.stack(scores).mean(), rtol=1e-4, atol=1e-4
                )


def test_every_form_keeps_the_contract() -> None:
    for options in ({"compare": "concatenate"}, {"compare": "distance", "normalise": True}):
        check_learner(Siamese(MLP(6, widths=(16, 16)), **options), n_tasks=(2,))
    untied = Siamese(MLP(6, widths=(16,)), support_encoder=MLP(6, widths=(16,)))
    check_learner(untied, n_tasks=(2,))
    assert not untied.traits.encodes_alone


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match=r"no 'differences'.*difference"):
        Siamese(MLP(6), compare="differences")
    with pytest.raises(ConfigError, match="vectors of one length, got 16 and 8"):
        Siamese(MLP(6, widths=(16,)), support_encoder=MLP(6, widths=(8,)))
