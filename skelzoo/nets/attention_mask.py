"""The multi-head attention mask of SkeAttnCLR: which features of which joint and frame are salient."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from skelzoo.nets.pooling import LastStep, Pooling


class Projection(nn.Module):
    """Linear, BatchNorm, ReLU, Linear, both without bias: the projectors and predictors of SkeAttnCLR."""

    def __init__(self, channels_in: int, hidden: int, channels_out: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels_in, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.linear2 = nn.Linear(hidden, channels_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in) -> (N, channels_out)."""
        out: Tensor = self.linear2(F.relu(self.norm(self.linear1(x))))
        return out


class Masked(NamedTuple):
    """What the mask makes of a feature map: salient + non_salient is pooled."""

    pooled: Tensor
    """(N, pooled_dim)."""
    salient: Tensor
    """(N, pooled_dim)."""
    non_salient: Tensor
    """(N, pooled_dim)."""
    mask: Tensor
    """(N*M, T'*V, D) in 0..1, tokens frame-major."""


class AttentionMask(nn.Module):
    """Multi-head self-attention over the T'*V tokens of a person, squashed to an elementwise mask.

    mask = sigmoid(sharpness * W concat_h softmax(q k^T / sqrt(D / heads)) v), one weight per token and channel,
    without positional encoding (SkeAttnCLR, multi-head attention mask module).

    Args:
        dim: D of the feature map.
        out_dim: size of the shared projection's output; 128 in the paper.
        hidden_dim: hidden size of the projection, D in the paper.
        heads: attention heads; 8 in the paper.
        sharpness: Lambda of the paper, 2.
        fast: fused attention, equal up to float rounding and without the (L, L) matrices in memory.
        pooling: how tokens become a vector of pooled_dim = groups * D; a plain mean in the paper.
    """

    def __init__(
        self,
        dim: int,
        out_dim: int = 128,
        hidden_dim: int | None = None,
        heads: int = 8,
        sharpness: float = 2.0,
        fast: bool = False,
        pooling: Pooling | LastStep | None = None,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads or out_dim < 1:
            raise ValueError(f"{dim} channels do not split into {heads} heads, or {out_dim} outputs are too few")
        self.heads, self.sharpness, self.fast = heads, sharpness, fast
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.pooling = pooling or Pooling()
        self.pooled_dim = dim * self.pooling.vectors
        self.projector = Projection(self.pooled_dim, hidden_dim or dim, out_dim)

    def mask(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L, D) -> mask (B, L, D) in 0..1."""
        q, k, v = rearrange(self.qkv(self.norm(tokens)), "b l (three h d) -> three b h l d", three=3, h=self.heads)
        attended = F.scaled_dot_product_attention(q, k, v) if self.fast else (q @ k.transpose(-2, -1) * q.shape[-1] ** (-0.5)).softmax(-1) @ v
        return torch.sigmoid(self.sharpness * self.proj(rearrange(attended, "b h l d -> b l (h d)")))

    def forward(self, feature_map: Tensor, persons: int, mask: Tensor | None = None) -> Masked:
        """Split a feature map into its salient and non-salient part.

        Args:
            feature_map: (N*M, D, T', V).
            persons: M.
            mask: (N*M, T'*V, D) to use instead of the map's own, as for the keys in pretraining.
        """
        tokens = rearrange(feature_map, "b d t v -> b (t v) d")
        mask = self.mask(tokens) if mask is None else mask
        pooled, salient, non_salient = (self.pooling(part, feature_map.shape[3], persons) for part in (tokens, tokens * mask, tokens * (1 - mask)))
        return Masked(pooled, salient, non_salient, mask)
