"""The graph autoencoder of SkeletonMAE (ICCV 2023): GIN layers on single frames, a mask token, a decoder of one layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skelzoo.nets.graph import undirected_adjacency
from skelzoo.skeleton.layouts import Layout

ACTIVATIONS = ("prelu", "relu")


def activation(name: str) -> nn.Module:
    """PReLU with one slope, or ReLU. Raises ValueError for another name."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is not one of {', '.join(ACTIVATIONS)}")
    return nn.PReLU() if name == "prelu" else nn.ReLU()


class GINLayer(nn.Module):
    """Sum of a joint and its neighbours, Linear-BN-act-Linear, then BN-act unless it is the last (GIN with eps fixed at 0).

    Args:
        channels_in, channels_hidden, channels_out: widths around the two linear maps.
        act: ``prelu`` (paper's text) or ``relu`` (its figure 2).
        last: without the trailing BN and activation, as in the decoder.
    """

    def __init__(self, channels_in: int, channels_hidden: int, channels_out: int, act: str = "prelu", last: bool = False) -> None:
        super().__init__()
        if min(channels_in, channels_hidden, channels_out) < 1:
            raise ValueError(f"widths {channels_in}, {channels_hidden} and {channels_out} must be at least 1")
        hidden = [nn.Conv2d(channels_in, channels_hidden, 1), nn.BatchNorm2d(channels_hidden), activation(act), nn.Conv2d(channels_hidden, channels_out, 1)]
        self.mlp = nn.Sequential(*hidden, *([] if last else [nn.BatchNorm2d(channels_out), activation(act)]))

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        """(B, Cin, T, V) and the adjacency with self loops (V, V) -> (B, Cout, T, V); every frame is a graph of its own."""
        out: Tensor = self.mlp(x @ neighbours)
        return out


class GINEncoder(nn.Module):
    """Encoder of SkeletonMAE: GIN layers ``dim`` -> ``hidden_dim`` -> ... -> ``hidden_dim``.

    Args:
        dim: width of the joint embedding, D = 64 in the paper.
        hidden_dim: D_h, not given in the paper.
        num_layers: L_D, 3 in the paper.
        act: see ``GINLayer``.
    """

    def __init__(self, dim: int = 64, hidden_dim: int = 64, num_layers: int = 3, act: str = "prelu") -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"{num_layers} GIN layers; at least 1 is needed")
        self.layers = nn.ModuleList(GINLayer(hidden_dim if i else dim, hidden_dim, hidden_dim, act) for i in range(num_layers))

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        """(B, dim, T, V) and the adjacency with self loops (V, V) -> (B, hidden_dim, T, V)."""
        for layer in self.layers:
            x = layer(x, neighbours)
        return x


class SkeletonMAE(nn.Module):
    """Masked graph autoencoder on single frames (SkeletonMAE, section 3.1); trained by ``skelzoo.learn.pretrain.skeletonmae``.

    Args:
        layout: joints and graph.
        in_channels: coordinates of a joint.
        dim, hidden_dim, num_layers, act: see ``GINEncoder``.
        torso_links: see ``undirected_adjacency``.
        out_channels: width of the reconstruction; 0 is ``dim``, that of the embedding.
        remask: the decoder sees zeros at masked joints (figure 2), not what the encoder made of them.
    """

    def __init__(
        self,
        layout: Layout,
        in_channels: int = 2,
        dim: int = 64,
        hidden_dim: int = 64,
        num_layers: int = 3,
        act: str = "prelu",
        torso_links: bool = True,
        out_channels: int = 0,
        remask: bool = True,
    ) -> None:
        super().__init__()
        self.remask = remask
        self.neighbours: Tensor
        self.register_buffer("neighbours", undirected_adjacency(layout, torso_links) + torch.eye(len(layout)), persistent=False)
        self.embedding = nn.Conv2d(in_channels, dim, 1)
        self.mask_token = nn.Parameter(torch.zeros(dim))
        self.encoder = GINEncoder(dim, hidden_dim, num_layers, act)
        self.to_decoder = nn.Conv2d(hidden_dim, hidden_dim, 1, bias=False)
        self.decoder = GINLayer(hidden_dim, hidden_dim, out_channels or dim, act, last=True)

    def forward(self, x: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct masked joints.

        Args:
            x: (B, C, T, V); every frame is a graph.
            masked: (B, T, V) bool.

        Returns:
            The reconstruction (B, out_channels, T, V) of every joint, and the embedding it started from (B, dim, T, V).
        """
        masked = masked[:, None]
        embedded = self.embedding(x)
        hidden = self.to_decoder(self.encoder(torch.where(masked, self.mask_token[:, None, None], embedded), self.neighbours))
        return self.decoder(hidden.masked_fill(masked, 0) if self.remask else hidden, self.neighbours), embedded
