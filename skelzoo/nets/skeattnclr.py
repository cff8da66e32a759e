"""SkeAttnCLR encoder: a backbone, the attention-mask neck and a classification head."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from skelzoo.nets.attention_mask import AttentionMask
from skelzoo.nets.stgcn import STGCN


class SkeAttnCLR(nn.Module):
    """SkeAttnCLR with an ST-GCN backbone (IJCAI 2023).

    Args:
        parents: parent index of each joint, -1 for the root.
        num_classes: size of the head; 0 for none.
        in_channels: C of a prepared tensor.
        hidden_channels, hidden_dim, dropout, fast: see ``STGCN``.
        feature_dim, heads, sharpness: see ``AttentionMask``.
        segments: equal stretches of time pooled apart and concatenated, so that the vector keeps the order of
            events. 1 in the paper; more is this project's own option.
    """

    def __init__(
        self,
        parents: Sequence[int],
        num_classes: int = 0,
        in_channels: int = 3,
        hidden_channels: int = 64,
        hidden_dim: int = 256,
        dropout: float = 0.5,
        fast: bool = False,
        feature_dim: int = 128,
        heads: int = 8,
        sharpness: float = 2.0,
        segments: int = 1,
    ) -> None:
        super().__init__()
        self.backbone = STGCN(parents, in_channels, hidden_channels, hidden_dim, dropout, fast)
        self.neck = AttentionMask(hidden_dim, feature_dim, hidden_dim, heads, sharpness, fast)
        self.segments = segments
        self.embedding_dim = hidden_dim * segments
        self.head = nn.Linear(self.embedding_dim, num_classes) if num_classes else None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names ``features`` knows."""
        blocks = tuple(f"block{i}" for i in range(len(self.backbone.blocks)))
        return (*blocks, "feature_map", "pooled", "attention_mask", "salient", "non_salient", "projection")

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (N, D): mean over frames, joints and persons, absent persons included as in the paper's code."""
        return self._pool(self.backbone(x)[-1], x.shape[-1])

    def _pool(self, feature_map: Tensor, persons: int) -> Tensor:
        frames = feature_map.shape[2]
        bounds = [round(i * frames / self.segments) for i in range(self.segments + 1)]
        stretches = [feature_map[:, :, a : max(b, a + 1)].mean((2, 3)) for a, b in itertools.pairwise(bounds)]
        return reduce(torch.cat(stretches, 1), "(n m) d -> n d", "mean", m=persons)

    def forward_head(self, z: Tensor) -> Tensor:
        """(N, D) -> logits (N, classes); (N, 0) without a head."""
        return z.new_zeros(len(z), 0) if self.head is None else self.head(z)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> logits (N, classes)."""
        return self.forward_head(self.forward_features(x))

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Everything the encoder computes on the way, by name.

        Returns:
            ``block0`` .. ``block9`` and ``feature_map`` (N, D_i, T_i, V, M); ``pooled`` (N, D); ``attention_mask``
            (N, D, T', V, M) in 0..1; ``salient`` and ``non_salient`` (N, D), which sum to the globally pooled
            vector; ``projection`` (N, feature_dim), the vector the contrastive loss sees.
        """
        blocks, persons = self.backbone(x), x.shape[-1]
        out = {f"block{i}": rearrange(b, "(n m) d t v -> n d t v m", m=persons) for i, b in enumerate(blocks)}
        masked = self.neck(blocks[-1], persons)
        mask = rearrange(masked.mask, "(n m) (t v) d -> n d t v m", m=persons, v=x.shape[3])
        return {
            **out, "feature_map": out[f"block{len(blocks) - 1}"], "pooled": self._pool(blocks[-1], persons),
            "attention_mask": mask, "salient": masked.salient, "non_salient": masked.non_salient, "projection": self.neck.projector(masked.pooled),
        }  # fmt: skip
