"""PSP Learning (arXiv 2302.02327): one DSTA-Net for joint and motion, and a pyramid of attention over body, parts and joints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from skelzoo.nets.dsta import DSTA, PAPER_BLOCKS, conv_norm, leaky
from skelzoo.nets.net import Net
from skelzoo.nets.pooling import Pooling, input_statistics, joint_groups, pool
from skelzoo.skeleton.layouts import Layout

LEVELS = ("body", "part", "joint")
"""Levels of the pyramid, coarse to fine."""


def expand(maps: Tensor, groups: Tensor) -> Tensor:
    """Maps between groups as maps between their members: (B, S, G, G) and the group of each node (V,) -> (B, S, V, V)."""
    return maps[:, :, groups][:, :, :, groups]


class Level(NamedTuple):
    """One level of the pyramid, stream by stream."""

    vectors: list[Tensor]
    """Each (N, D)."""
    projections: list[Tensor]
    """Each (N, D), what the contrast sees."""


class PyramidHead(nn.Module):
    """Attention tanh(q . k / size) over nodes without softmax, with maps from coarser levels added, and a residual.

    Args:
        dim: D of the feature map.
        subsets: attention maps, S.
    """

    def __init__(self, dim: int, subsets: int) -> None:
        super().__init__()
        if dim % subsets:
            raise ValueError(f"{dim} channels of the last block do not split into {subsets} subsets")
        self.subsets = subsets
        self.query_key_value = nn.Conv2d(dim, 3 * dim, 1)
        self.out = conv_norm(dim, dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, D, T', nodes), and maps to add -> output of the same shape, and the head's own maps (B, S, nodes, nodes)."""
        q, k, v = rearrange(self.query_key_value(x), "b (three s d) t v -> three b s d t v", three=3, s=self.subsets)
        own = torch.tanh(torch.einsum("bsdtu,bsdtw->bsuw", q, k) / (q.shape[2] * q.shape[3]))
        # Over the key axis here; the backbone's blocks sum over the query axis.
        attended = torch.einsum("bsuw,bsdtw->bsdtu", own if extra is None else own + extra, v)
        return leaky(x + self.out(rearrange(attended, "b s d t u -> b (s d) t u"))), own


class Pyramid(nn.Module):
    """Heads on body groups, parts and joints; each finer one adds the coarser ones' own maps (PSP, pyramid polymerizing attention).

    Args:
        layout: its ``part_indices`` are the body groups, its ``subpart_indices`` the parts.
        dim, subsets: see ``PyramidHead``.
        coefficients: of body maps added to part maps, part maps to joint maps, body maps to joint maps.

    Raises:
        ValueError: a layout without body parts, or channels or coefficients of a wrong number.
    """

    def __init__(self, layout: Layout, dim: int, subsets: int, coefficients: Sequence[float]) -> None:
        super().__init__()
        if not layout.parts or len(coefficients) != 3:
            raise ValueError(
                f"the pyramid needs body parts and 3 coefficients, got {len(coefficients)} and layout {layout.name!r} of {len(layout.parts)} parts; or pyramid=False"
            )
        self.coefficients = tuple(coefficients)
        self.body, self.part, self.joint = (PyramidHead(dim, subsets) for _ in LEVELS)
        bodies, parts = (_members(groups, len(layout)) for groups in (layout.part_indices, layout.subpart_indices))
        self.body_of_joint: Tensor
        self.part_of_joint: Tensor
        self.body_of_part: Tensor
        self.body_mean: Tensor
        self.part_mean: Tensor
        body_of_joint, part_of_joint = bodies.argmax(1), parts.argmax(1)
        self.register_buffer("body_of_joint", body_of_joint, persistent=False)
        self.register_buffer("part_of_joint", part_of_joint, persistent=False)
        self.register_buffer("body_of_part", body_of_joint[parts.argmax(0)], persistent=False)
        self.register_buffer("body_mean", bodies / bodies.sum(0), persistent=False)
        self.register_buffer("part_mean", parts / parts.sum(0), persistent=False)

    def forward(self, maps: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Feature maps of the streams, each (B, D, T', V) -> level -> outputs of the streams, each (B, D, T', nodes).

        Streams go through a level one after another, coarse levels first: in training each updates the running statistics.
        """
        body_to_part, part_to_joint, body_to_joint = self.coefficients
        body = [self.body(x @ self.body_mean) for x in maps]
        part = [self.part(x @ self.part_mean, body_to_part * expand(b, self.body_of_part)) for x, (_, b) in zip(maps, body, strict=True)]
        joint = [
            self.joint(x, part_to_joint * expand(p, self.part_of_joint) + body_to_joint * expand(b, self.body_of_joint))
            for x, (_, p), (_, b) in zip(maps, part, body, strict=True)
        ]
        return {level: [out for out, _ in outputs] for level, outputs in zip(LEVELS, (body, part, joint), strict=True)}


def _members(groups: Sequence[Sequence[int]], joints: int) -> Tensor:
    """(V, G), 1 where the joint is in the group, else 0."""
    return torch.tensor([[float(j in group) for group in groups] for j in range(joints)], dtype=torch.float32)


class PSP(Net):
    """PSP Learning's network: the streams share one backbone; the head's logits of the streams are added.

    The vector of ``forward_features`` is the streams' pooled vectors side by side, not their sum: the sum, which is all
    that the classifier sees, can be computed from it, and it keeps joint and motion apart. The pyramid serves the
    contrast of pretraining and ``features`` alone; classification never sees it, as in the authors' code.

    Args:
        layout: joints and body parts.
        num_classes: size of the head; 0 for none.
        in_channels: C of a prepared tensor, all streams.
        blocks, num_subsets, num_frames, temporal, spatial, attend_spatial, attend_temporal, global_spatial, global_temporal, code_spatial,
            code_temporal: see ``DSTA``; the paper's configuration by default.
        streams: 2, joint then motion on the channel axis, or 1; with ``pyramid=False`` 1 is plain DSTA-Net.
        pyramid: the pyramid and its projector.
        coefficients: see ``Pyramid``; the authors give largest group size over number of nodes on 25 joints.
        embed_blocks: blocks whose pooled outputs make up the vector of a stream; -1, the last one, for the authors.
        embed_segments, embed_groups, embed_statistics: how they are pooled, see ``Pooling`` and ``joint_groups``; 1, ``all`` and ``mean`` for the authors.
        embed_input: channels of each stream, from the first on, whose ``InputStatistics`` end its vector. 0 for the authors.
        embed_path: stretches of time in which the joints' mean places stand there too, see ``InputStatistics``. 0 for the authors.

    Raises:
        ValueError: channels or streams of a wrong number; see also ``DSTA``, ``Pyramid`` and ``input_statistics``.
    """

    def __init__(
        self,
        layout: Layout,
        num_classes: int = 0,
        in_channels: int = 6,
        blocks: Sequence[Sequence[int]] = PAPER_BLOCKS,
        num_subsets: int = 4,
        num_frames: int = 50,
        temporal: str = "conv",
        spatial: str = "attention",
        attend_spatial: bool = True,
        attend_temporal: bool = True,
        global_spatial: bool = True,
        global_temporal: bool = False,
        code_spatial: bool = True,
        code_temporal: bool = True,
        streams: int = 2,
        pyramid: bool = True,
        coefficients: Sequence[float] = (0.2, 0.12, 0.24),
        embed_blocks: Sequence[int] = (-1,),
        embed_segments: int = 1,
        embed_groups: str = "all",
        embed_statistics: Sequence[str] = ("mean",),
        embed_input: int = 0,
        embed_path: int = 0,
    ) -> None:
        super().__init__()
        if streams not in (1, 2) or in_channels % streams:
            raise ValueError(f"{in_channels} channels for {streams} streams; give joint and motion 3 channels each (6), or streams=1")
        self.streams = streams
        self.backbone = DSTA(
            len(layout), in_channels // streams, blocks, num_subsets, num_frames, temporal, spatial, attend_spatial, attend_temporal,
            global_spatial, global_temporal, code_spatial, code_temporal,
        )  # fmt: skip
        count, dim = len(blocks), self.backbone.widths[-1]
        if not embed_blocks or not -count <= min(embed_blocks) <= max(embed_blocks) < count:
            raise ValueError(f"embed_blocks are {list(embed_blocks)}, the blocks are 0 to {count - 1}, or -1 for the last")
        self.embed_blocks = tuple(embed_blocks)
        self.pooling = Pooling(embed_segments, joint_groups(layout, embed_groups), embed_statistics)
        self.embed_input = input_statistics(layout, embed_input, embed_path, in_channels // streams)
        vector = sum(self.backbone.widths[i] for i in embed_blocks) * self.pooling.vectors + (self.embed_input.dim if self.embed_input else 0)
        self.embedding_dim = streams * vector
        self.head = nn.Linear(vector, num_classes) if num_classes else None
        self.pyramid = Pyramid(layout, dim, num_subsets, coefficients) if pyramid else None
        self.projector = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim)) if pyramid else None
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names ``features`` knows."""
        streams = ("joint_stream", "motion_stream") if self.streams == 2 else ()
        levels = (f"{prefix}{level}_level" for prefix in ("", "projection_") for level in LEVELS) if self.pyramid else ()
        return (*(f"block{i}" for i in range(len(self.backbone.widths))), "pooled", *streams, *levels)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (N, streams * D): the pooled vectors of joint and motion side by side."""
        self.check_clips(x)
        return self.pooled(self.maps(x)[0], x)

    def forward_head(self, z: Tensor) -> Tensor:
        """(N, streams * D) -> logits (N, classes), the sum over the streams, bias included; (N, 0) without a head."""
        return z.new_zeros(len(z), 0) if self.head is None else self.head(rearrange(z, "n (s d) -> s n d", s=self.streams)).sum(0)

    def maps(self, *batches: Tensor) -> list[list[list[Tensor]]]:
        """Feature maps of batches of clips, in one pass of the backbone, so that BatchNorm sees all together.

        Args:
            batches: each (N_i, C, T, V, M); only N_i may differ.

        Returns:
            For each batch, for each of its streams, the maps of the blocks, (N_i*M, D_j, T_j, V).
        """
        rows = [x.shape[0] * x.shape[-1] for x in batches for _ in range(self.streams)]
        streams = [list(maps) for maps in zip(*(torch.split(block, rows) for block in self._blocks(*batches)), strict=True)]
        return [streams[i : i + self.streams] for i in range(0, len(streams), self.streams)]

    def pooled(self, maps: Sequence[Sequence[Tensor]], x: Tensor) -> Tensor:
        """Maps of the streams' blocks, each (N*M, D_j, T_j, V), of clips (N, C, T, V, M) -> (N, streams * D), what ``forward_head`` takes."""
        vectors = []
        for blocks, stream in zip(maps, x.chunk(self.streams, 1), strict=True):
            vectors += [pool(self.pooling, blocks[i], x.shape[0]) for i in self.embed_blocks]
            if self.embed_input is not None:
                vectors.append(self.embed_input.of_clips(stream))
        return torch.cat(vectors, 1)

    def levels(self, maps: Sequence[Sequence[Tensor]], persons: int) -> dict[str, Level]:
        """Maps of the streams' blocks, the last one (N*M, D, T', V) -> body, part and joint level, means over persons, frames and nodes.

        Raises:
            ValueError: a net without a pyramid.
        """
        if self.pyramid is None or self.projector is None:
            raise ValueError("this net was built with pyramid=False; build it with pyramid=True for the levels")
        out = {}
        for name, outputs in self.pyramid([stream[-1] for stream in maps]).items():
            vectors = [reduce(x, "(n m) d t v -> n d", "mean", m=persons) for x in outputs]
            out[name] = Level(vectors, [self.projector(z) for z in vectors])
        return out

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Everything the encoder computes on the way, by name; streams side by side on the channel axis.

        Returns:
            ``block0`` .. (N, streams * D_i, T_i, V, M); ``pooled`` (N, streams * D'), the vector of ``forward_features``; its parts
            ``joint_stream`` and ``motion_stream`` (N, D') where there are two; with a pyramid ``body_level``, ``part_level``,
            ``joint_level`` and, as the contrast sees them, ``projection_body_level`` .. (N, streams * D).
        """
        self.check_clips(x)
        maps, persons = self.maps(x)[0], x.shape[-1]
        blocks = [torch.cat(streams, 1) for streams in zip(*maps, strict=True)]
        out = {f"block{i}": rearrange(b, "(n m) d t v -> n d t v m", m=persons) for i, b in enumerate(blocks)}
        out["pooled"] = self.pooled(maps, x)
        if self.streams == 2:
            out |= zip(("joint_stream", "motion_stream"), out["pooled"].chunk(2, 1), strict=True)
        levels = self.levels(maps, persons) if self.pyramid else {}
        out |= {f"{name}_level": torch.cat(level.vectors, 1) for name, level in levels.items()}
        return out | {f"projection_{name}_level": torch.cat(level.projections, 1) for name, level in levels.items()}

    def _blocks(self, *batches: Tensor) -> list[Tensor]:
        """Outputs of every block, rows ordered batch, stream, clip, person."""
        outputs: list[Tensor] = self.backbone(torch.cat([stream for x in batches for stream in x.chunk(self.streams, 1)]))
        return outputs
