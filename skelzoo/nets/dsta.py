"""DSTA-Net blocks: tanh attention over joints, then over frames or a temporal convolution. Backbone of PSP and of SkeAttnCLR's transformer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

PAPER_BLOCKS = (
    (64, 64, 16, 1), (64, 64, 16, 1), (64, 128, 32, 2), (128, 128, 32, 1),
    (128, 256, 64, 2), (256, 256, 64, 1), (256, 256, 64, 1), (256, 256, 64, 1),
)  # fmt: skip
"""Input, output and query/key channels and temporal stride of each block, as PSP and DSTA-Net publish them."""


def leaky(x: Tensor) -> Tensor:
    """LeakyReLU of slope 0.1, the activation of DSTA-Net."""
    return F.leaky_relu(x, 0.1)


def conv_norm(channels_in: int, channels_out: int, kernel: tuple[int, int] = (1, 1), stride: int = 1) -> nn.Sequential:
    """Convolution over (time, joints), padded to keep the joints, and BatchNorm."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, (stride, 1), (kernel[0] // 2, kernel[1] // 2))
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out))


def position_code(channels: int, positions: int) -> Tensor:
    """Fixed sinusoid (channels, positions): sin(p w_i), cos(p w_i) interleaved, w_i = 10000^(-2i / channels), in float32."""
    position = torch.arange(positions).float()[:, None]
    rate = torch.exp(torch.arange(0, channels, 2).float() * -(math.log(10000.0) / channels))
    return torch.stack([torch.sin(position * rate), torch.cos(position * rate)], 2).flatten(1).T


class TanhAttention(nn.Module):
    """Attention maps tanh(q . k / size) * alpha + global map, one per subset, without softmax (DSTA-Net).

    Args:
        channels_in, channels_qk: of the input and of one subset's queries.
        nodes: length of the axis attended over, needed for the global map and the position code.
        attend: False leaves the global map alone, without queries and keys.
        initial: the global map's initial value (nodes, nodes); None for no global map.
        coded: add the position code to what queries and keys are made of.
    """

    def __init__(
        self, channels_in: int, channels_qk: int, subsets: int, nodes: int, attend: bool = True, initial: Tensor | None = None, coded: bool = True
    ) -> None:
        super().__init__()
        self.subsets = subsets
        self.code: Tensor | None
        self.register_buffer("code", position_code(channels_in, nodes) if coded else None, persistent=False)
        self.query_key = nn.Conv2d(channels_in, 2 * subsets * channels_qk, 1) if attend else None
        self.alpha = nn.Parameter(torch.ones(subsets, 1, 1)) if attend else None
        self.bias = nn.Parameter(initial.repeat(subsets, 1, 1)) if initial is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, L, nodes) -> (B, subsets, nodes, nodes), or (1, ...) where the maps do not depend on x; L is summed over."""
        nodes = x.shape[3]
        maps = x.new_zeros(1, self.subsets, nodes, nodes)
        if self.query_key is not None and self.alpha is not None:
            coded = x if self.code is None else x + self.code[:, None, :nodes]
            q, k = rearrange(self.query_key(coded), "b (two s c) l v -> two b s c l v", two=2, s=self.subsets)
            maps = torch.tanh(torch.einsum("bsclu,bsclv->bsuv", q, k) / (q.shape[2] * q.shape[3])) * self.alpha
        return maps if self.bias is None else maps + self.bias


def mix(x: Tensor, maps: Tensor) -> Tensor:
    """Sum over the query axis of every subset's map: (B, C, L, V) and (B, S, V, V) -> (B, S*C, L, V), subset-major.

    The index summed over is the query's, not the key's; weights of DSTA-Net and PSP are trained so.
    """
    return rearrange(torch.einsum("bclu,bsuv->bsclv", x, maps.expand(x.shape[0], -1, -1, -1)), "b s c l v -> b (s c) l v")


class DSTABlock(nn.Module):
    """One block: spatial attention and feed-forward, then temporal attention and feed-forward, or a 7-frame convolution.

    Args: see ``DSTA``; frames is T of the block's input.
    """

    def __init__(
        self, block: Sequence[int], joints: int, frames: int, subsets: int, temporal: str, spatial: str, attend: tuple[bool, bool],
        global_maps: tuple[bool, bool], coded: tuple[bool, bool],
    ) -> None:  # fmt: skip
        super().__init__()
        cin, cout, cqk, stride = block
        changed = cin != cout or stride != 1

        def shortcut(channels: int, step: int = 1) -> nn.Module:
            return conv_norm(channels, cout, stride=step) if changed else nn.Identity()

        self.spatial = self.temporal = None
        if spatial == "attention":
            initial = torch.full((joints, joints), 1 / joints) if global_maps[0] else None
            self.spatial = TanhAttention(cin, cqk, subsets, joints, attend[0], initial, coded[0])
            self.spatial_out, self.spatial_forward = conv_norm(subsets * cin, cout), conv_norm(cout, cout)
            self.spatial_shortcut1 = shortcut(cin)
        else:
            self.spatial_out = conv_norm(cin, cout, (1, 3))
        self.spatial_shortcut2 = shortcut(cin)
        if temporal == "attention":
            self.temporal = TanhAttention(cout, cqk, subsets, frames, attend[1], torch.eye(frames) if global_maps[1] else None, coded[1])
            self.temporal_out, self.temporal_forward = conv_norm(subsets * cout, cout), conv_norm(cout, cout, stride=stride)
            self.temporal_shortcut1 = shortcut(cout)
        else:
            self.temporal_out = conv_norm(cout, cout, (7, 1), stride)
        self.temporal_shortcut2 = shortcut(cout, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, T, V) -> (B, Cout, ceil(T / stride), V)."""
        if self.spatial is not None:
            y = leaky(self.spatial_shortcut1(x) + self.spatial_out(mix(x, self.spatial(x))))
            # Both shortcuts start from the block's input.
            y = leaky(self.spatial_shortcut2(x) + self.spatial_forward(y))
        else:
            y = leaky(self.spatial_shortcut2(x) + self.spatial_out(x))
        if self.temporal is None:
            return leaky(self.temporal_shortcut2(y) + self.temporal_out(y))
        frames_last = y.transpose(2, 3)
        z = leaky(self.temporal_shortcut1(y) + self.temporal_out(mix(frames_last, self.temporal(frames_last)).transpose(2, 3)))
        return leaky(self.temporal_shortcut2(y) + self.temporal_forward(z))


class DSTA(nn.Module):
    """DSTA-Net backbone (Shi et al. 2020) in the forms that SkeAttnCLR and PSP use.

    Args:
        joints: V.
        in_channels: C of the input.
        blocks: input, output and query/key channels and temporal stride of each block.
        num_subsets: attention maps per block, S.
        num_frames: most frames T of the input; exactly T with ``global_temporal``.
        temporal: ``attention`` over frames (DSTA-Net, SkeAttnCLR) or ``conv``, 7 frames wide (PSP).
        spatial: ``attention`` over joints, or ``conv``, 3 joints wide (an option of the authors that no published model uses).
        attend_spatial, attend_temporal: maps from queries and keys.
        global_spatial, global_temporal: learned maps that are the same for every clip.
        code_spatial, code_temporal: sinusoidal codes of joint and frame.

    Raises:
        ValueError: blocks that do not follow one another, odd channels, sizes below 1.
    """

    def __init__(
        self,
        joints: int,
        in_channels: int = 3,
        blocks: Sequence[Sequence[int]] = PAPER_BLOCKS,
        num_subsets: int = 3,
        num_frames: int = 64,
        temporal: str = "attention",
        spatial: str = "attention",
        attend_spatial: bool = True,
        attend_temporal: bool = True,
        global_spatial: bool = True,
        global_temporal: bool = False,
        code_spatial: bool = True,
        code_temporal: bool = True,
    ) -> None:
        super().__init__()
        _check(blocks, num_subsets, num_frames, temporal, spatial)
        first = blocks[0][0]
        self.widths, self.num_subsets = tuple(int(b[1]) for b in blocks), num_subsets
        self.num_frames, self.exact_frames = num_frames, temporal == "attention" and global_temporal
        self.limited = temporal == "attention" and attend_temporal and code_temporal
        self.input_conv, self.input_norm = nn.Conv2d(in_channels, first, 1), nn.BatchNorm2d(first)
        self.blocks = nn.ModuleList()
        frames = num_frames
        for block in blocks:
            self.blocks.append(
                DSTABlock(block, joints, frames, num_subsets, temporal, spatial, (attend_spatial, attend_temporal),
                          (global_spatial, global_temporal), (code_spatial, code_temporal))
            )  # fmt: skip
            frames = math.ceil(frames / block[3])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor, last: int | None = None) -> list[Tensor]:
        """(N, C, T, V, M) -> outputs of blocks 0 to ``last``, each (N*M, C_i, T_i, V), rows ordered n*M + m.

        Raises:
            ValueError: more frames than the net was built for, or not exactly as many where it must be.
        """
        self.check_frames(x.shape[2])
        x = leaky(self.input_norm(self.input_conv(rearrange(x, "n c t v m -> (n m) c t v"))))
        outputs = []
        for block in self.blocks[: None if last is None else last + 1]:
            x = block(x)
            outputs.append(x)
        return outputs

    def check_frames(self, frames: int) -> None:
        """Raises ValueError: more frames than the net was built for, or not exactly as many where it must be."""
        if (self.limited and frames > self.num_frames) or (self.exact_frames and frames != self.num_frames):
            raise ValueError(f"{frames} frames, this DSTA-Net was built for {'exactly' if self.exact_frames else 'at most'} {self.num_frames}")


def _check(blocks: Sequence[Sequence[int]], subsets: int, frames: int, temporal: str, spatial: str) -> None:
    if not blocks or any(len(b) != 4 or min(b) < 1 or b[0] % 2 or b[1] % 2 for b in blocks):
        raise ValueError(f"blocks {blocks}: each must be (input, output, query/key channels, stride), all at least 1, input and output even")
    if any(a[1] != b[0] for a, b in itertools.pairwise(blocks)):
        raise ValueError(f"blocks {blocks}: a block's output channels must be the next one's input channels")
    if subsets < 1 or frames < 1 or {temporal, spatial} - {"attention", "conv"}:
        raise ValueError(f"{subsets} subsets, {frames} frames, temporal {temporal!r}, spatial {spatial!r}: at least 1, and attention or conv")
