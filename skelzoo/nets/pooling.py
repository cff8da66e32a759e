"""From the tokens of a feature map to one vector per clip."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from skelzoo.skeleton.layouts import Layout

STATISTICS = ("mean", "std", "max", "min")

PATH_SCALE = 2.0
"""What the path of ``InputStatistics`` counts beside them; docs/skeletonmae.md says why."""


class Pooling(nn.Module):
    """Mean over frames, joints and persons, absent persons included, as in SkeAttnCLR's code; or this project's finer forms of it.

    Args:
        segments: equal stretches of time pooled apart and concatenated, so that the vector keeps the order of
            events. 1 in the paper; more is this project's own option.
        groups: joint indices of the groups of joints pooled apart and concatenated; empty, as in the paper, for all joints together.
        statistics: over the frames of a stretch, of the mean over a group's joints: ``mean`` (the paper), ``std``,
            ``max``, ``min``. The others say how much and how far a part moved whenever it did, which a mean washes out.

    Raises:
        ValueError: no segments, or an unknown statistic.
    """

    def __init__(self, segments: int = 1, groups: Sequence[Sequence[int]] = (), statistics: Sequence[str] = ("mean",)) -> None:
        super().__init__()
        if segments < 1 or not statistics or set(statistics) - set(STATISTICS):
            raise ValueError(f"{segments} segments and statistics {', '.join(statistics)}; at least 1 segment is needed, and some of {', '.join(STATISTICS)}")
        self.segments, self.sizes, self.statistics = segments, [len(g) for g in groups], tuple(statistics)
        self.vectors = segments * max(len(groups), 1) * len(statistics)
        """How many vectors of D channels are concatenated."""
        self.joints: Tensor | None
        # On the device: a GPU is waited for whenever it is to index with a list.
        self.register_buffer("joints", torch.tensor([j for group in groups for j in group]) if groups else None, persistent=False)

    def forward(self, tokens: Tensor, joints: int, persons: int) -> Tensor:
        """Tokens (N*M, T'*V, D), frame-major -> (N, vectors * D), ordered segment, group, statistic, channel."""
        if self.vectors == 1 and self.joints is None and self.statistics == ("mean",):
            return rearrange(tokens.mean(1), "(n m) d -> n m d", m=persons).mean(1)
        x = rearrange(tokens, "b (t v) d -> b t v d", v=joints)
        tracks = x.mean(2, keepdim=True) if self.joints is None else torch.stack([x[:, :, group].mean(2) for group in torch.split(self.joints, self.sizes)], 2)
        frames = x.shape[1]
        bounds = [round(i * frames / self.segments) for i in range(self.segments + 1)]
        # Clips of fewer frames than segments: neighbouring segments share a frame instead of being empty.
        spans = [(min(start, frames - 1), max(stop, min(start, frames - 1) + 1)) for start, stop in itertools.pairwise(bounds)]
        pooled = [torch.stack([_statistic(s, tracks[:, start:stop]) for s in self.statistics], 2).flatten(1) for start, stop in spans]
        return rearrange(torch.cat(pooled, 1), "(n m) d -> n m d", m=persons).mean(1)


def _statistic(name: str, tracks: Tensor) -> Tensor:
    """Means over the joints of each group, (B, T, groups, D) -> (B, groups, D)."""
    if name == "mean":
        return tracks.mean(1)
    if name == "std":
        # The square root has no gradient at zero, which the features of an absent person are at.
        return tracks.var(1, correction=0).clamp(min=1e-8).sqrt()
    return tracks.amax(1) if name == "max" else tracks.amin(1)


def joint_groups(layout: Layout, name: str) -> Sequence[Sequence[int]]:
    """Joints pooled together, by name: ``all``, ``parts`` (5), ``subparts`` (10 halves of parts) or ``joints``.

    Raises:
        ValueError: another name.
    """
    known = {"all": (), "parts": layout.part_indices, "subparts": layout.subpart_indices, "joints": [[j] for j in range(len(layout))]}
    if name not in known:
        raise ValueError(f"joints cannot be grouped by {name!r}; known are {', '.join(known)}")
    return known[name]


class InputStatistics(nn.Module):
    """Mean, deviation, maximum and minimum over time of every joint as it comes in, and of its difference from its parent joint.

    Features of a net are of what it was trained to tell apart; these keep plainly where joints and limbs were and how far they moved (ours).

    Args:
        channels: how many channels of the input, from the first on, are joints.
        path: in how many stretches of time the mean places of the joints stand besides, so that the order of what they did is kept; 0 for
            none. Places are as many of the channels as the layout has dimensions.
    """

    def __init__(self, layout: Layout, channels: int, path: int = 0) -> None:
        super().__init__()
        self.channels = channels
        self.parents: Tensor
        self.register_buffer("parents", torch.tensor([p if p >= 0 else i for i, p in enumerate(layout.parents)]), persistent=False)
        joints = joint_groups(layout, "joints")
        self.pooling, self.path = Pooling(1, joints, STATISTICS), Pooling(path, joints) if path else None
        self.places = min(channels, layout.dimensions)
        self.dim = 2 * channels * self.pooling.vectors + path * self.places * len(layout)

    def forward(self, x: Tensor) -> Tensor:
        """Rows of one person each, (B, C, T, V) -> (B, dim)."""
        x = x[:, : self.channels]
        statistics = pool(self.pooling, torch.cat([x, x - x[:, :, :, self.parents]], 1), x.shape[0])
        return statistics if self.path is None else torch.cat([statistics, PATH_SCALE * pool(self.path, x[:, : self.places], x.shape[0])], 1)

    def of_clips(self, x: Tensor) -> Tensor:
        """Mean over persons, absent ones included: (N, C, T, V, M) -> (N, dim)."""
        vectors: Tensor = reduce(self(rearrange(x, "n c t v m -> (n m) c t v")), "(n m) d -> n d", "mean", m=x.shape[-1])
        return vectors


def input_statistics(layout: Layout, channels: int, path: int, there: int) -> InputStatistics | None:
    """The statistics of the options ``embed_input`` and ``embed_path``, None for 0.

    Args:
        there: channels that the input has.

    Raises:
        ValueError: more channels than those, or fewer than none, or a path of no channels.
    """
    if not 0 <= channels <= there:
        raise ValueError(f"embed_input is {channels}, the input (PSP: each stream) has {there} channels; give 0 to {there}")
    if path < 0 or (path and not channels):
        raise ValueError(f"embed_path is {path} with an embed_input of {channels}; give a whole number of stretches, and the channels as embed_input")
    return InputStatistics(layout, channels, path) if channels else None


class LastStep(nn.Module):
    """The last time step instead of a mean, as SkeAttnCLR's BiGRU does. Its tokens are time steps of one row per clip."""

    vectors = 1

    def forward(self, tokens: Tensor, joints: int, persons: int) -> Tensor:
        """Tokens (N, T, D) -> (N, D)."""
        return tokens[:, -1]


def pool(pooling: Pooling | LastStep, feature_map: Tensor, clips: int) -> Tensor:
    """Feature map (N*M, D, T', V) of N clips -> (N, vectors * D)."""
    pooled: Tensor = pooling(rearrange(feature_map, "b d t v -> b (t v) d"), feature_map.shape[3], feature_map.shape[0] // clips)
    return pooled
