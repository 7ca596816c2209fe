"""Parts of a convolutional block as single operations, for speed: the same numbers as the operations they replace, in fewer passes."""

from quickstudy.functional.fused.block import norm_relu_pool as norm_relu_pool
from quickstudy.functional.fused.carriers import carrier as carrier
