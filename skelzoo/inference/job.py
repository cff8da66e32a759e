"""What is asked for of a store of embeddings."""

from __future__ import annotations

from dataclasses import dataclass

from skelzoo.errors import StoreError
from skelzoo.inference.output import columns_for
from skelzoo.inference.runner import Dtype, pick_dtype
from skelzoo.skeleton.io.read_options import ReadOptions
from skelzoo.skeleton.persons import check_choice
from skelzoo.skeleton.windows import Length, check_window

SHARD = 1024
"""Clips of a shard: what a killed process loses at most."""


@dataclass(frozen=True)
class Job:
    """What decides the content of a store, beside the clips.

    Attributes:
        model: a name that ``skelzoo.load`` knows.
        dtype: as ``skelzoo.load``.
        select_persons: where a clip has more persons than the model takes, keep those that move most, in all its windows the same.
        each_person: make one clip of every person, as ``skelzoo.each_person``, before any windows.
        shard_size: clips per shard.
        parquet: also write ``embeddings.parquet``.
        array_layout, array_axes, array_fps: what files may leave open, ``layout``, ``axes`` and ``fps`` of ``skelzoo.read``.
        window, step: of the windows that every clip is cut into, and from the start of one to the next, as ``skelzoo.windows``; None leaves clips whole.
        fill_missing, up, image_size: as ``skelzoo.read``.

    Raises:
        ClipError: a window or step that is no whole number of at least 1, or a step alone, or those that move most and each person at once.
        DeviceError: another dtype.
        StoreError: a size of shards that is no whole number of at least 1.
    """

    model: str
    dtype: Dtype = "auto"
    select_persons: bool = False
    each_person: bool = False
    shard_size: int = SHARD
    parquet: bool = False
    array_layout: str | None = None
    array_axes: str | None = None
    array_fps: float | None = None
    window: Length | None = None
    step: Length | None = None
    fill_missing: bool = False
    up: str | None = None
    image_size: str | None = None

    def __post_init__(self) -> None:
        check_window(self.window, self.step)
        check_choice(self.select_persons, self.each_person)
        pick_dtype(str(self.dtype))
        if type(self.shard_size) is not int or self.shard_size < 1:
            raise StoreError(f"shard_size is {self.shard_size!r}. Give an int of at least 1, the clips of a shard.")

    @property
    def columns(self) -> tuple[str, ...]:
        """What its tables have beside row, name, file and label."""
        return columns_for(self.window is not None, self.each_person)

    @property
    def reading(self) -> ReadOptions:
        """What files may leave open, in one; errors as ``ReadOptions``."""
        return ReadOptions(
            layout=self.array_layout, axes=self.array_axes, fps=self.array_fps, fill_missing=self.fill_missing, up=self.up, image_size=self.image_size
        )
