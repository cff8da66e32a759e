"""STRL for inference: BatchNorm folded, maps that follow one another made one, the four temporal branches reduced at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelzoo.nets.folding import Convolution, Dense, Mix, Stack, fold, scale_shift
from skelzoo.nets.gin import GINEncoder
from skelzoo.nets.strl import STRL, MultiScaleTemporal, STRLLayer


class Encoding(nn.Module):
    """A GIN encoder on (B, T, V, C): of every layer the sum over neighbours, and two maps with their activations."""

    def __init__(self, encoder: GINEncoder, neighbours: Tensor) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for layer in encoder.layers:
            linear1, norm1, act1, linear2, norm2, act2 = layer.mlp  # type: ignore[misc]
            parts += [Mix(neighbours.T), Dense(*fold(linear1, norm1)), act1, Dense(*fold(linear2, norm2)), act2]
        self.parts = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, V, dim) -> (B, T, V, hidden_dim)."""
        return self.parts(x)  # type: ignore[no-any-return]


class Temporal(nn.Module):
    """``MultiScaleTemporal`` on (B, T, V, C)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, temporal: MultiScaleTemporal) -> None:
        super().__init__()
        near, far, peak, _ = temporal.branches
        weights, biases = zip(*(fold(branch[0], branch[1]) for branch in temporal.branches), strict=True)  # type: ignore[index]
        self.reduce = Dense(torch.cat(weights), torch.cat(biases))
        self.near, self.far = (Convolution(*fold(branch[3], branch[4]), dilation=d) for branch, d in ((near, 1), (far, 2)))  # type: ignore[index]
        scale, shift = scale_shift(peak[4])  # type: ignore[index]
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, V, C) -> (B, T, V, C)."""
        near, far, peak, plain = self.reduce(x).chunk(4, 3)
        near, far, peak = (branch.relu() for branch in (near, far, peak))
        peak = F.max_pool2d(peak.permute(0, 3, 1, 2), (3, 1), 1, (1, 0)).permute(0, 2, 3, 1)
        return torch.cat([self.near(near), self.far(far), peak * self.scale + self.shift, plain], 3)


class Layer(nn.Module):
    """A layer of STRL with the GIN encoder of a person, on (B, T, V, C)."""

    def __init__(self, layer: STRLLayer, encoder: GINEncoder, neighbours: Tensor) -> None:
        super().__init__()
        self.encoding, self.temporal = Encoding(encoder, neighbours), Temporal(layer.temporal)
        weight, bias = fold(layer.mix, layer.norm)
        weight = weight.flatten(1)
        skip, shift = fold(layer.skip)
        bias = bias + weight @ shift
        encoded = weight
        if isinstance(layer.adapt, nn.Conv2d):
            encoded, shift = fold(layer.adapt)
            bias, encoded = bias + weight @ shift, weight @ encoded.flatten(1)
        self.skip, self.encoded = Dense(weight @ skip.flatten(1), bias), Dense(encoded, torch.zeros_like(bias))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, V, dim) -> (B, T, V, dim)."""
        spatial = self.skip(x).add_(self.encoded(self.encoding(x).sum(2, keepdim=True)))
        return self.temporal(spatial.relu_()).add_(x).relu_()  # type: ignore[no-any-return]


class Embedding(nn.Module):
    """Joint embedding plus position of the frame."""

    position: Tensor

    def __init__(self, embedding: nn.Module, position: Tensor) -> None:
        super().__init__()
        self.embedding = Dense(*fold(embedding))
        self.register_buffer("position", position[:, None])

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, V, C) -> (B, T, V, dim)."""
        return self.embedding(x).add_(self.position[: x.shape[1]])  # type: ignore[no-any-return]


def strl_stack(net: STRL, person: int) -> Stack:
    """The form of one person."""
    encoders = [of_layer[person] for of_layer in net.encoders]  # type: ignore[index]
    layers: list[nn.Module] = [
        Layer(layer, encoders[i if len(encoders) > 1 else 0], net.neighbours)  # type: ignore[arg-type]
        for i, layer in enumerate(net.layers)
    ]
    layers[0] = nn.Sequential(Embedding(net.embedding, net.position), layers[0])
    return Stack(layers, net.pooling, net.embed_layers)
