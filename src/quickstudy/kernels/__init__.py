"""Parts of a convolutional block as single operations, for speed: the same numbers as the
operations they replace, in fewer passes.
"""

from quickstudy.kernels.backends import backend as backend
from quickstudy.kernels.block import norm_relu_pool as norm_relu_pool
