"""The labelled clips that a classification head is fitted on and measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import TrainingError
from skelzoo.learn.benchmarks import joints_hash
from skelzoo.learn.cameras import STORED, as_read
from skelzoo.learn.held_out import DataOptions, corpora, evaluation_joints, matching
from skelzoo.learn.ranges import COUNT, POSITIVE, check_numbers
from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.contract import Contract
from skelzoo.skeleton.io.corpus import Corpus
from skelzoo.skeleton.layouts import get_layout
from skelzoo.skeleton.prepare import prepare

FOLDS = 8
"""Parts of the training clips; each is predicted by a head that did not see it."""

CHECK = 'Check head.labels and data.held_out of the recipe; "head": null ends the run with what was trained.'
"""What to do about a head that cannot be fitted."""

SHOWN = 40
"""Most labels of a file that a message lists."""

KINDS: Mapping[str, str] = {"share": "clip", "subjects": "subject"}
"""Key of a rule of ``held_out`` -> kind of holding out; a column of the file is a kind of its own name."""

BODY = Contract(
    STORED, 3, 1, 96,
    ({"step": "drop_empty_frames"}, {"step": "center", "point": "hip_center"}, {"step": "scale_torso"}, {"step": "yaw"}, {"step": "resample", "frames": 96}),
)  # fmt: skip
"""How two bodies are laid over each other: hips at the origin, trunks of one length, facing one way, equally long."""


@dataclass(frozen=True)
class HeadOptions:
    """Which labels a head learns.

    Attributes:
        labels: corpus file -> {source label: class name}; ``"*"`` takes every label under its own name.
        legs: classes that the legs decide; their clips are learned a second time with the arms of other clips.
        fewest: classes with fewer training clips than this are left out.
        strength: inverse L2 penalty of the logistic regression.
    """

    labels: Mapping[str, str | Mapping[str, str]]
    legs: Sequence[str] = ()
    fewest: int = 12
    strength: float = 0.05

    def __post_init__(self) -> None:
        """Raises TrainingError: ``labels`` is no such table, ``legs`` no list of texts, or a number none or out of its range."""
        tables = self.labels.values() if isinstance(self.labels, Mapping) else [None]
        if not all(table == "*" or (isinstance(table, Mapping) and all(isinstance(name, str) for name in table.values())) for table in tables):
            raise TrainingError(f'head.labels is {self.labels!r}. Give a table corpus file -> {{source label: class name}}, or "*" for labels as they are.')
        if isinstance(self.legs, str) or not isinstance(self.legs, Sequence) or not all(isinstance(name, str) for name in self.legs):
            raise TrainingError(f"head.legs is {self.legs!r}. Give a list of class names.")
        check_numbers(self, {"fewest": COUNT, "strength": POSITIVE}, "head.")


def head_options(row: Mapping[str, Any]) -> HeadOptions:
    """The ``head`` of a recipe. Its ``labels`` may name a label set that ships with skelzoo, which brings its ``legs`` along.

    Raises:
        TrainingError: no such label set.
    """
    if not isinstance(row["labels"], str):
        return HeadOptions(**row)
    sets = _label_sets()
    if row["labels"] not in sets:
        raise TrainingError(f"no label set {row['labels']!r}. There are: {', '.join(sets)}; or give a table corpus file -> {{source label: class name}}.")
    return HeadOptions(**{**row, **sets[row["labels"]]})


def _label_sets() -> dict[str, Any]:
    return dict(json.loads(resources.files("skelzoo.learn").joinpath("labels.json").read_text(encoding="utf-8")))


@dataclass(frozen=True, eq=False)
class LabelTable:
    """The classes of N clips, and what each clip is for.

    Attributes:
        labels: class names.
        files: corpus files.
        held: how each was held out: "" for training clips, else ``clip``, ``subject`` or a column such as ``style``.
        folds: 0 to FOLDS - 1; training clips of one value of the last column by which the rule holds out are in one, else those of one style or subject.
        copies: whether it is a training clip once more, with other arms.
        lenders: index of the clip whose arms it has, for all but copies its own.
    """

    labels: NDArray[np.str_]
    files: NDArray[np.str_]
    held: NDArray[np.str_]
    folds: NDArray[np.int64]
    copies: NDArray[np.bool_]
    lenders: NDArray[np.int64]

    @property
    def train(self) -> NDArray[np.bool_]:
        """Which clips a head is fitted on: (N,)."""
        return np.asarray(self.held == "")

    def classes(self, train: NDArray[np.bool_], fewest: int) -> NDArray[np.str_]:
        """Names of the classes with enough training clips, in order."""
        names, counts = np.unique(self.labels[train & ~self.copies], return_counts=True)
        return names[counts >= fewest]

    def fitted(self, train: NDArray[np.bool_], names: NDArray[np.str_]) -> NDArray[np.bool_]:
        """Which training clips a head of some of the classes is fitted on: (N,); copies with arms of others than these are left out."""
        return train & train[self.lenders] & np.isin(self.labels, names)


@dataclass(frozen=True, eq=False)
class LabelledClips(LabelTable):
    """N clips with their classes.

    Attributes:
        x: (N, C, T, V, M), prepared.
    """

    x: FloatArray


def label_table(options: HeadOptions, data: DataOptions, folder: str | Path) -> tuple[LabelTable, list[Clip]]:
    """Which clips of the files that pretraining used a head learns and is measured on, and the clips as they are read, copies without other arms yet.

    Jumps of the tracking (``max_step``) are among them, and the clips that pretraining held out.

    Raises:
        TrainingError: a file is missing, or has no such label, or there are no labelled clips to train on or to measure on.
    """
    clips: list[Clip] = []
    rows: list[tuple[Any, ...]] = []
    kept_back = evaluation_joints(folder, data)
    for file, corpus in corpora(folder, [f for f in data.files if f in options.labels]):
        table, rule = options.labels[file], data.held_out.get(file, {})
        _check_labels(file, table, corpus)
        held, folds = _held(corpus, rule), _folds(corpus, rule)
        for i, clip in enumerate(corpus.clips):
            label = clip.label if table == "*" else table.get(clip.label or "") if isinstance(table, Mapping) else None
            if label is not None and clip.frames >= data.shortest and (held[i] or joints_hash(clip) not in kept_back):
                clips.append(clip)
                rows.append((label, file, held[i], folds[i], False, len(rows)))
    train = [i for i, row in enumerate(rows) if not row[2]]
    if not train or len(train) == len(rows):
        raise TrainingError(f"no labelled clips to train a head on, or none held out to measure it. {CHECK}")
    draw = np.random.default_rng(0)
    for i in train:
        if rows[i][0] in options.legs:
            clips.append(clips[i])
            rows.append((*rows[i][:4], True, train[draw.integers(len(train))]))
    return LabelTable(*(np.array(column) for column in zip(*rows, strict=True))), clips


def labelled_clips(contract: Contract, options: HeadOptions, data: DataOptions, folder: str | Path) -> LabelledClips:
    """The clips of ``label_table``, prepared.

    Raises:
        TrainingError: as ``label_table``.
    """
    table, read = label_table(options, data, folder)
    clips = [with_arms_of(clip, read[lender]) if copy else clip for clip, copy, lender in zip(read, table.copies, table.lenders, strict=True)]
    x = np.stack([prepare(as_read(clip, contract, seed), contract) for seed, clip in enumerate(clips)])
    return LabelledClips(**vars(table), x=x)


def _check_labels(file: str, table: str | Mapping[str, str], corpus: Corpus) -> None:
    """A set that ships with skelzoo also serves corpora that were built in part."""
    unknown = [] if isinstance(table, str) else [name for name in table if name not in corpus.label_names]
    if unknown and table not in [labels["labels"].get(file) for labels in _label_sets().values()]:
        there = f"{', '.join(corpus.label_names[:SHOWN])}{', ...' if len(corpus.label_names) > SHOWN else ''}"
        raise TrainingError(f"{file} has no label {', '.join(map(repr, unknown))}; it has {there}. {CHECK}")


def _held(corpus: Corpus, rule: Mapping[str, Any]) -> NDArray[np.str_]:
    kinds = np.full(len(corpus), "", dtype=object)
    for key in sorted(rule, key=lambda k: k != "share"):  # who is of a held-out style was held out with it, chosen by the hash or not
        kinds[matching(corpus, key, rule[key])] = KINDS.get(key, key)
    return kinds.astype(str)


def _folds(corpus: Corpus, rule: Mapping[str, Any]) -> NDArray[np.int64]:
    there = corpus.columns
    keys = [k for k in rule if k in there] or [k for k in ("style", "subjects") if k in there and len(np.unique(there[k])) > 1]
    groups = there[keys[-1]] if keys else np.array(corpus.clip_names)
    return np.unique(groups, return_inverse=True)[1].astype(np.int64) % FOLDS


def with_arms_of(clip: Clip, donor: Clip) -> Clip:
    """A clip of one person whose arms, from the shoulders on, move as those of another clip, that one played at the same length.

    Returns:
        A clip of ``BODY.frames`` frames in layout ``kinect20``, trunks long.

    Raises:
        CoverageError, ClipError: a clip that ``BODY`` does not take.
    """
    layout = get_layout(BODY.layout)
    joints, lent = prepare(clip, BODY), prepare(donor, BODY)
    for arm in ("left_arm", "right_arm"):
        shoulder, *rest = (layout.index(joint) for joint in layout.parts[arm])
        joints[:, :, rest] = lent[:, :, rest] + (joints - lent)[:, :, [shoulder]]
    return Clip(joints.transpose(3, 1, 2, 0), layout, label=clip.label, name=clip.name)
