"""From the tokens of a feature map to one vector per clip."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn


class Pooling(nn.Module):
    """Mean over frames, joints and persons, absent persons included, as in SkeAttnCLR's code.

    Args:
        segments: equal stretches of time pooled apart and concatenated, so that the vector keeps the order of
            events. 1 in the paper; more is this project's own option.
        parts: joint indices of body parts pooled apart and concatenated; empty, as in the paper, for all joints together.
    """

    def __init__(self, segments: int = 1, parts: Sequence[Sequence[int]] = ()) -> None:
        super().__init__()
        if segments < 1:
            raise ValueError(f"{segments} segments; at least 1 is needed")
        self.segments, self.parts = segments, [list(p) for p in parts]
        self.groups = segments * max(len(self.parts), 1)

    def forward(self, tokens: Tensor, joints: int, persons: int) -> Tensor:
        """Tokens (N*M, T'*V, D), frame-major -> (N, groups * D), ordered segment, part, channel."""
        if self.groups == 1 and not self.parts:
            return rearrange(tokens.mean(1), "(n m) d -> n m d", m=persons).mean(1)
        x = rearrange(tokens, "b (t v) d -> b t v d", v=joints)
        parts = self.parts or [list(range(joints))]
        frames = x.shape[1]
        bounds = [round(i * frames / self.segments) for i in range(self.segments + 1)]
        # Clips of fewer frames than segments: neighbouring segments share a frame instead of being empty.
        spans = [(min(start, frames - 1), max(stop, min(start, frames - 1) + 1)) for start, stop in itertools.pairwise(bounds)]
        pooled = [x[:, start:stop, part].mean((1, 2)) for start, stop in spans for part in parts]
        return rearrange(torch.cat(pooled, 1), "(n m) d -> n m d", m=persons).mean(1)


class LastStep(nn.Module):
    """The last time step instead of a mean, as SkeAttnCLR's BiGRU does. Its tokens are time steps of one row per clip."""

    groups = 1

    def forward(self, tokens: Tensor, joints: int, persons: int) -> Tensor:
        """Tokens (N, T, D) -> (N, D)."""
        return tokens[:, -1]
