"""Which clips of which corpus files are trained on, and which are held out."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import TrainingError
from skelzoo.learn.benchmarks import Benchmark, joints_hash, known_benchmarks
from skelzoo.learn.ranges import COUNT, NO_PATTERN, check_numbers
from skelzoo.skeleton.io.corpus import Corpus, read_corpus
from skelzoo.weights.files import file_info


@dataclass(frozen=True)
class DataOptions:
    """Which clips are trained on and how they are cut.

    Attributes:
        files: corpus file names, looked up in the data folder.
        window, hop: frames of a window and the step between windows; shorter clips stay whole.
        shortest: windows with fewer frames are dropped.
        max_step: clips in which a joint moves more than this between two frames are dropped (tracking jumps), metres.
        held_out: corpus file -> rule, see ``held_out``. Held-out clips never enter pretraining.

    Raises:
        TrainingError: what are no names of files, each once, frames that are no whole numbers of at least 1, metres that are none, an empty rule, a share that is none, or a rule for a file that is not among the files.
    """

    files: Sequence[str]
    window: int = 90
    hop: int = 60
    shortest: int = 16
    max_step: float = 1.0
    held_out: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plain = isinstance(self.files, (list, tuple)) and all(isinstance(file, str) and Path(file).name == file != ".." for file in self.files)
        if not plain or not self.files or len(set(self.files)) < len(self.files):
            raise TrainingError(f"data.files is {self.files!r}. Give a list of names of files in the data folder, each once.")
        if type(self.max_step) not in (int, float) or not self.max_step > 0:
            raise TrainingError(f"data.max_step is {self.max_step!r}. Give a number of metres above 0.")
        check_numbers(self, dict.fromkeys(("window", "hop", "shortest"), COUNT), "data.")
        for file, rule in self.held_out.items():
            if file not in self.files or not rule or not all(_is_entry(*entry) for entry in rule.items()):
                raise TrainingError(
                    f"held_out of {file!r}: {dict(rule)}. Name one of the files, and give it a share between 0 and 1, lists of subjects or of values of a column, "
                    "or as name a regular expression that is found in the names of clips."
                )


def _is_entry(key: str, wanted: Any) -> bool:
    if key == "share":
        return bool(0 <= wanted <= 1)
    if key != "name":
        return isinstance(wanted, Sequence) and not isinstance(wanted, str) and bool(wanted)
    try:
        return isinstance(wanted, str) and bool(wanted) and bool(re.compile(wanted))
    except NO_PATTERN:
        return False


def held_out(corpus: Corpus, rule: Mapping[str, Any] | None, *, partial: bool = False) -> NDArray[np.bool_]:
    """Which clips of a corpus a rule holds out: (clips,) bool, those that any of its entries names.

    ``{"share": s}`` takes that share of the clips by a hash of their names, so that the choice does not depend on the
    order of the file; ``{"subjects": [..]}`` lists subject ids, and ``{column: [..]}`` values of another column of the
    file, e.g. ``{"style": [5]}`` or ``{"view": [3]}``; ``{"name": regex}`` takes the clips in whose name the regular expression is found.

    Args:
        partial: whether the file may lack what an entry names, as one made of some of the recordings does.

    Raises:
        TrainingError: the file has no such column, or no clip is what an entry names.
    """
    out = np.zeros(len(corpus), bool)
    for key, wanted in (rule or {}).items():
        chosen = matching(corpus, key, wanted)
        if not (partial or key == "share" or chosen.any()):
            there = f"The first name: {corpus.clip_names[0]!r}" if key == "name" else f"Its {key}: {np.unique(corpus.columns[key]).tolist()}"
            raise TrainingError(f"{corpus.name}: no clip is of {key} {wanted}, so nothing would be held out. {there}.")
        out |= chosen
    return out


def matching(corpus: Corpus, key: str, wanted: Any) -> NDArray[np.bool_]:
    """Which clips one entry of a rule names, possibly none: (clips,) bool; see ``held_out``.

    Raises:
        TrainingError: the file has no such column.
    """
    if key == "share":
        hashes = [int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32 for name in corpus.clip_names]
        return np.asarray(np.array(hashes) < wanted)
    if key == "name":
        return corpus.named(wanted)
    known = corpus.columns
    if key not in known:
        raise TrainingError(f"{corpus.name}: no column {key!r} to hold clips out by. There are: share, name, {', '.join(known)}.")
    return np.isin(known[key], wanted)


def corpora(folder: str | Path, files: Sequence[str]) -> Iterator[tuple[str, Corpus]]:
    """Read corpus files one after another.

    Raises:
        TrainingError: a file is not there.
    """
    for file in files:
        yield file, read_corpus(_path(folder, file))


def _path(folder: str | Path, file: str) -> Path:
    path = Path(folder) / file
    if not path.is_file():
        raise TrainingError(f"no corpus file {path}. Give the folder that holds it with --data; `skelzoo corpus build` makes it.")
    return path


def evaluation_joints(folder: str | Path, options: DataOptions) -> frozenset[str]:
    """``joints_hash`` of every clip that is kept for evaluation.

    These are the clips that the rules hold out, and the test clips of the benchmarks whose files lie in the folder.

    Raises:
        TrainingError: as ``corpora`` and ``held_out``.
    """
    kept = ((corpus, held_out(corpus, options.held_out[file])) for file, corpus in corpora(folder, list(options.held_out)))
    tests = ((corpus, b.test(corpus)) for b in evaluation_benchmarks(folder) for _, corpus in corpora(folder, [b.file]))
    return frozenset(joints_hash(corpus.clips[i]) for corpus, mask in itertools.chain(kept, tests) for i in np.flatnonzero(mask))


def evaluation_benchmarks(folder: str | Path) -> list[Benchmark]:
    """Those whose files lie in the folder and whose test clips are for evaluation only."""
    return [b for b in known_benchmarks() if b.evaluation_only and (Path(folder) / b.file).is_file()]


def check_files(folder: str | Path, files: Sequence[str]) -> None:
    """Raise TrainingError unless every corpus file is there."""
    for file in files:
        _path(folder, file)


def file_hashes(folder: str | Path, files: Sequence[str]) -> dict[str, str]:
    """sha256 of each corpus file.

    Raises:
        TrainingError: a file is not there.
    """
    return {file: file_info(_path(folder, file)).sha256 for file in files}
