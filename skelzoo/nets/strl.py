"""STRL, the network that SkeletonMAE's encoder is fine-tuned in (ICCV 2023): spatial modelling by GIN, time by multi-scale convolutions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from skelzoo.nets.gin import GINEncoder, SkeletonMAE
from skelzoo.nets.graph import undirected_adjacency
from skelzoo.nets.net import Net
from skelzoo.nets.pooling import Pooling, input_statistics, joint_groups
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
        hidden_dim: channels of the encoding; mapped to ``dim`` where they differ (ours).
        joints: V. The map starts that much smaller, so that the sum over joints begins as their mean and does not drown what each of them does.
    """

    def __init__(self, dim: int, hidden_dim: int, joints: int) -> None:
        super().__init__()
        self.skip = nn.Conv2d(dim, dim, 1)
        self.adapt = nn.Identity() if hidden_dim == dim else nn.Conv2d(hidden_dim, dim, 1)
        if isinstance(self.adapt, nn.Conv2d):
            nn.init.uniform_(self.adapt.weight, -1 / (joints * math.sqrt(hidden_dim)), 1 / (joints * math.sqrt(hidden_dim)))
        self.mix, self.norm = nn.Conv2d(dim, dim, 1), nn.BatchNorm2d(dim)
        self.temporal = MultiScaleTemporal(dim)

    def forward(self, x: Tensor, encoded: Tensor) -> Tensor:
        """(B, dim, T, V) and its encoding (B, hidden_dim, T, V) -> (B, dim, T, V)."""
        spatial = self.skip(x) + self.adapt(encoded.sum(3, keepdim=True))
        return F.relu(self.temporal(F.relu(self.norm(self.mix(spatial)))) + x)


class STRL(Net):
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
        embed_layers: layers whose pooled outputs, side by side, are the vector of ``forward_features``; -1, the last one, in the paper.
        embed_groups, embed_statistics: how they are pooled, see ``joint_groups`` and ``Pooling``; ``all`` and ``mean`` in the paper.
        embed_input: channels of the input, from the first on, whose ``InputStatistics`` end the vector. 0 in the paper.
        embed_path: stretches of time in which the joints' mean places stand there too, see ``InputStatistics``. 0 in the paper.
        head: ``mlp``, Linear-ReLU-Linear (paper), or ``linear``.

    Raises:
        ValueError: sizes below 1, ``dim`` not a multiple of 4, or no such layers, groups, statistics, channels or head.
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
        embed_layers: Sequence[int] = (-1,),
        embed_groups: str = "all",
        embed_statistics: Sequence[str] = ("mean",),
        embed_input: int = 0,
        embed_path: int = 0,
        head: str = "mlp",
    ) -> None:
        super().__init__()
        if min(dim, num_layers, num_frames, num_persons) < 1:
            raise ValueError(f"{dim} channels, {num_layers} layers, {num_frames} frames and {num_persons} persons must be at least 1")
        if not embed_layers or not -num_layers <= min(embed_layers) <= max(embed_layers) < num_layers:
            raise ValueError(f"embed_layers are {list(embed_layers)}, the layers are 0 to {num_layers - 1}, or -1 for the last")
        self.layout, self.in_channels, self.torso_links, self.num_persons = layout, in_channels, torso_links, num_persons
        self.encoder_sizes = (dim, hidden_dim, encoder_layers, act)
        self.embed_layers = tuple(i % num_layers for i in embed_layers)
        self.pooling = Pooling(1, joint_groups(layout, embed_groups), embed_statistics)
        self.embed_input = input_statistics(layout, embed_input, embed_path, in_channels)
        self.embedding_dim = dim * self.pooling.vectors * len(embed_layers) + (self.embed_input.dim if self.embed_input else 0)
        self.neighbours: Tensor
        self.register_buffer("neighbours", undirected_adjacency(layout, torso_links) + torch.eye(len(layout)), persistent=False)
        self.embedding = nn.Conv2d(in_channels, dim, 1)
        self.position = nn.Parameter(0.02 * torch.randn(num_frames, dim))
        self.encoders = nn.ModuleList(
            nn.ModuleList(GINEncoder(*self.encoder_sizes) for _ in range(1 if share_persons else num_persons)) for _ in range(1 if share_layers else num_layers)
        )
        self.layers = nn.ModuleList(STRLLayer(dim, hidden_dim, len(layout)) for _ in range(num_layers))
        self.head = _head(head, self.embedding_dim, dim, num_classes)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names ``features`` knows."""
        return ("embedded", "encoded", *(f"layer{i}" for i in range(len(self.layers))), "pooled")

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (N, D), D = dim times the layers and vectors pooled apart, and the input's statistics; later layers are not run.

        Raises:
            ValueError: more frames or persons than the net was built for.
        """
        self.check_clips(x)
        return self.pooled(self.maps(x, max(self.embed_layers)), x)

    def maps(self, x: Tensor, last: int = -1) -> list[Tensor]:
        """(N, C, T, V, M) -> outputs of the layers up to ``last``, each (M*N, dim, T, V), persons apart. Raises as ``forward_features``."""
        h, maps = self._embed(x), []
        for i, layer in enumerate(self.layers[: last % len(self.layers) + 1]):
            h = layer(h, self._encode(i, h, x.shape[4]))
            maps.append(h)
        return maps

    def pooled(self, maps: Sequence[Tensor], x: Tensor) -> Tensor:
        """``maps`` of clips (N, C, T, V, M) -> (N, D), what ``forward_head`` takes."""
        vectors = [pool_persons(self.pooling, maps[i], x.shape[4]) for i in self.embed_layers]
        return torch.cat([*vectors, self.embed_input.of_clips(x)] if self.embed_input is not None else vectors, 1)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Everything the net computes on the way, by name.

        Returns:
            ``embedded`` (N, dim, T, V, M), the input of the first layer; ``encoded`` (N, hidden_dim, T, V, M), what its GIN
            encoders make of it (before fine-tuning these and the joint embedding alone are pretrained, the ``position`` added between them is random); ``layer0`` .. (N, dim, T, V, M), outputs of
            the layers; ``pooled`` (N, D), the vector of ``forward_features``.
        """
        self.check_clips(x)
        persons = x.shape[4]
        embedded, layers = self._embed(x), self.maps(x)
        maps = {"embedded": embedded, "encoded": self._encode(0, embedded, persons), **{f"layer{i}": h for i, h in enumerate(layers)}}
        out = {name: rearrange(m, "(m n) d t v -> n d t v m", m=persons) for name, m in maps.items()}
        return {**out, "pooled": self.pooled(layers, x)}

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

    def check_size(self, frames: int, persons: int = 1) -> None:
        """Raises ValueError: more frames or persons than the net was built for."""
        if frames > len(self.position) or persons > self.num_persons:
            raise ValueError(f"{frames} frames and {persons} persons, this STRL was built for at most {len(self.position)} and {self.num_persons}")

    def _embed(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (M*N, dim, T, V), rows ordered m*N + n."""
        self.check_size(x.shape[2], x.shape[4])
        embedded: Tensor = self.embedding(rearrange(x, "n c t v m -> (m n) c t v"))
        return embedded + self.position[: x.shape[2]].T[:, :, None]

    def _encode(self, layer: int, h: Tensor, persons: int) -> Tensor:
        """(M*N, dim, T, V) -> (M*N, hidden_dim, T, V), each person by their own encoder of the layer."""
        encoders: nn.ModuleList = self.encoders[layer if len(self.encoders) > 1 else 0]  # type: ignore[assignment]
        if len(encoders) == 1:
            encoded: Tensor = encoders[0](h, self.neighbours)
            return encoded
        parts = rearrange(h, "(m n) d t v -> m n d t v", m=persons)
        # Fewer persons than encoders: the last encoders are not run.
        return torch.cat([encoder(part, self.neighbours) for encoder, part in zip(encoders, parts.unbind(), strict=False)])


def pool_persons(pooling: Pooling, feature_map: Tensor, persons: int) -> Tensor:
    """An output of ``STRL.maps`` (M*N, D, T, V) -> (N, vectors * D)."""
    pooled: Tensor = pooling(rearrange(feature_map, "(m n) d t v -> (n m) (t v) d", m=persons), feature_map.shape[3], persons)
    return pooled


def _head(name: str, features: int, hidden: int, classes: int) -> nn.Module | None:
    if name not in ("mlp", "linear"):
        raise ValueError(f"head {name!r} is not one of mlp, linear")
    if not classes:
        return None
    return nn.Linear(features, classes) if name == "linear" else nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))
