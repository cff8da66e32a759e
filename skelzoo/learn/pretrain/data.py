"""Pretraining data: corpus files -> windows -> one prepared array, with what is held out kept out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import TrainingError
from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.io.corpus import Corpus, read_table
from skelzoo.skeleton.prepare import Contract, prepare


@dataclass(frozen=True)
class DataOptions:
    """Which clips are trained on and how they are cut.

    Attributes:
        files: corpus file names, looked up in the data folder.
        window, hop: frames of a window and the step between windows; shorter clips stay whole.
        shortest: windows with fewer frames are dropped.
        max_step: clips in which a joint moves more than this between two frames are dropped (tracking jumps), metres.
        held_out: corpus file -> rule; {"subjects": [..]} or {"share": s}, a hash of the clip name. Held-out clips
            never enter pretraining.

    Raises:
        TrainingError: a rule of another form, or for a file that is not among the files.
    """

    files: Sequence[str]
    window: int = 90
    hop: int = 60
    shortest: int = 16
    max_step: float = 1.0
    held_out: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for file, rule in self.held_out.items():
            if file not in self.files or set(rule) not in ({"subjects"}, {"share"}):
                raise TrainingError(f"held_out of {file!r}: {dict(rule)}. Name one of the files, and give it subjects or share.")


def held_out(corpus: Corpus, rule: Mapping[str, Any] | None) -> NDArray[np.bool_]:
    """Which clips of a corpus a rule holds out: (clips,) bool.

    ``subjects`` lists subject ids; ``share`` takes that share of the clips by a hash of their names, so that the
    choice does not depend on the order of the file.

    Raises:
        TrainingError: no clip is of those subjects.
    """
    if not rule:
        return np.zeros(len(corpus.clips), bool)
    if "subjects" in rule:
        chosen = np.asarray(np.isin(corpus.subject, rule["subjects"]))
        if not chosen.any():
            raise TrainingError(
                f"{corpus.name}: no clip is of subjects {rule['subjects']}, so nothing would be held out. Its subjects: {np.unique(corpus.subject).tolist()}."
            )
        return chosen
    hashes = [int(hashlib.sha256(c.name.encode()).hexdigest()[:8], 16) / 2**32 for c in corpus.clips]
    return np.asarray(np.array(hashes) < rule["share"])


def windows(clip: Clip, options: DataOptions) -> list[Clip]:
    """Cut a clip into overlapping windows; a clip of at most one and a half windows stays whole."""
    if clip.frames < 1.5 * options.window:
        return [clip]
    starts = range(0, clip.frames - options.window // 2, options.hop)
    cut = [clip.keypoints[:, s : s + options.window] for s in starts]
    return [clip.replace(keypoints=k, name=f"{clip.name}@{s}") for s, k in zip(starts, cut, strict=True)]


def corpora(folder: str | Path, files: Sequence[str]) -> Iterator[tuple[str, Corpus]]:
    """Read corpus files one after another.

    Raises:
        TrainingError: a file is not there.
    """
    for file in files:
        path = Path(folder) / file
        if not path.is_file():
            raise TrainingError(f"no corpus file {path}. Give the folder that holds {', '.join(files)} with --data.")
        yield file, read_table(path)


def pretraining_array(folder: str | Path, options: DataOptions, contract: Contract) -> FloatArray:
    """Every training window prepared by the contract: (windows, C, T, V, M).

    Raises:
        TrainingError: a corpus file is not there, or no window is left.
    """
    rows = []
    for file, corpus in corpora(folder, options.files):
        keep = ~held_out(corpus, options.held_out.get(file)) & ~(corpus.max_step > options.max_step)
        for clip in (w for c, ok in zip(corpus.clips, keep, strict=True) if ok for w in windows(c, options)):
            if clip.frames >= options.shortest:
                rows.append(prepare(clip, contract))
    if not rows:
        raise TrainingError(f"no training window is left of {', '.join(options.files)}. Loosen shortest, max_step or held_out.")
    return np.stack(rows)
