"""The type of numpy arrays in annotations, the same with every numpy.

From numpy 2.5 on ``numpy.typing.NDArray`` is a ``type`` statement, which jaxtyping does not take.
Here it is spelled out, as numpy did before.
"""

from typing import Any, TypeAlias, TypeVar

import numpy as np

_Scalar = TypeVar("_Scalar", bound=np.generic, covariant=True)

NDArray: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[_Scalar]]
