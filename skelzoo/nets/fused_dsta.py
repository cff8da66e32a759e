"""DSTA-Net for inference: BatchNorm folded, codes of positions added after the map they are linear in, shortcuts inside the convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from skelzoo.nets.dsta import DSTA, DSTABlock, TanhAttention
from skelzoo.nets.folding import Convolution, Dense, Stack, fold


class Leaky(nn.Module):
    """The activation of DSTA-Net, in place."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return F.leaky_relu_(x, 0.1)


class Attention(nn.Module):
    """The maps of ``TanhAttention`` and the sums over nodes with them, on (B, L, nodes, C)."""

    alpha: Tensor | None
    global_maps: Tensor | None

    def __init__(self, attention: TanhAttention) -> None:
        super().__init__()
        self.subsets, self.query_key = attention.subsets, None
        if attention.query_key is not None:
            weight, bias = fold(attention.query_key)
            if attention.code is not None:
                bias = attention.code.T @ weight.flatten(1).T + bias
            self.query_key = Dense(weight, bias)
        self.register_buffer("alpha", attention.alpha)
        self.register_buffer("global_maps", attention.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, nodes, C) -> (B, L, nodes, S*C)."""
        maps = x.new_zeros(1, self.subsets, x.shape[2], x.shape[2]) if self.global_maps is None else self.global_maps[None]
        if self.query_key is not None and self.alpha is not None:
            q, k = rearrange(self.query_key(x), "b l n (two s c) -> two b s n (l c)", two=2, s=self.subsets)
            maps = maps + torch.tanh(q @ k.transpose(2, 3) / q.shape[3]) * self.alpha
        maps = rearrange(maps, "b s u v -> b (v s) u")
        # The first product copies the maps to every frame, which few channels do not pay for.
        apart = x.shape[3] > x.shape[2]
        mixed = maps[:, None] @ x if apart else rearrange(maps @ rearrange(x, "b l u c -> b u (l c)"), "b r (l c) -> b l r c", c=x.shape[3])
        return rearrange(mixed, "b l (v s) c -> b l v (s c)", s=self.subsets)


class AttendAndForward(nn.Module):
    """Attention and feed-forward, each with a shortcut from the input.

    Args:
        parts: the attention, the maps after it and of the feed-forward, and the two shortcuts.
        stride: of the nodes, in the feed-forward.
    """

    def __init__(self, attention: TanhAttention, out: nn.Module, forward: nn.Module, shortcut1: nn.Module, shortcut2: nn.Module, stride: int = 1) -> None:
        super().__init__()
        self.attention, self.stride = Attention(attention), stride
        self.out, self.feed_forward, self.shortcut1, self.shortcut2 = (_dense(part) for part in (out, forward, shortcut1, shortcut2))
        self.leaky = Leaky()

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, nodes, C) -> (B, L, ceil(nodes / stride), O)."""
        y = self.leaky(self.out(self.attention(x)).add_(self.shortcut1(x)))[:, :, :: self.stride]
        return self.leaky(self.feed_forward(y).add_(self.shortcut2(x[:, :, :: self.stride])))  # type: ignore[no-any-return]


class OverFrames(nn.Module):
    """A module on (B, V, T, C) run on (B, T, V, C)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, V, C) -> (B, T', V, O)."""
        return self.module(x.transpose(1, 2).contiguous()).transpose(1, 2).contiguous()  # type: ignore[no-any-return]


def _dense(part: nn.Module) -> nn.Module:
    return Dense(*fold(*part)) if isinstance(part, nn.Sequential) else nn.Identity()


def _convolution(part: nn.Module, shortcut: nn.Module) -> nn.Sequential:
    """A convolution plus a 1x1 one of the same input and stride, or plus the input: one convolution, and the activation."""
    assert isinstance(part, nn.Sequential) and isinstance(part[0], nn.Conv2d)
    weight, bias = fold(*part)
    centre = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
    if isinstance(shortcut, nn.Sequential):
        extra, shift = fold(*shortcut)
        centre, bias = extra[:, :, 0, 0], bias + shift
    weight = weight.clone()
    weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2] += centre
    return nn.Sequential(Convolution(weight, bias, part[0].stride[0]), Leaky())


def _block(b: DSTABlock) -> nn.Sequential:
    if b.spatial is None:
        spatial: nn.Module = _convolution(b.spatial_out, b.spatial_shortcut2)
    else:
        spatial = AttendAndForward(b.spatial, b.spatial_out, b.spatial_forward, b.spatial_shortcut1, b.spatial_shortcut2)
    if b.temporal is None:
        return nn.Sequential(spatial, _convolution(b.temporal_out, b.temporal_shortcut2))
    forward: nn.Conv2d = b.temporal_forward[0]  # type: ignore[assignment]
    temporal = AttendAndForward(b.temporal, b.temporal_out, b.temporal_forward, b.temporal_shortcut1, b.temporal_shortcut2, forward.stride[0])
    return nn.Sequential(spatial, OverFrames(temporal))


def dsta_stack(net: DSTA, pooling: nn.Module, wanted: Sequence[int]) -> Stack:
    """The form of one stream of one person."""
    first = nn.Sequential(Dense(*fold(net.input_conv, net.input_norm)), Leaky())
    blocks = [_block(block) for block in net.blocks]  # type: ignore[arg-type]
    blocks[0] = nn.Sequential(first, *blocks[0])
    return Stack(blocks, pooling, wanted)


class Streams(nn.Module):
    """Streams on the channel axis through one form, side by side.

    Args:
        stream: (B, C, T, V) -> (B, D).
        count: of streams, S.
    """

    def __init__(self, stream: nn.Module, count: int) -> None:
        super().__init__()
        self.stream, self.count = stream, count

    def forward(self, x: Tensor) -> Tensor:
        """(B, S*C, T, V) -> (B, S*D)."""
        vectors: Tensor = rearrange(self.stream(torch.cat(x.chunk(self.count, 1))), "(s b) d -> b (s d)", s=self.count)
        return vectors
