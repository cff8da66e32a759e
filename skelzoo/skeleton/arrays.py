"""Types of arrays by what they hold; ``FloatArray`` of ``clip.py`` is that of coordinates, float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64s = NDArray[np.float64]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]
