"""ST-GCN as SkeAttnCLR uses it: ten blocks, 2s-AGCN partitions, learned edge importance, 9-tap temporal convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn

from skelzoo.nets.graph import GRAPHS
from skelzoo.nets.net import Net
from skelzoo.skeleton.layouts import Layout

DENSE_LIMIT = 640
"""Joints times channels up to which one matrix over both beats mixing joints and channels apart (measured on a CPU in bf16)."""


class STGCNBlock(nn.Module):
    """Graph convolution, BatchNorm, ReLU, 9-tap temporal convolution, BatchNorm, dropout, plus residual, ReLU.

    Args:
        residual: False only for the first block.
        fast: see ``STGCN``.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, joints: int, dropout: float, residual: bool, fast: bool) -> None:
        super().__init__()
        self.fast = fast
        self.graph_conv = nn.Conv2d(channels_in, 3 * channels_out, 1)
        self.edge_importance = nn.Parameter(torch.ones(3, joints, joints))
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.temporal_conv = nn.Conv2d(channels_out, channels_out, (9, 1), (stride, 1), (4, 0))
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.dropout = nn.Dropout(dropout)
        self.residual = residual
        self.shortcut: nn.Module = nn.Identity()
        if residual and (channels_in != channels_out or stride != 1):
            self.shortcut = nn.Sequential(nn.Conv2d(channels_in, channels_out, 1), nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """(B, Cin, T, V) and (3, V, V) -> (B, Cout, T / stride, V)."""
        adjacency = adjacency * self.edge_importance
        y = self._graph_conv_fast(x, adjacency) if self.fast else self._graph_conv(x, adjacency)
        y = self.dropout(self.norm2(self.temporal_conv(F.relu(self.norm1(y)))))
        # Frames are left out here and not by the convolution: with channels last, and not a multiple of 8 of them, the backward pass of
        # oneDNN's 1x1 convolution with a stride writes where it must not on processors without AVX-512 (torch 2.13).
        return F.relu(y + self.shortcut(x[:, :, :: self.temporal_conv.stride[0]])) if self.residual else F.relu(y)

    def _graph_conv(self, x: Tensor, adjacency: Tensor) -> Tensor:
        y = rearrange(self.graph_conv(x), "b (k c) t v -> b k c t v", k=3)
        return torch.einsum("bkctv,kvw->bctw", y, adjacency)

    def _graph_conv_fast(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """The same sum without copies: one matrix over joints and channels where that is small, else the graph mix first."""
        weight, bias = rearrange(self.graph_conv.weight, "(k o) c 1 1 -> k o c", k=3), self.graph_conv.bias
        assert bias is not None
        bias = torch.einsum("ko,kw->wo", rearrange(bias, "(k o) -> k o", k=3), adjacency.sum(1))
        x = rearrange(x, "b c t v -> b t v c")
        if x.shape[2] * x.shape[3] <= DENSE_LIMIT:
            matrix = rearrange(torch.einsum("kvw,koc->wovc", adjacency, weight), "w o v c -> (w o) (v c)")
            y = F.linear(rearrange(x, "b t v c -> b t (v c)"), matrix, bias.flatten())
            return rearrange(y, "b t (w o) -> b o t w", w=x.shape[2])
        mixed = torch.matmul(rearrange(adjacency, "k v w -> (w k) v"), x)
        y = F.linear(rearrange(mixed, "b t (w k) c -> b t w (k c)", k=3), rearrange(weight, "k o c -> o (k c)"))
        return rearrange(y + bias.to(y.dtype), "b t w o -> b o t w")


class STGCN(nn.Module):
    """ST-GCN backbone (Yan et al. 2018), as the code of SkeAttnCLR's authors has it; see docs/skeattnclr.md.

    Args:
        layout: its joints are V and its edges the graph.
        in_channels: C of the input.
        hidden_channels: width c of the first blocks; 64 in the paper. Blocks are c, c, c, c, 2c, 2c, 2c, 4c, 4c, D.
        hidden_dim: D of the last block; 256 in the paper.
        dropout: inside every block but the first.
        fast: order the sums of the graph convolution for speed, in channels-last memory. Equal up to float
            rounding (relative 1e-6); the default is the order of the paper's code.
        graph: ``agcn``, the partitions of 2s-AGCN, as SkeAttnCLR has it, or ``spatial``, those of ST-GCN; see ``graph.py``.
    """

    def __init__(
        self,
        layout: Layout,
        in_channels: int = 3,
        hidden_channels: int = 64,
        hidden_dim: int = 256,
        dropout: float = 0.5,
        fast: bool = False,
        graph: str = "agcn",
    ) -> None:
        super().__init__()
        if hidden_channels < 1 or hidden_dim < 1 or graph not in GRAPHS:
            raise ValueError(f"widths {hidden_channels} and {hidden_dim} must be at least 1, and graph {graph!r} one of {', '.join(GRAPHS)}")
        self.fast = fast
        joints, c = len(layout), hidden_channels
        self.adjacency: Tensor
        self.register_buffer("adjacency", GRAPHS[graph](layout), persistent=False)
        self.input_norm = nn.BatchNorm1d(joints * in_channels)
        widths = [in_channels, c, c, c, c, 2 * c, 2 * c, 2 * c, 4 * c, 4 * c, hidden_dim]
        self.widths = tuple(widths[1:])
        self.blocks = nn.ModuleList(
            STGCNBlock(widths[i], widths[i + 1], 2 if i in (4, 7) else 1, joints, dropout if i else 0.0, residual=i > 0, fast=fast) for i in range(10)
        )

    def forward(self, x: Tensor, last: int | None = None) -> list[Tensor]:
        """(N, C, T, V, M) -> the outputs of blocks 0 to ``last``, each (N*M, C_i, T_i, V), rows ordered n*M + m.

        Time is halved in blocks 4 and 7: T' = ceil(ceil(T/2)/2).
        """
        n, c, _, v, m = x.shape
        x = self.input_norm(rearrange(x, "n c t v m -> (n m) (v c) t", c=c, v=v, n=n, m=m))
        x = rearrange(x, "b (v c) t -> b c t v", v=v).contiguous(memory_format=torch.channels_last if self.fast else torch.contiguous_format)
        outputs = []
        for block in self.blocks[: None if last is None else last + 1]:
            x = block(x, self.adjacency)
            outputs.append(x)
        return outputs


class STGCNClassifier(Net):
    """ST-GCN with a mean over frames, joints and persons and a linear head: the encoder of SkeletonCLR, CrosSCLR and AimCLR.

    Args:
        layout: joints and graph.
        num_classes: size of the head; 0 for none.
        in_channels: C of a prepared tensor.
        hidden_channels, hidden_dim, dropout, fast, graph: see ``STGCN``; theirs by default.
    """

    def __init__(
        self,
        layout: Layout,
        num_classes: int = 0,
        in_channels: int = 3,
        hidden_channels: int = 16,
        hidden_dim: int = 256,
        dropout: float = 0.5,
        fast: bool = False,
        graph: str = "spatial",
    ) -> None:
        super().__init__()
        self.backbone = STGCN(layout, in_channels, hidden_channels, hidden_dim, dropout, fast, graph)
        self.embedding_dim = hidden_dim
        self.head = nn.Linear(hidden_dim, num_classes) if num_classes else None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names ``features`` knows."""
        return (*(f"block{i}" for i in range(len(self.backbone.widths))), "pooled")

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (N, D); absent persons count in the mean, as in the authors' code."""
        self.check_clips(x)
        pooled: Tensor = reduce(self.backbone(x)[-1], "(n m) d t v -> n d", "mean", m=x.shape[-1])
        return pooled

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """``block0`` .. ``block9`` (N, D_i, T_i, V, M), and ``pooled`` (N, D), the vector of ``forward_features``."""
        self.check_clips(x)
        blocks = [rearrange(b, "(n m) d t v -> n d t v m", m=x.shape[-1]) for b in self.backbone(x)]
        return {**{f"block{i}": b for i, b in enumerate(blocks)}, "pooled": reduce(blocks[-1], "n d t v m -> n d", "mean")}
