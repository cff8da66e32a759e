"""What the fused forms are made of: convolutions with BatchNorm folded in, on tensors (B, T, V, C), the memory of channels-last images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from skelzoo.nets.pooling import Pooling, pool


def scale_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """What a BatchNorm does to a channel in evaluation: times the first, plus the second; each (C,)."""
    assert isinstance(norm, _BatchNorm) and norm.running_var is not None and norm.running_mean is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


def fold(conv: nn.Module, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """Weight (O, C, ...) and bias (O,) of a convolution with the BatchNorm after it."""
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    if norm is None:
        return conv.weight, conv.bias
    scale, shift = scale_shift(norm)
    return conv.weight * scale[:, None, None, None], conv.bias * scale + shift


LAYS_OUT = hasattr(torch.ops.mkldnn, "_convolution_pointwise") and torch.backends.cpu.get_cpu_capability().startswith("AVX")
"""Whether this torch and processor have the convolution that ``torch.compile`` makes of ``F.conv2d``: oneDNN's, with weights laid out beforehand."""

KEPT = 2
"""Shapes of inputs, the first ones seen, for which something is kept: those of a person or two at a time, or of full micro-batches."""


class Kept(dict[Any, Any]):
    """What a module makes for a shape of inputs. Copies and pickles go without it, as oneDNN's tensors have neither."""

    def of(self, shape: Any, make: Callable[[], Any]) -> Any:
        """What was kept for the shape, or else is made now."""
        if shape in self:
            return self[shape]
        made = make()
        if len(self) < KEPT:
            self[shape] = made
        return made

    def __reduce__(self) -> tuple[type[Kept], tuple[()]]:
        return Kept, ()


class Folded(nn.Module):
    """Weights of a convolution."""

    weight: Tensor
    bias: Tensor
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self._laid_out = Kept()

    def convolve(self, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, C, T, V) -> (B, O, T', V), as ``F.conv2d``, which on a CPU lays out the weights in every call: 3 to 15 % of the time of one clip (measured)."""
        usual = not LAYS_OUT or not torch.backends.mkldnn.enabled or torch.compiler.is_compiling()
        if usual or not images.is_cpu or images.dtype != torch.float32 or (torch.is_grad_enabled() and images.requires_grad):
            return F.conv2d(images, weight, bias, self.stride, self.padding, self.dilation)
        sizes, ops = (self.padding, self.stride, self.dilation, 1), torch.ops.mkldnn
        laid_out = self._laid_out.of(images.shape, lambda: ops._reorder_convolution_weight(weight, *sizes, images.shape))
        out: Tensor = ops._convolution_pointwise(images, laid_out, bias, *sizes, "none", [], "")
        return out


class Dense(Folded):
    """A linear map of the channels.

    Args:
        weight: (O, C), or (O, C, 1, 1) as a convolution has it.
        bias: (O,), or (V, O) where it differs from joint to joint.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__(weight.flatten(1).contiguous(), bias.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """(..., V, C) -> (..., V, O)."""
        bias = self.bias if self.bias.ndim == 1 else None
        if x.is_cpu:
            # oneDNN's convolution is up to 2.5 times as fast as the BLAS behind F.linear; on one thread torch takes it from 16 images up.
            images = x.reshape(x.shape[-2], -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
            y = self.convolve(images, self.weight[:, :, None, None], bias).permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)
        else:
            y = F.linear(x, self.weight, bias)
        return y if bias is not None else y.add_(self.bias[: x.shape[-2]])


class Convolution(Folded):
    """A convolution over frames and joints that keeps the joints.

    Args:
        weight: (O, C, frames, joints), both odd.
        bias: (O,).
        stride, dilation: of the frames.
    """

    def __init__(self, weight: Tensor, bias: Tensor, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(weight.contiguous(memory_format=torch.channels_last), bias)
        self.stride, self.dilation = (stride, 1), (dilation, 1)
        self.padding = (dilation * (weight.shape[2] // 2), weight.shape[3] // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, V, C) -> (B, ceil(T / stride), V, O)."""
        return self.convolve(x.permute(0, 3, 1, 2), self.weight, self.bias).permute(0, 2, 3, 1)


class Mix(nn.Module):
    """Sums over joints with fixed weights, most of them zero.

    Args:
        matrix: (R, V), a row for each sum.
    """

    matrix: Tensor
    joints: Tensor
    starts: Tensor
    weights: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        rows, joints = matrix.nonzero(as_tuple=True)
        self.register_buffer("matrix", matrix)
        self.register_buffer("joints", joints.int())
        self.register_buffer("starts", torch.searchsorted(rows, torch.arange(len(matrix), device=rows.device)).int())
        self.register_buffer("weights", matrix[rows, joints])
        self._bags = Kept()

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, V, C) -> (B, T, R, C)."""
        if not x.is_cpu:
            return self.matrix @ x
        # Skips the zeros: 3 to 6 times as fast as the product of small matrices.
        count = x.shape[0] * x.shape[1]
        indices, starts, weights = self._bags_of(count) if torch.compiler.is_compiling() else self._bags.of(count, lambda: self._bags_of(count))
        sums = F.embedding_bag(indices, x.reshape(-1, x.shape[3]), starts, mode="sum", per_sample_weights=weights)
        return sums.view(*x.shape[:2], -1, x.shape[3])

    def _bags_of(self, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """For every sum of so many frames: its joints, where they begin, their weights."""
        with torch.inference_mode(False):
            each = torch.arange(frames, dtype=torch.int32, device=self.joints.device)[:, None]
            joints, starts = self.joints + self.matrix.shape[1] * each, self.starts + len(self.joints) * each
            return joints.flatten(), starts.flatten(), self.weights.repeat(frames)


class Stack(nn.Module):
    """Blocks one after another on one person; the vector is the outputs of some of them, pooled.

    Args:
        blocks: (B, T, V, C) -> (B, T', V, C').
        pooling: see ``Pooling``.
        wanted: indices of the blocks whose outputs are pooled, in the vector's order. Later blocks are not run.
    """

    def __init__(self, blocks: Sequence[nn.Module], pooling: nn.Module, wanted: Sequence[int]) -> None:
        super().__init__()
        assert isinstance(pooling, Pooling)
        self.blocks, self.pooling, self.wanted = nn.ModuleList(blocks[: max(wanted) + 1]), pooling, tuple(wanted)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, V) -> (B, D)."""
        x, pooled = rearrange(x, "b c t v -> b t v c").contiguous(), {}
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.wanted:
                pooled[i] = pool(self.pooling, x.permute(0, 3, 1, 2), len(x))
        return torch.cat([pooled[i] for i in self.wanted], 1)
