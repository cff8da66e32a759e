"""Baselines without a net: what joints alone tell, as flat coordinates or as statistics over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from skelzoo.nets.pooling import InputStatistics
from skelzoo.skeleton.clip import FloatArray
from skelzoo.skeleton.contract import Contract
from skelzoo.skeleton.layouts import get_layout


class Baseline:
    """Clips as vectors without a net; a stand-in for an ``Encoder`` where vectors are measured.

    Joints are centred on the hips and scaled by the torso; 3-D ones are turned to face +z, 2-D ones that were not found are interpolated over time.

    Args:
        dimension: of the clips, 2 or 3.
        persons: most of a clip.
    """

    name = ""
    device = torch.device("cpu")
    frames = 0
    streams: tuple[str, ...] = ("joint",)
    centre: Mapping[str, Any] = {"step": "center", "point": "hip_center"}

    def __init__(self, dimension: int = 3, persons: int = 1) -> None:
        steps: list[Mapping[str, Any]] = [
            {"step": "drop_empty_frames"},
            *([] if dimension == 3 else [{"step": "fill_gaps"}]),
            self.centre,
            {"step": "scale_torso"},
            *([{"step": "yaw"}] if dimension == 3 else []),
            {"step": "resample", "frames": self.frames},
        ]
        layout = "kinect20" if dimension == 3 else "coco17"
        self.contract = Contract(layout, channels=dimension, persons=persons, frames=self.frames, steps=tuple(steps), streams=self.streams)

    def embed(self, clips: FloatArray, *, prepared: bool, progress: bool | None) -> FloatArray:
        """Prepared clips (N, C, T, V, M) -> (N, D)."""
        raise NotImplementedError


class Coordinates(Baseline):
    """Joints of 32 frames, hip-centred in every frame, flattened."""

    name = "coordinates"
    frames = 32
    centre: Mapping[str, Any] = {"step": "center", "point": "hip_center", "reference": "every_frame"}

    def embed(self, clips: FloatArray, *, prepared: bool, progress: bool | None) -> FloatArray:
        """(N, C, T, V, M) -> (N, C*T*V*M)."""
        return clips.reshape(len(clips), -1)


class Statistics(Baseline):
    """Mean, standard deviation, maximum and minimum over time of every joint and its motion, and of their differences from the parent joint's.

    Of several persons the mean, absent ones included.
    """

    name = "statistics"
    frames = 64
    streams = ("joint", "motion")

    def embed(self, clips: FloatArray, *, prepared: bool, progress: bool | None) -> FloatArray:
        """(N, C, T, V, M) -> (N, 2*C*4*V), see ``InputStatistics``."""
        vectors: FloatArray = InputStatistics(get_layout(self.contract.layout), clips.shape[1]).of_clips(torch.from_numpy(clips)).numpy()
        return vectors


BASELINES: Mapping[str, type[Baseline]] = {baseline.name: baseline for baseline in (Coordinates, Statistics)}
"""Baselines by name."""
