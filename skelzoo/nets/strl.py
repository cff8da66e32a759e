"""STRL, the network that SkeletonMAE's encoder is fine-tuned in (ICCV 2023): spatial modelling by GIN, time by multi-scale convolutions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from skelzoo.nets.gin import GINEncoder, SkeletonMAE
from skelzoo.nets.graph import undirected_adjacency
from skelzoo.skeleton.layouts import Layout


class MultiScaleTemporal(nn.Module):
    """Four branches of a quarter of the channels each: 5 frames, 5 frames two apart, max over 3 frames, 1x1 (as in CTR-GCN); stride 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % 4:
            raise ValueError(f"{channels} channels do not split into 4 temporal branches")
        width = channels // 4

        def reduce() -> list[nn.Module]:
            return [nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width)]

        def scale(pool: nn.Module) -> nn.Sequential:
            return nn.Sequential(*reduce(), nn.ReLU(), pool, nn.BatchNorm2d(width))

        convs = [nn.Conv2d(width, width, (5, 1), padding=(2 * d, 0), dilation=(d, 1)) for d in (1, 2)]
        self.branches = nn.ModuleList([*(scale(conv) for conv in convs), scale(nn.MaxPool2d((3, 1), 1, (1, 0))), nn.Sequential(*reduce())])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, V) -> (B, C, T, V)."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class STRLLayer(nn.Module):
    """Sum-pooled encoding of every frame added to the 1x1-mapped input, 1x1 + BN + ReLU, multi-scale time, residual, ReLU.

    Args:
        dim: channels in and out.
        hidden_dim: channels of the encoding; mapped to ``dim`` where they differ.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.skip = nn.Conv2d(dim, dim, 1)
        self.adapt = nn.Identity() if hidden_dim == dim else nn.Conv2d(hidden_dim, dim, 1)
        self.mix, self.norm = nn.Conv2d(dim, dim, 1), nn.BatchNorm2d(dim)
        self.temporal = MultiScaleTemporal(dim)

    def forward(self, x: Tensor, encoded: Tensor) -> Tensor:
        """(B, dim, T, V) and its encoding (B, hidden_dim, T, V) -> (B, dim, T, V)."""
        spatial = self.skip(x) + self.adapt(encoded.sum(3, keepdim=True))
        return F.relu(self.temporal(F.relu(self.norm(self.mix(spatial)))) + x)


class STRL(nn.Module):
    """SkeletonMAE's fine-tuning network (section 3.2); ``skelzoo.create("skeletonmae-strl", ...)``.

    Joint embedding plus temporal position embedding, M layers of spatial modelling by GIN encoders and temporal convolution,
    mean over frames, joints and persons (absent ones included), two linear maps.

    Args:
        layout: joints and graph.
        num_classes: size of the head; 0 for none.
        in_channels: C of a prepared tensor.
        dim: D, width of everything, 64 in the paper.
        hidden_dim, encoder_layers, act: of the GIN encoders, see ``GINEncoder``.
        num_layers: M, 3 in the paper.
        num_frames: most frames T of the input, 64 in the paper.
        num_persons: most persons of the input, 2 in the paper; each has encoders of their own.
        share_persons, share_layers: one encoder for all persons, for all layers. Unknown in the paper.
        torso_links: see ``undirected_adjacency``.

    Raises:
        ValueError: sizes below 1, or ``dim`` not a multiple of 4.
    """

    def __init__(
        self,
        layout: Layout,
        num_classes: int = 0,
        in_channels: int = 3,
        dim: int = 64,
        hidden_dim: int = 64,
        encoder_layers: int = 3,
        num_layers: int = 3,
        num_frames: int = 64,
        num_persons: int = 2,
        share_persons: bool = False,
        share_layers: bool = False,
        torso_links: bool = True,
        act: str = "prelu",
    ) -> None:
        super().__init__()
        if min(dim, num_layers, num_frames, num_persons) < 1:
            raise ValueError(f"{dim} channels, {num_layers} layers, {num_frames} frames and {num_persons} persons must be at least 1")
        self.layout, self.in_channels, self.torso_links, self.num_persons = layout, in_channels, torso_links, num_persons
        self.encoder_sizes = (dim, hidden_dim, encoder_layers, act)
        self.embedding_dim = dim
        self.neighbours: Tensor
        self.register_buffer("neighbours", undirected_adjacency(layout, torso_links) + torch.eye(len(layout)), persistent=False)
        self.embedding = nn.Conv2d(in_channels, dim, 1)
        self.position = nn.Parameter(0.02 * torch.randn(num_frames, dim))
        self.encoders = nn.ModuleList(
            nn.ModuleList(GINEncoder(*self.encoder_sizes) for _ in range(1 if share_persons else num_persons)) for _ in range(1 if share_layers else num_layers)
        )
        self.layers = nn.ModuleList(STRLLayer(dim, hidden_dim) for _ in range(num_layers))
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, num_classes)) if num_classes else None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names ``features`` knows."""
        return ("embedded", "encoded", *(f"layer{i}" for i in range(len(self.layers))), "pooled")

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (N, dim).

        Raises:
            ValueError: more frames or persons than the net was built for.
        """
        h = self._embed(x)
        for i, layer in enumerate(self.layers):
            h = layer(h, self._encode(i, h, x.shape[4]))
        return self._pool(h, x.shape[4])

    def forward_head(self, z: Tensor) -> Tensor:
        """(N, dim) -> logits (N, classes); (N, 0) without a head."""
        return z.new_zeros(len(z), 0) if self.head is None else self.head(z)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> logits (N, classes)."""
        return self.forward_head(self.forward_features(x))

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Everything the net computes on the way, by name.

        Returns:
            ``embedded`` (N, dim, T, V, M), the input of the first layer; ``encoded`` (N, hidden_dim, T, V, M), what its GIN
            encoders make of it (before fine-tuning the one pretrained representation); ``layer0`` .. (N, dim, T, V, M), outputs of
            the layers; ``pooled`` (N, dim), the vector of ``forward_features``.
        """
        persons = x.shape[4]
        h = self._embed(x)
        maps = {"embedded": h}
        for i, layer in enumerate(self.layers):
            encoded = self._encode(i, h, persons)
            h = layer(h, encoded)
            maps |= {"encoded": encoded, "layer0": h} if i == 0 else {f"layer{i}": h}
        out = {name: rearrange(m, "(m n) d t v -> n d t v m", m=persons) for name, m in maps.items()}
        return {**out, "pooled": self._pool(h, persons)}

    def autoencoder(self, out_channels: int = 0, remask: bool = True) -> SkeletonMAE:
        """A masked autoencoder with random weights whose embedding and encoder fit ``load_encoder``; arguments as ``SkeletonMAE``."""
        return SkeletonMAE(self.layout, self.in_channels, *self.encoder_sizes, self.torso_links, out_channels, remask)

    def load_encoder(self, embedding_state: Mapping[str, Tensor], encoder_state: Mapping[str, Tensor]) -> None:
        """Copy a pretrained joint embedding, and a pretrained GIN encoder into that of every person and layer.

        Args:
            embedding_state, encoder_state: of ``SkeletonMAE.embedding`` and ``SkeletonMAE.encoder``.
        """
        self.embedding.load_state_dict(embedding_state)
        for encoder in (e for of_layer in self.encoders for e in of_layer):  # type: ignore[attr-defined]
            encoder.load_state_dict(encoder_state)

    def _embed(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (M*N, dim, T, V), rows ordered m*N + n."""
        frames, persons = x.shape[2], x.shape[4]
        if frames > len(self.position) or persons > self.num_persons:
            raise ValueError(f"{frames} frames and {persons} persons, this STRL was built for at most {len(self.position)} and {self.num_persons}")
        embedded: Tensor = self.embedding(rearrange(x, "n c t v m -> (m n) c t v"))
        return embedded + self.position[:frames].T[:, :, None]

    def _encode(self, layer: int, h: Tensor, persons: int) -> Tensor:
        """(M*N, dim, T, V) -> (M*N, hidden_dim, T, V), each person by their own encoder of the layer."""
        encoders: nn.ModuleList = self.encoders[layer if len(self.encoders) > 1 else 0]  # type: ignore[assignment]
        if len(encoders) == 1:
            encoded: Tensor = encoders[0](h, self.neighbours)
            return encoded
        parts = rearrange(h, "(m n) d t v -> m n d t v", m=persons)
        # Fewer persons than encoders: the last encoders are not run.
        return torch.cat([encoder(part, self.neighbours) for encoder, part in zip(encoders, parts.unbind(), strict=False)])

    def _pool(self, h: Tensor, persons: int) -> Tensor:
        pooled: Tensor = rearrange(h.mean((2, 3)), "(m n) d -> m n d", m=persons).mean(0)
        return pooled
