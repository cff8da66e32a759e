"""ST-GCN for inference: BatchNorm and edge importance folded away, the cheaper order of sums in every block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from skelzoo.nets.folding import Convolution, Dense, Mix, Stack, fold, scale_shift
from skelzoo.nets.stgcn import STGCN, STGCNBlock


class Block(nn.Module):
    """A block of ST-GCN on (B, T, V, C).

    Args:
        block: the trained one.
        adjacency: (3, V, V).
        norm: the BatchNorm on the net's input, for the first block. Its few channels go through one matrix over joints and channels;
            wider blocks are faster with the joints mixed first (measured on CPUs from 16 channels up).
    """

    def __init__(self, block: STGCNBlock, adjacency: Tensor, norm: nn.Module | None) -> None:
        super().__init__()
        edges, (scale, shift) = adjacency * block.edge_importance, scale_shift(block.norm1)
        weight, bias = fold(block.graph_conv)
        weight = rearrange(weight, "(k o) c 1 1 -> k o c", k=3) * scale[:, None]
        bias = torch.einsum("ko,kvw->wo", rearrange(bias, "(k o) -> k o", k=3), edges) * scale + shift
        self.mix = None
        if norm is None:
            self.mix = Mix(rearrange(edges, "k v w -> (w k) v"))
            self.graph_conv = Dense(rearrange(weight, "k o c -> o (k c)"), bias)
        else:
            scale, shift = scale_shift(norm)
            matrix = rearrange(torch.einsum("kvw,koc->wovc", edges, weight), "w o v c -> (w o) (v c)")
            self.graph_conv = Dense(matrix * scale, bias.flatten() + matrix @ shift)
        self.stride = block.temporal_conv.stride[0]
        self.temporal_conv = Convolution(*fold(block.temporal_conv, block.norm2), self.stride)
        self.residual = block.residual
        self.shortcut = Dense(*fold(*block.shortcut)) if isinstance(block.shortcut, nn.Sequential) else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, V, C) -> (B, ceil(T / stride), V, O)."""
        if self.mix is None:
            y = rearrange(self.graph_conv(x.flatten(2)), "b t (v o) -> b t v o", v=x.shape[2])
        else:
            y = self.graph_conv(rearrange(self.mix(x), "b t (v k) c -> b t v (k c)", k=3))
        y = self.temporal_conv(y.relu_())
        if self.residual:
            y += self.shortcut(x[:, :: self.stride])
        return y.relu_()  # type: ignore[no-any-return]


def stgcn_stack(net: STGCN, pooling: nn.Module, wanted: Sequence[int]) -> Stack:
    """The form of one person."""
    blocks = [Block(block, net.adjacency, None if i else net.input_norm) for i, block in enumerate(net.blocks)]  # type: ignore[arg-type]
    return Stack(blocks, pooling, wanted)
