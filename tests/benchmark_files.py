"""Made-up benchmark files, small and of classes that are easy to tell apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tiny import make_clip, write_corpus

from skelzoo.skeleton.clip import Clip

CLASSES, PER_CLASS = 4, 10
LABELS, NUMBER = np.repeat(np.arange(CLASSES), PER_CLASS), np.tile(np.arange(PER_CLASS), CLASSES)
VIEW, SUBJECT = NUMBER % 3 + 1, NUMBER + 1
SPLITS: dict[str, dict[str, Any]] = {
    "nw_ucla.npz": {"view": VIEW, "subject": SUBJECT, "split": VIEW == 3},
    "utd_mhad.npz": {"subject": NUMBER % 8 + 1, "split": NUMBER % 8 % 2 == 1},
    "uiprmd_kinect.npz": {"subject": SUBJECT, "split": SUBJECT > 5, "is_correct": (NUMBER + LABELS) % 3 > 0},
    "hdm05_subset.npz": {"subject": NUMBER % 5, "split": NUMBER % 5 > 2},
}
"""File -> its columns."""


def clip_of(label: int, i: int, noise: float = 0.02) -> Clip:
    """Clip i of a class: the class's motion, slightly other joints."""
    rng, clip = np.random.default_rng(1000 * label + i), make_clip(label)
    return clip.replace(keypoints=clip.keypoints + rng.normal(size=(1, 1, 20, 3)) * noise, name=f"c{label}_{i}")


def write_benchmarks(folder: Path, change: Callable[[list[Clip]], None] | None = None, flags: Any = 0, files: Any = SPLITS) -> Path:
    """Write benchmark files.

    Args:
        change: changes the list of clips in place, the same for all files but for a shift along x that tells the files apart.
        flags: of the clips of NW-UCLA.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clips = [clip_of(label, i) for label, i in zip(LABELS, NUMBER, strict=True)]
    if change is not None:
        change(clips)
    for file in files:
        columns = {key: np.asarray(values).astype(np.int32) for key, values in SPLITS[file].items()}
        given = {"flags": np.broadcast_to(flags, len(clips)).astype(np.uint8)} if file == "nw_ucla.npz" else {}
        shift = np.float32([0.01 * list(SPLITS).index(file), 0, 0])
        shifted = [c.replace(keypoints=c.keypoints + shift) for c in clips]
        write_corpus(folder / file, shifted, labels=LABELS, **columns, **given)
    return folder
