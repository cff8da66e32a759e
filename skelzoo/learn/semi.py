"""Semi-supervised learning: few labelled clips, drawn once and for all, of an encoder that may have seen the others without labels."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from importlib import resources

import numpy as np
import torch
from numpy.typing import NDArray

from skelzoo.errors import TrainingError
from skelzoo.learn.inputs import Inputs
from skelzoo.learn.probe import Embedder
from skelzoo.learn.splits import class_ids
from skelzoo.learn.training import seeded
from skelzoo.skeleton.clip import Clip, FloatArray, mirrored

PER_CLASS = (5, 15, 30, 40)
"""Labelled clips of each class that stand for 5, 15, 30 and 40 % of the labels: NW-UCLA has about 100 training clips of each."""

SEEDS = (0, 1, 2, 3, 4)
"""Of the draws in the index files, and of the augmentations of what they drew."""

SHORTEST = 8
"""Frames of the shortest clip that is drawn."""

COPIES = 4
AUGMENTATIONS = (
    {"op": "temporal_crop", "shortest": 0.6}, {"op": "rotate_yaw", "degrees": 30.0}, {"op": "shear", "amplitude": 0.2}, {"op": "scale", "amplitude": 0.1},
)  # fmt: skip
"""Of labelled clips, 2-D ones without ``rotate_yaw``; docs/psp.md says what they brought on a validation part of the training views."""

SIDE = re.compile("left|(?<!up)right", re.IGNORECASE)
"""In the name of a class."""


def draw(clips: Sequence[Clip], most: int, seed: int) -> Mapping[str, list[str]]:
    """Class -> names of up to ``most`` of its clips, in the order drawn: the first N of each class are its labelled clips where N are known.

    Each class is drawn by itself. The authors drew positions once and used them for all classes, without a seed. ``labelled/nwucla.json`` holds
    ``{seed: draw(clips, 40, seed)}`` of NW-UCLA's training clips.

    Args:
        clips: labelled, in any order; those under SHORTEST frames are left out.

    Raises:
        TrainingError: as ``class_ids``.
    """
    clips = sorted((c for c in clips if c.frames >= SHORTEST), key=lambda c: c.name)
    names, truth = class_ids(clips)
    rng = np.random.default_rng(seed)
    return {name: [clips[i].name for i in rng.permutation(np.flatnonzero(truth == k))[:most]] for k, name in enumerate(names)}


def is_drawn(benchmark: str, per_class: float | None) -> bool:
    """Whether the index file of a benchmark, if there is one, has a draw of so many clips of each class; None for those of PER_CLASS."""
    there = resources.files("skelzoo.learn").joinpath("labelled", f"{benchmark}.json").is_file()
    return there and (per_class is None or per_class in range(1, max(PER_CLASS) + 1))


def labelled(benchmark: str, per_class: float, seed: int) -> tuple[str, ...]:
    """Names of the labelled clips of a benchmark, from its index file. Those of fewer per class are among those of more.

    Args:
        per_class: a whole number from 1 to 40.
        seed: of SEEDS.

    Raises:
        TrainingError: no index file for the benchmark, or no such draw in it.
    """
    file = resources.files("skelzoo.learn").joinpath("labelled", f"{benchmark}.json")
    if not file.is_file():
        raise TrainingError(f"no labelled clips were drawn for {benchmark!r}, only for nwucla. Draw some of its training clips with skelzoo.learn.semi.draw.")
    draws: Mapping[str, Mapping[str, list[str]]] = json.loads(file.read_text(encoding="utf-8"))
    classes = draws.get(str(seed), {})
    if per_class not in range(1, min(map(len, classes.values()), default=0) + 1):
        raise TrainingError(f"no draw of {per_class:g} clips per class with seed {seed}. Give 1 to {max(PER_CLASS)} clips and a seed of {', '.join(draws)}.")
    return tuple(name for names in classes.values() for name in names[: int(per_class)])


def mirrored_classes(names: Collection[str]) -> Mapping[str, str]:
    """Class -> that of its mirror images: the one whose name is the same but for left and right exchanged, whatever their case; itself where there is none."""
    known = {name.lower(): name for name in names}
    return {name: known.get(SIDE.sub(lambda side: "right" if side[0] == "left" else "left", name.lower()), name) for name in names}


def vectors_of_copies(encoder: Embedder, clips: Sequence[Clip], seed: int) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Vectors of clips as they are, mirrored, and COPIES times augmented, mirrored or not by chance: (2 + COPIES, N, D); and which are mirrored, (2 + COPIES, N).

    Raises:
        ClipError, CoverageError: a clip does not fit the encoder's contract; the message names it.
    """
    inputs = Inputs(encoder.contract, [row for row in AUGMENTATIONS if encoder.contract.channels == 3 or row["op"] != "rotate_yaw"])
    plain, other = inputs.keep(clips), inputs.keep([mirrored(clip) for clip in clips])
    copies = [inputs.plain(plain), inputs.plain(other)]
    turned = [torch.zeros(len(plain), dtype=torch.bool), torch.ones(len(plain), dtype=torch.bool)]
    with seeded(seed, torch.device("cpu")):
        for _ in range(COPIES):
            turned.append(torch.rand(len(plain)) >= 0.5)
            copies.append(inputs.augmented(torch.where(turned[-1][:, None, None, None, None], other, plain)))
    return np.stack([encoder.embed(x.numpy(), prepared=True, progress=False) for x in copies]), torch.stack(turned).numpy()
