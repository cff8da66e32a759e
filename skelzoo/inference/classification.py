"""Classification: what ``Encoder.classify`` gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHOWN = 20
"""Clips that are printed."""


@dataclass(frozen=True, eq=False)
class Classification:
    """Classes of N clips, best first; printed, a line per clip.

    Attributes:
        labels: (N, k) class names.
        scores: (N, k) softmax scores, float32.
        indices: (N, k) class indices.
    """

    labels: NDArray[np.str_]
    scores: NDArray[np.float32]
    indices: NDArray[np.int64]

    def __repr__(self) -> str:
        return f"Classification({len(self.labels)} clips, {self.labels.shape[1]} classes each)"

    def __str__(self) -> str:
        pairs = zip(self.labels[:SHOWN], self.scores[:SHOWN], strict=True)
        lines = [", ".join(f"{label} {score:.2f}" for label, score in zip(*row, strict=True)) for row in pairs]
        return "\n".join(lines + [f"and {len(self.labels) - SHOWN} more clips"] * (len(self.labels) > SHOWN)) or repr(self)
