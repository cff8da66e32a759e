"""Pretraining data: corpus files -> windows -> one prepared array on disk, with what is held out kept out."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo import __version__
from skelzoo.errors import TrainingError
from skelzoo.learn.benchmark_files import Rule
from skelzoo.learn.benchmarks import Benchmark, check_test_clips, joints_hash, known_benchmarks
from skelzoo.learn.cameras import SEEN
from skelzoo.learn.ranges import COUNT, check_numbers
from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.doubts import noted_doubts
from skelzoo.skeleton.io.corpus import Corpus, read_corpus
from skelzoo.skeleton.prepare import Contract, prepare_doubtfully
from skelzoo.skeleton.writing import whole_file
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
    except re.error:
        return False


def held_out(corpus: Corpus, rule: Mapping[str, Any] | None) -> NDArray[np.bool_]:
    """Which clips of a corpus a rule holds out: (clips,) bool, those that any of its entries names.

    ``{"share": s}`` takes that share of the clips by a hash of their names, so that the choice does not depend on the
    order of the file; ``{"subjects": [..]}`` lists subject ids, and ``{column: [..]}`` values of another column of the
    file, e.g. ``{"style": [5]}`` or ``{"view": [3]}``; ``{"name": regex}`` takes the clips in whose name the regular expression is found.

    Raises:
        TrainingError: the file has no such column, or no clip has one of those values.
    """
    out = np.zeros(len(corpus), bool)
    for key, wanted in (rule or {}).items():
        chosen = matching(corpus, key, wanted)
        if key != "share" and not chosen.any():
            there = f"The first name: {corpus.clip_names[0]!r}" if key == "name" else f"Its {key}: {np.unique(columns(corpus)[key]).tolist()}"
            raise TrainingError(f"{corpus.name}: no clip is of {key} {wanted}, so nothing would be held out. {there}.")
        out |= chosen
    return out


def named_by(corpus: Corpus, rule: Mapping[str, Any] | None) -> NDArray[np.bool_]:
    """As ``held_out``, also of a file that lacks what the rule names, such as one made of some of the recordings: (clips,) bool.

    Raises:
        TrainingError: the file has no such column.
    """
    return np.asarray(np.any([np.zeros(len(corpus), bool), *(matching(corpus, *entry) for entry in (rule or {}).items())], axis=0))


def matching(corpus: Corpus, key: str, wanted: Any) -> NDArray[np.bool_]:
    """Which clips one entry of a rule names, possibly none: (clips,) bool; see ``held_out``.

    Raises:
        TrainingError: the file has no such column.
    """
    if key == "share":
        hashes = [int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32 for name in corpus.clip_names]
        return np.asarray(np.array(hashes) < wanted)
    if key == "name":
        return np.array([re.search(wanted, name) is not None for name in corpus.clip_names], bool)
    known = columns(corpus)
    if key not in known:
        raise TrainingError(f"{corpus.name}: no column {key!r} to hold clips out by. There are: share, name, {', '.join(known)}.")
    return np.isin(known[key], wanted)


def columns(corpus: Corpus) -> dict[str, NDArray[Any]]:
    """What clips can be held out by, share aside: name -> one value per clip."""
    return {"subjects": corpus.subject, "split": corpus.split, "view": corpus.view, **corpus.extra}


def windows_of(clip: Clip, options: DataOptions) -> list[Clip]:
    """Cut a clip into overlapping windows; a clip of at most one and a half windows stays whole."""
    if clip.frames < 1.5 * options.window:
        return [clip]
    starts = range(0, clip.frames - options.window // 2, options.hop)
    return [_cut(clip, s, s + options.window) for s in starts if clip.keypoints[:, s : s + options.window].any()]


def _cut(clip: Clip, start: int, stop: int) -> Clip:
    """A window with those who are there, so that the first person of it is."""
    there = clip.keypoints[:, start:stop].any(axis=(1, 2, 3))
    return clip.take(there, slice(start, stop), f"{clip.name}@{start}")


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
    tests = ((corpus, b.test(corpus)) for b in _benchmarks(folder) for _, corpus in corpora(folder, [b.file]))
    return frozenset(joints_hash(corpus.clips[i]) for corpus, mask in itertools.chain(kept, tests) for i in np.flatnonzero(mask))


def _benchmarks(folder: str | Path) -> list[Benchmark]:
    """Those whose files lie in the folder and whose test clips are for evaluation only."""
    return [b for b in known_benchmarks() if b.evaluation_only and (Path(folder) / b.file).is_file()]


def training_windows(folder: str | Path, options: DataOptions, contract: Contract | None = None) -> Iterator[Clip]:
    """Every window that is trained on, clip by clip.

    Left out are the clips of ``evaluation_joints``, also where they are stored once more under another name.

    Args:
        contract: by which they are to be kept; files that it does not take are refused.

    Raises:
        TrainingError: a corpus file is not there, a rule does not fit it, it holds test clips that no rule holds out, or joints of other coordinates
            than the other files or the contract.
    """
    kept_back = evaluation_joints(folder, options)
    kinds: dict[int, str] = {}
    for file, corpus in corpora(folder, options.files):
        kinds.setdefault(corpus.clips[0].channels, file)
        _check_coordinates(kinds, contract)
        out = held_out(corpus, options.held_out.get(file))
        if file in options.held_out:
            _warn_of_absent(corpus, options.held_out[file])
        check_test_clips(file, corpus, out)
        for i in np.flatnonzero(~out & ~(corpus.max_step > options.max_step)):
            if joints_hash(corpus.clips[i]) not in kept_back:
                yield from (w for w in windows_of(corpus.clips[i], options) if w.frames >= options.shortest)


def _warn_of_absent(corpus: Corpus, rule: Mapping[str, Any]) -> None:
    """Warn of values that a rule lists, perhaps mistyped, and no clip has."""
    listed = tuple((key, tuple(values)) for key, values in rule.items() if key not in ("share", "name"))
    absent = Rule("held_out", "", listed).absent(corpus)
    if absent:
        warnings.warn(f"{corpus.name}: no clip has these values, which held_out lists: {', '.join(absent)}. Correct them, or take them out.", stacklevel=3)


def _check_coordinates(kinds: Mapping[int, str], contract: Contract | None) -> None:
    """Raise TrainingError for files of both 2-D and 3-D joints, or for such as the contract does not take: {coordinates: a file of them}."""
    if len(kinds) > 1:
        raise TrainingError(f"{kinds[2]} holds 2-D joints and {kinds[3]} 3-D ones. A recipe takes files of one kind: leave one of them out.")
    (channels,) = kinds
    if contract is not None and channels < contract.channels:
        raise TrainingError(
            f"{kinds[channels]} holds 2-D joints, and 3-D ones are kept, to be read or filmed. Take film_joints out of the augmentations of a 2-D contract; "
            "for a 3-D one give other files."
        )
    if contract is not None and contract.layout == SEEN and channels > contract.channels:
        raise TrainingError(
            f"{kinds[channels]} holds 3-D joints, and the contract is of those of pictures. Let film_joints be the first augmentation, or give files of 2-D joints."
        )


def pretraining_array(folder: str | Path, options: DataOptions, contract: Contract, cache: str | Path) -> FloatArray:
    """Every training window prepared by the contract: (windows, C, T, V, M), float32, read-only and mapped from disk.

    The array is prepared once, window by window: memory holds a corpus file or two, however many there are.

    Args:
        cache: folder for ``windows-<hash>.npy``; the hash is that of the corpus files, the options, the contract and the
            version of skelzoo, so another array never comes back.

    Raises:
        TrainingError: as ``training_windows``, or no window is left.
        WriteError: the folder cannot be written, or is full.
    """
    path = Path(cache) / f"windows-{_fingerprint(folder, options, contract)}.npy"
    if not path.is_file():
        for left_by_a_kill in path.parent.glob(f".{path.name}.*.part"):
            left_by_a_kill.unlink()
        doubts = noted_doubts()
        count, lengths, header = 0, [], {"descr": "<f4", "fortran_order": False}
        with whole_file(path) as file:
            np.lib.format.write_array_header_1_0(file, {**header, "shape": (0, *contract.shape)})
            for window in training_windows(folder, options, contract):
                prepared, found = prepare_doubtfully(window, contract)
                doubts.add(found, count, window.name)
                file.write(prepared.tobytes())
                lengths.append(window.frames)
                count += 1
            if not count:
                raise TrainingError(f"no training window is left of {', '.join(options.files)}. Loosen shortest, max_step or held_out.")
            doubts.warn()
            _warn_of_repetition(lengths, contract)
            # numpy leaves room in the header for the first axis to grow.
            file.seek(0)
            np.lib.format.write_array_header_1_0(file, {**header, "shape": (count, *contract.shape)})
    array: FloatArray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _warn_of_repetition(lengths: Sequence[int], contract: Contract) -> None:
    median = int(np.median(lengths))
    if contract.streams_of_recording and 1.25 * median < contract.frames:
        warnings.warn(
            f"half of the windows have at most {median} frames and are stretched to the {contract.frames} of stored_frames, so that most of their motion is zero, "
            "which the encoder will read as it was recorded. Set native_rate in the recipe.",
            stacklevel=3,
        )


def check_files(folder: str | Path, options: DataOptions) -> None:
    """Raise TrainingError unless every corpus file is there."""
    for file in options.files:
        _path(folder, file)


def file_hashes(folder: str | Path, options: DataOptions) -> dict[str, str]:
    """sha256 of each corpus file that is trained on.

    Raises:
        TrainingError: a file is not there.
    """
    return {file: file_info(_path(folder, file)).sha256 for file in options.files}


def _fingerprint(folder: str | Path, options: DataOptions, contract: Contract) -> str:
    tests = {b.file: file_info(_path(folder, b.file)).sha256 for b in _benchmarks(folder)}
    row = {
        "version": __version__, "options": dataclasses.asdict(options), "contract": contract.to_dict(),
        "files": {**file_hashes(folder, options), **tests},
    }  # fmt: skip
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]
