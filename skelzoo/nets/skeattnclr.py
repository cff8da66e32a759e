"""SkeAttnCLR encoder: a backbone, the attention-mask neck and a classification head."""

from __future__ import annotations

from collections.abc import Sequence

from einops import rearrange
from torch import Tensor, nn

from skelzoo.nets.attention_mask import AttentionMask
from skelzoo.nets.pooling import Pooling
from skelzoo.nets.stgcn import STGCN


class SkeAttnCLR(nn.Module):
    """SkeAttnCLR with an ST-GCN backbone (IJCAI 2023).

    Args:
        parents: parent index of each joint, -1 for the root.
        parts: joint indices of each body part.
        num_classes: size of the head; 0 for none.
        in_channels: C of a prepared tensor.
        hidden_channels, hidden_dim, dropout, fast: see ``STGCN``.
        feature_dim, heads, sharpness: see ``AttentionMask``.
        projector_dim: hidden size of the projection; 0 is hidden_dim, as in the paper.
        pool_segments, pool_parts: pool stretches of time, and body parts, apart; see ``Pooling``. 1 and False in the paper.
        embed_block: block whose pooled output is the vector of ``forward_features``; the last one, 9, in the paper. The
            contrast always works on the last block, and middle blocks keep detail that it gives up.
    """

    def __init__(
        self,
        parents: Sequence[int],
        parts: Sequence[Sequence[int]],
        num_classes: int = 0,
        in_channels: int = 3,
        hidden_channels: int = 64,
        hidden_dim: int = 256,
        dropout: float = 0.5,
        fast: bool = False,
        feature_dim: int = 128,
        heads: int = 8,
        sharpness: float = 2.0,
        projector_dim: int = 0,
        pool_segments: int = 1,
        pool_parts: bool = False,
        embed_block: int = 9,
    ) -> None:
        super().__init__()
        self.backbone = STGCN(parents, in_channels, hidden_channels, hidden_dim, dropout, fast)
        pooling = Pooling(pool_segments, parts if pool_parts else ())
        self.neck = AttentionMask(hidden_dim, feature_dim, projector_dim or hidden_dim, heads, sharpness, fast, pooling)
        if not 0 <= embed_block < len(self.backbone.blocks):
            raise ValueError(f"embed_block is {embed_block}, the blocks are 0 to {len(self.backbone.blocks) - 1}")
        self.embed_block = embed_block
        self.embedding_dim = self.backbone.widths[embed_block] * pooling.groups
        self.head = nn.Linear(self.embedding_dim, num_classes) if num_classes else None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names ``features`` knows."""
        blocks = tuple(f"block{i}" for i in range(len(self.backbone.blocks)))
        return (*blocks, "feature_map", "pooled", "attention_mask", "salient", "non_salient", "projection")

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (N, D), D = channels of ``embed_block`` times the groups pooled apart; later blocks are not run."""
        return self.neck.pool(self.backbone(x, self.embed_block)[-1], x.shape[-1])

    def forward_head(self, z: Tensor) -> Tensor:
        """(N, D) -> logits (N, classes); (N, 0) without a head."""
        return z.new_zeros(len(z), 0) if self.head is None else self.head(z)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> logits (N, classes)."""
        return self.forward_head(self.forward_features(x))

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Everything the encoder computes on the way, by name.

        Returns:
            ``block0`` .. ``block9`` and ``feature_map`` (N, D_i, T_i, V, M); ``pooled`` (N, D) of the last block; ``attention_mask``
            (N, D, T', V, M) in 0..1; ``salient`` and ``non_salient`` (N, D), which sum to
            ``pooled``; ``projection`` (N, feature_dim), the vector the contrastive loss sees.
        """
        blocks, persons = self.backbone(x), x.shape[-1]
        out = {f"block{i}": rearrange(b, "(n m) d t v -> n d t v m", m=persons) for i, b in enumerate(blocks)}
        masked = self.neck(blocks[-1], persons)
        mask = rearrange(masked.mask, "(n m) (t v) d -> n d t v m", m=persons, v=x.shape[3])
        return {
            **out, "feature_map": out[f"block{len(blocks) - 1}"], "pooled": masked.pooled,
            "attention_mask": mask, "salient": masked.salient, "non_salient": masked.non_salient, "projection": self.neck.projector(masked.pooled),
        }  # fmt: skip
