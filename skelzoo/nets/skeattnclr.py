"""SkeAttnCLR encoders: a backbone, the attention-mask neck and a classification head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from skelzoo.nets.attention_mask import AttentionMask, Masked
from skelzoo.nets.bigru import BiGRU
from skelzoo.nets.dsta import DSTA, PAPER_BLOCKS
from skelzoo.nets.net import Net
from skelzoo.nets.pooling import InputStatistics, LastStep, Pooling, input_statistics, joint_groups, pool
from skelzoo.nets.stgcn import STGCN
from skelzoo.skeleton.layouts import Layout


class SkeAttnCLR(Net):
    """What the three backbones share (IJCAI 2023); build one with ``skelzoo.create("skeattnclr-stgcn", ...)``.

    Args:
        backbone: (N, C, T, V, M) and the last block wanted -> maps of the blocks (N*M', D_i, T_i, V'), M' persons apart.
        neck: attention mask, pooling and projection of the last map.
        num_classes: size of the head; 0 for none.
        embed_blocks: blocks whose pooled outputs, side by side, are the vector of ``forward_features``; the last one
            in the paper. The contrast always works on the last block, and earlier ones keep detail that it gives up.
        embed_pooling: how they are pooled; None, as in the paper, is the contrast's way.
        embed_input: statistics of the net's input that end the vector, mean over persons; none in the paper.

    Raises:
        ValueError: no such block.
    """

    def __init__(
        self,
        backbone: STGCN | BiGRU | DSTA,
        neck: AttentionMask,
        num_classes: int,
        embed_blocks: Sequence[int],
        embed_pooling: Pooling | None = None,
        embed_input: InputStatistics | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.neck, self.embed_blocks, self.embed_pooling = backbone, neck, tuple(embed_blocks), embed_pooling or neck.pooling
        if not embed_blocks or not 0 <= min(embed_blocks) <= max(embed_blocks) < len(backbone.widths):
            raise ValueError(f"embed_blocks are {list(embed_blocks)}, the blocks are 0 to {len(backbone.widths) - 1}")
        self.embed_input = embed_input
        self.embedding_dim = sum(backbone.widths[i] for i in embed_blocks) * self.embed_pooling.vectors + (embed_input.dim if embed_input else 0)
        self.head = nn.Linear(self.embedding_dim, num_classes) if num_classes else None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names ``features`` knows."""
        blocks = tuple(f"block{i}" for i in range(len(self.backbone.widths)))
        return (*blocks, "feature_map", "pooled", "attention_mask", "salient", "non_salient", "projection")

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (N, D), D = channels of ``embed_blocks`` times the vectors pooled apart; later blocks are not run."""
        self.check_clips(x)
        maps = self.backbone(x, max(self.embed_blocks))
        vectors = [pool(self.embed_pooling, maps[i], x.shape[0]) for i in self.embed_blocks]
        if self.embed_input is not None:
            vectors.append(self.embed_input.of_clips(x))
        return torch.cat(vectors, 1)

    def pooled(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> pooled output of the last block (N, pooled_dim), what the contrast sees."""
        return pool(self.neck.pooling, self.backbone(x)[-1], x.shape[0])

    def masked(self, x: Tensor, mask: Tensor | None = None) -> Masked:
        """(N, C, T, V, M) -> the last block split by its own mask, or by the one given."""
        feature_map = self.backbone(x)[-1]
        masked: Masked = self.neck(feature_map, len(feature_map) // len(x), mask)
        return masked

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Everything the encoder computes on the way, by name.

        Returns:
            ``block0`` .. and ``feature_map``, the last of them, (N, D_i, T_i, V, M), BiGRU: V = M = 1; ``pooled`` (N, D) of
            the last block; ``attention_mask`` of its shape in 0..1; ``salient`` and ``non_salient`` (N, D), which sum to
            ``pooled``; ``projection`` (N, feature_dim), the vector the contrastive loss sees. The last four mean nothing of weights converted
            from the authors' linear evaluation or fine-tuning, whose neck is random; ``Encoder.features`` then refuses them.
        """
        self.check_clips(x)
        maps = self.backbone(x)
        masked = self.neck(maps[-1], len(maps[-1]) // len(x))
        out = {f"block{i}": rearrange(b, "(n m) d t v -> n d t v m", n=len(x)) for i, b in enumerate(maps)}
        mask = rearrange(masked.mask, "(n m) (t v) d -> n d t v m", n=len(x), v=maps[-1].shape[3])
        return {
            **out, "feature_map": out[f"block{len(maps) - 1}"], "pooled": masked.pooled,
            "attention_mask": mask, "salient": masked.salient, "non_salient": masked.non_salient, "projection": self.neck.projector(masked.pooled),
        }  # fmt: skip


class SkeAttnCLRSTGCN(SkeAttnCLR):
    """SkeAttnCLR with an ST-GCN backbone, the paper's main one.

    Args:
        layout: joints, graph and body parts.
        num_classes: size of the head; 0 for none.
        in_channels: C of a prepared tensor.
        hidden_channels, hidden_dim, dropout, fast: see ``STGCN``.
        feature_dim, heads, sharpness: see ``AttentionMask``.
        projector_dim: hidden size of the projection; 0 is hidden_dim, as in the paper.
        pool_segments, pool_groups: stretches of time and joints that the contrast pools apart, see ``Pooling`` and
            ``joint_groups``. 1 and ``all`` in the paper.
        embed_blocks: see ``SkeAttnCLR``; block 9 in the paper.
        embed_segments, embed_groups, embed_statistics: how the vector is pooled. 1, ``all`` and ``mean`` in the paper.
        embed_input: channels of the input, from the first on, whose ``InputStatistics`` end the vector. 0 in the paper.
        embed_path: stretches of time in which the joints' mean places stand there too, see ``InputStatistics``. 0 in the paper.
    """

    def __init__(
        self,
        layout: Layout,
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
        pool_groups: str = "all",
        embed_blocks: Sequence[int] = (9,),
        embed_segments: int = 1,
        embed_groups: str = "all",
        embed_statistics: Sequence[str] = ("mean",),
        embed_input: int = 0,
        embed_path: int = 0,
    ) -> None:
        backbone = STGCN(layout, in_channels, hidden_channels, hidden_dim, dropout, fast)
        pooling = Pooling(pool_segments, joint_groups(layout, pool_groups))
        neck = AttentionMask(hidden_dim, feature_dim, projector_dim or hidden_dim, heads, sharpness, fast, pooling)
        embed_pooling = Pooling(embed_segments, joint_groups(layout, embed_groups), embed_statistics)
        super().__init__(backbone, neck, num_classes, embed_blocks, embed_pooling, input_statistics(layout, embed_input, embed_path, in_channels))


class SkeAttnCLRBiGRU(SkeAttnCLR):
    """SkeAttnCLR with the BiGRU backbone: the vector is the last time step, the mask acts on time steps.

    Args:
        layout, num_classes, in_channels: see ``SkeAttnCLRSTGCN``.
        hidden_size, num_layers, num_persons: see ``BiGRU``.
        feature_dim, heads, sharpness: see ``AttentionMask``. The authors' GRU code never passes its sharpness on, so it is 2 there.
        projector_dim: hidden size of the projection; 0 is hidden_size, as in the authors' code.
    """

    def __init__(
        self,
        layout: Layout,
        num_classes: int = 0,
        in_channels: int = 3,
        hidden_size: int = 1024,
        num_layers: int = 3,
        num_persons: int = 2,
        feature_dim: int = 128,
        heads: int = 8,
        sharpness: float = 2.0,
        projector_dim: int = 0,
    ) -> None:
        backbone = BiGRU(len(layout), in_channels, hidden_size, num_layers, num_persons)
        neck = AttentionMask(2 * hidden_size, feature_dim, projector_dim or hidden_size, heads, sharpness, pooling=LastStep())
        super().__init__(backbone, neck, num_classes, [num_layers - 1])


class SkeAttnCLRDSTA(SkeAttnCLR):
    """SkeAttnCLR with the DSTA-Net transformer backbone: spatial, then temporal tanh attention in every block.

    Args:
        layout, num_classes, in_channels: see ``SkeAttnCLRSTGCN``.
        blocks, num_subsets, num_frames, global_temporal: see ``DSTA``. The authors give one list of blocks, in a test of their own.
        feature_dim, heads, sharpness: see ``AttentionMask``.
        projector_dim: hidden size of the projection; 0 is the last block's channels, as in the paper.
    """

    def __init__(
        self,
        layout: Layout,
        num_classes: int = 0,
        in_channels: int = 3,
        blocks: Sequence[Sequence[int]] = PAPER_BLOCKS,
        num_subsets: int = 3,
        num_frames: int = 64,
        global_temporal: bool = False,
        feature_dim: int = 128,
        heads: int = 8,
        sharpness: float = 2.0,
        projector_dim: int = 0,
    ) -> None:
        backbone = DSTA(len(layout), in_channels, blocks, num_subsets, num_frames, global_temporal=global_temporal)
        dim = backbone.widths[-1]
        super().__init__(backbone, AttentionMask(dim, feature_dim, projector_dim or dim, heads, sharpness), num_classes, [len(blocks) - 1])
        with (
            torch.no_grad()
        ):  # as the authors redraw them: with DSTA-Net's own, a block multiplies by 1000 until BatchNorm has statistics, and eight of them overflow
            for module in backbone.modules():
                if isinstance(module, nn.Conv2d):
                    module.weight.normal_(std=0.02)
                    module.bias.zero_()  # type: ignore[union-attr]
