"""Pretraining data: corpus files -> windows -> one prepared array on disk, with what is held out kept out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skelzoo import __version__
from skelzoo.errors import TrainingError, warn
from skelzoo.learn.benchmark_files import Rule
from skelzoo.learn.benchmarks import check_test_clips, joints_hash
from skelzoo.learn.cameras import SEEN
from skelzoo.learn.held_out import DataOptions, corpora, evaluation_benchmarks, evaluation_joints, file_hashes, held_out
from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.contract import Contract
from skelzoo.skeleton.doubts import noted_doubts
from skelzoo.skeleton.io.corpus import Corpus
from skelzoo.skeleton.odd_notes import WINDOW
from skelzoo.skeleton.prepare import prepare_doubtfully
from skelzoo.skeleton.writing import whole_file


def windows_of(clip: Clip, options: DataOptions) -> list[Clip]:
    """Cut a clip into overlapping windows; a clip of at most one and a half windows stays whole."""
    if clip.frames < 1.5 * options.window:
        return [clip]
    starts = range(0, clip.frames - options.window // 2, options.hop)
    return [_cut(clip, s, s + options.window) for s in starts if clip.keypoints[:, s : s + options.window].any()]


def _cut(clip: Clip, start: int, stop: int) -> Clip:
    """A window with those who are there, so that the first person of it is."""
    there = clip.keypoints[:, start:stop].any(axis=(1, 2, 3))
    return clip.take(there, slice(start, stop), f"{clip.name}@{start}").replace(notes=(WINDOW,))


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
        warn(f"{corpus.name}: no clip has these values, which held_out lists: {', '.join(absent)}. Correct them, or take them out.")


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
        warn(
            f"half of the windows have at most {median} frames and are stretched to the {contract.frames} of stored_frames, so that most of their motion is zero, "
            "which the encoder will read as it was recorded. Set native_rate in the recipe.",
        )


def _fingerprint(folder: str | Path, options: DataOptions, contract: Contract) -> str:
    files = [*options.files, *(b.file for b in evaluation_benchmarks(folder))]
    row = {"version": __version__, "options": dataclasses.asdict(options), "contract": contract.to_dict(), "files": file_hashes(folder, files)}
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]
