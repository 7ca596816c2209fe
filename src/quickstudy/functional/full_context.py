"""What matching networks do with a whole support: read it, look at it, attend to it."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.functional.similarity import dot


def in_context(lstm: nn.LSTM, z: Float[Tensor, "T N D"]) -> Float[Tensor, "T N D"]:
    """g(x_i, S) = →h_i + ←h_i + g′(x_i): features after a bidirectional LSTM has read them in this
    order.

    Paper: Vinyals et al. 2016, arXiv:1606.04080, appendix A.2.
    """
    forward, backward = lstm(z)[0].chunk(2, -1)
    return forward + backward + z


def look(
    cell: nn.LSTMCell,
    z: Float[Tensor, "T Q D"],
    g: Float[Tensor, "T N D"],
    *,
    steps: int,
    add: bool = False,
) -> Float[Tensor, "T Q D"]:
    """f(x, S): features after ``steps`` looks at what was read.

    ĥ_k, c_k = LSTM(f′(x), [h_{k−1}; r_{k−1}], c_{k−1});  h_k = ĥ_k + f′(x);  r_k = Σ_i
    softmax_i(h_k · g_i) g_i;  h_0 = f′(x), c_0 = 0, so that every step has looked before it

    Args:
        cell: of input width 2D; W [h; r] = W_h h + W_r r, so what is read joins the input. D where
            they are added.
        z: f′ of the queries.
        g: of `in_context`.
        steps: K.
        add: h + r in the place of [h; r].

    Paper: Vinyals et al. 2016, arXiv:1606.04080, equations 3 to 6.
    """
    flat = z.flatten(0, 1)
    h, c = flat, torch.zeros_like(flat)
    for _ in range(steps):
        seen = h.unflatten(0, z.shape[:2])
        r = (dot(seen, g).softmax(-1) @ g).flatten(0, 1)
        h, c = cell(flat, (h + r, c)) if add else cell(torch.cat((flat, r), 1), (h, c))
        h = h + flat
    return h.unflatten(0, z.shape[:2])


def attended(
    attention: Float[Tensor, "T Q N"], member: Float[Tensor, "T N C"]
) -> Float[Tensor, "T Q C"]:
    """Log Σ exp of the attention on each class; ``member`` may weigh its examples.

    >>> attended(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0], [0.0, 0.5]]])).exp()
    tensor([[[1.0000, 0.5000]]])
    """
    return torch.logsumexp(attention[:, :, :, None] + member.log()[:, None], dim=2)
