"""Semi-supervised learning as PSP Learning does it (arXiv 2302.02327), on labelled clips that are drawn once and for all."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib import resources

import numpy as np

from skelzoo.errors import TrainingError
from skelzoo.inference.encoder import Encoder
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.splits import class_ids
from skelzoo.skeleton.clip import Clip

PER_CLASS = (5, 15, 30, 40)
"""Labelled clips of each class that stand for 5, 15, 30 and 40 % of the labels: NW-UCLA has about 100 training clips of each."""

SEEDS = (0, 1, 2, 3, 4)
"""Of the draws in the index files, and of the trainings on them."""

SHORTEST = 8
"""Frames of the shortest clip that is drawn."""

STEPS = 100
"""Of training, whatever the number of labelled clips."""

OPTIONS = FinetuneOptions(
    learning_rate=3e-4, unlabelled_ratio=1, augmentations=(
        {"op": "temporal_crop", "shortest": 0.6}, {"op": "rotate_yaw", "degrees": 30.0}, {"op": "shear", "amplitude": 0.2}, {"op": "scale", "amplitude": 0.15},
    ),
)  # fmt: skip
"""Few steps and unlabelled clips for a CPU; docs/psp.md says what was tried on a validation part of the training views."""


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
        raise TrainingError(f"no labelled clips were drawn for {benchmark!r}, only for nwucla. Give the names of your own to skelzoo.learn.semi.semi.")
    draws: Mapping[str, Mapping[str, list[str]]] = json.loads(file.read_text(encoding="utf-8"))
    classes = draws.get(str(seed), {})
    if per_class not in range(1, min(map(len, classes.values()), default=0) + 1):
        raise TrainingError(f"no draw of {per_class:g} clips per class with seed {seed}. Give 1 to {max(PER_CLASS)} clips and a seed of {', '.join(draws)}.")
    return tuple(name for names in classes.values() for name in names[: int(per_class)])


def semi(encoder: Encoder, clips: Sequence[Clip], known: Collection[str], seed: int = 0, options: FinetuneOptions = OPTIONS, steps: int = STEPS) -> Encoder:
    """Train a copy of a PSP encoder on few labelled clips and all others without their labels.

    First a linear head learns on the frozen body, then all of the net with PSP's objective, cross-entropy of the labelled clips plus the contrast of joint and motion
    on all clips, labelled ones included. Nothing is validated: the weights are those of the last step.

    Args:
        encoder: with two streams and a pyramid; it stays as it is.
        clips: all training clips. Labels of those that are not known are not looked at.
        known: names of the labelled clips, such as ``labelled`` gives.
        seed: of head, order and augmentations; it replaces that of the options.
        options: of the second part; its epochs are set by ``steps``.
        steps: of the second part, rounded to whole passes over the labelled clips.

    Raises:
        TrainingError: a name that is no clip's, no clip is left without a label, or as ``finetune``.
        ClipError, CoverageError: a clip does not fit the encoder's contract; the message names it.
    """
    wanted = set(known)
    missing = wanted - {c.name for c in clips}
    if missing:
        raise TrainingError(
            f"{len(missing)} of the labelled clips are not among the clips, the first is {min(missing)!r}. Give the training clips they were drawn from."
        )
    taught, others = [c for c in clips if c.name in wanted], [c for c in clips if c.name not in wanted]
    headed = finetune(encoder, taught, mode="linear", validation=0.0, options=FinetuneOptions(seed=seed)).encoder
    epochs = max(round(steps / -(-len(taught) // options.batch_size)), 1)
    return finetune(headed, taught, mode="semi", unlabelled=others, validation=0.0, options=replace(options, seed=seed, epochs=epochs)).encoder
