"""Labelled clips to class ids, and a part of them held out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from skelzoo.errors import TrainingError, warn
from skelzoo.skeleton.arrays import Bools, Int64s
from skelzoo.skeleton.clip import Clip, FloatArray, label_of
from skelzoo.skeleton.doubts import noted_doubts

NUMBER = r"-?\d+(\.\d+)?"
"""A class name that is one."""


def one_per_clip(values: Any, what: str) -> list[Any]:
    """Labels or groups as a list.

    Raises:
        TrainingError: a mapping, of which a list would hold the keys, or a single text.
    """
    if isinstance(values, (Mapping, str, bytes)):
        raise TrainingError(
            f"{what} are of type {type(values).__name__}. Give one per clip, in the order of the clips, e.g. [{what}[clip.name] for clip in clips]."
        )
    return list(values)


def class_ids(clips: Sequence[Clip], labels: Sequence[str] | None = None, known: Sequence[str] | None = None) -> tuple[tuple[str, ...], Int64s]:
    """Class names in alphabetical order, or that of numbers where all are, and the class of each clip as an index into them, (clips,).

    Args:
        labels: one per clip; by default the clips' own.
        known: an order that is taken where these are the classes.

    Raises:
        TrainingError: no clips, clips without a label, another number of labels than clips, a name that is no UTF-8, or fewer than two classes.
        ClipError: a label of several numbers.
    """
    found = [c.label for c in clips] if labels is None else [label_of(label) for label in one_per_clip(labels, "labels")]
    if not clips or len(found) != len(clips):
        raise TrainingError(f"{len(found)} labels for {len(clips)} clips. Give at least two labelled clips and one label for each.")
    unnamed = [clip.name for clip, label in zip(clips, found, strict=True) if not label]
    if unnamed:
        raise TrainingError(
            f"{len(unnamed)} of {len(clips)} clips have no label, the first is {unnamed[0]!r}. Set clip.label, pass labels=, or leave them out."
        )
    names = {str(name) for name in found}
    odd = sorted(name for name in names if name != name.encode("utf-8", "replace").decode())
    if odd:
        raise TrainingError(f"the class {odd[0]!r} has a name that is no UTF-8, as folders from other systems may have. Rename the folder, or pass labels=.")
    if len(names) < 2:
        raise TrainingError(f"all {len(clips)} clips are of the class {min(names)!r}. Give clips of at least two classes.")
    numeric = all(re.fullmatch(NUMBER, name) for name in names)
    ordered = tuple(known) if known and names == set(known) else tuple(sorted(names, key=lambda name: (float(name) if numeric else 0, name)))
    index = {name: i for i, name in enumerate(ordered)}
    return ordered, np.array([index[str(name)] for name in found], np.int64)


def known_ids(clips: Sequence[Clip], names: Sequence[str]) -> Int64s:
    """The class of each clip as an index into ``names``, (clips,).

    Raises:
        TrainingError: a clip without a label, or of a class that is not among the names.
    """
    index = {name: i for i, name in enumerate(names)}
    odd = next((c for c in clips if c.label not in index), None)
    if odd is not None:
        raise TrainingError(f"validation clip {odd.name!r} has the label {odd.label!r}, which no training clip has. Its classes are: {', '.join(names)}.")
    return np.array([index[str(c.label)] for c in clips], np.int64)


def same_clips(prepared: FloatArray, truth: Int64s) -> Int64s:
    """Which clips are copies: for each the number of the first one with the same joints and class, (clips,).

    Args:
        prepared: (clips, ...).
        truth: class of each clip.
    """
    first: dict[Hashable, int] = {}
    return np.array(
        [first.setdefault((hashlib.sha256(x.tobytes()).digest(), int(y)), i) for i, (x, y) in enumerate(zip(prepared, truth, strict=True))], np.int64
    )


def warn_of_leaks(clips: Sequence[Clip], same: Int64s, parts: Sequence[Any], grouped: bool) -> None:
    """Warn where clips that a part is judged by are known from another part: as copies, or as windows of one recording.

    Args:
        same: see ``same_clips``.
        parts: (clips,) which part each clip lies in.
        grouped: whether somebody said which clips belong together.
    """
    copies = in_several(same.tolist(), parts)
    if copies:
        warn(
            f"{len(copies)} of {len(clips)} clips have copies in another part, the first is {clips[copies[0]].name!r}, so the accuracy will be too high. "
            "Leave one of each out, or put them into one group.",
        )
    windows = [] if grouped else in_several([c.name.rpartition("[")[0] if re.search(r"\[\d+:\d+\]$", c.name) else i for i, c in enumerate(clips)], parts)
    if windows:
        warn(
            f"{len(windows)} of {len(clips)} clips are windows of recordings that lie in several parts, the first is {clips[windows[0]].name!r}, so the accuracy will be too high. "
            "Give groups=, one person's or recording's name per clip, e.g. [clip.name.rpartition('[')[0] for clip in clips].",
        )


def warn_of_spellings(names: Sequence[str]) -> None:
    """Warn of classes that are called the same but for case, blanks, - and _; within ``skelzoo.skeleton.doubts.warned_once`` but once."""
    alike: dict[str, list[str]] = {}
    for name in names:
        # Numbers differ by a sign, and by what stands between digits.
        key = name if re.fullmatch(NUMBER, name) else re.sub(r"(?<!\d)[\s_-]+|[\s_-]+(?!\d)", "", re.sub(r"[\s_-]+", " ", name)).casefold()
        alike.setdefault(key, []).append(name)
    groups = [" and ".join(map(repr, several)) for several in alike.values() if len(several) > 1]
    if groups:
        text = f"{', '.join(groups)} are learned as classes of their own, though only case, blanks, - or _ differ. If they are one class, give it one name."
        noted_doubts().warn_of(text)


def in_several(keys: Sequence[Hashable], parts: Sequence[Any]) -> list[int]:
    """Numbers of the clips whose key there is in another part too."""
    there: dict[Hashable, set[int]] = {}
    for key, part in zip(keys, parts, strict=True):
        there.setdefault(key, set()).add(int(part))
    return [i for i, key in enumerate(keys) if len(there[key]) > 1]


def hold_out(truth: Int64s, names: Sequence[str], clips: Sequence[str], share: float, seed: int, same: Int64s | None = None) -> Bools:
    """Hold out a share of every class, at least one clip and never all of them; 0 holds out none: (clips,) bool.

    Args:
        truth: class of each clip.
        clips: their names, for messages.
        same: see ``same_clips``; copies of a clip count once, and are held out together.

    Raises:
        TrainingError: a class with a single clip, or a share outside 0 to below 1.
    """
    if same is not None:
        first, copy_of = np.unique(same, return_inverse=True)
        return hold_out(truth[first], names, [clips[i] for i in first], share, seed)[copy_of]
    check_share(share)
    out = np.zeros(len(truth), bool)
    if share == 0:
        return out
    rng = np.random.default_rng(seed)
    for i, name in enumerate(names):
        members = rng.permutation(np.flatnonzero(truth == i))
        if len(members) == 1:
            raise TrainingError(
                f"class {name!r} has one clip, {clips[members[0]]!r}, copies aside, so it cannot be both learned and validated. "
                "Record more of it, leave it out, or give --validation 0 (validation=0) or validation clips of your own."
            )
        out[members[: min(max(round(share * len(members)), 1), len(members) - 1)]] = True
    return out


def hold_out_groups(truth: Int64s, groups: Sequence[str], share: float, seed: int, names: Sequence[str] | None = None) -> Bools:
    """Hold out whole groups, such as persons: (clips,) bool.

    Drawn one after the other, a group is taken if that brings the clips held out nearer to the share and every class keeps a clip;
    if no group does, as when all are large, the smallest that leaves every class a clip. Groups of one class each, as recordings are, are held out
    as ``hold_out`` does clips, if every class has two or more.

    Args:
        groups: one name per clip.
        names: of the classes, for messages; by default their numbers.

    Raises:
        TrainingError: another number of groups than clips, a clip without one (None, NaN or ""), no group can be held out, or a share outside 0 to below 1.
    """
    check_share(share)
    of_clip = np.array(_group_names(groups, len(truth)), np.str_)
    known, first, unit = np.unique(of_clip, return_index=True, return_inverse=True)
    if np.array_equal(truth[first][unit], truth) and np.bincount(truth[first]).min() > 1:
        return hold_out(truth, names or [str(i) for i in range(int(truth.max()) + 1)], of_clip.tolist(), share, seed, first[unit])
    wanted, out = share * len(truth), np.zeros(len(truth), bool)

    def learnable(held: Bools) -> bool:
        return set(truth[~held]) == set(truth)

    drawn = [of_clip == group for group in np.random.default_rng(seed).permutation(known)] if share else []
    for group in drawn:
        wider = out | group
        if abs(wider.sum() - wanted) < abs(out.sum() - wanted) and learnable(wider):
            out = wider
    if not out.any():
        out = min(filter(learnable, drawn), key=np.count_nonzero, default=out)
    if share and not out.any():
        alone = {group: int(np.setdiff1d(truth, truth[of_clip != group])[0]) for group in known[:8]}
        listed = ", ".join(f"{group} with {repr(names[i]) if names else i}" for group, i in alone.items())
        raise TrainingError(
            f"none of the {len(known)} groups can be held out, as each is the only one with clips of some class: {listed}{', ...' if len(known) > 8 else ''}. "
            "Record more persons per class, or leave groups out so that clips are held out one by one."
        )
    return out


def fold_numbers(truth: Int64s, folds: int | str, groups: Sequence[str] | None, same: Int64s, seed: int) -> Int64s:
    """Deal clips out to folds of nearly equal size, in each as many of a class as can be: (clips,), from 0.

    Args:
        folds: how many, or ``groups`` for one per group.
        groups: one name per clip: whole groups stay together. Without, copies do.
        same: see ``same_clips``.

    Raises:
        TrainingError: groups as ``hold_out_groups``, one group alone, or a number of folds that there cannot be.
    """
    whole = same if groups is None else np.array(_group_names(groups, len(truth)), np.str_)
    units, unit_of = np.unique(whole, return_inverse=True)
    if folds == "groups" and groups is not None:
        folds = len(units)
    if groups is not None and len(units) == 1:
        raise TrainingError(
            f"all {len(truth)} clips are of the group {units[0]!s}, and cross-validation takes at least two. Record more persons, check how groups are named "
            "(groups=, --group), or leave groups out so that clips are dealt out one by one."
        )
    if not isinstance(folds, (int, np.integer)) or isinstance(folds, bool) or not 2 <= folds <= len(units):
        raise TrainingError(
            f"folds is {folds!r}, for {len(units)} {'different clips without groups' if groups is None else 'groups'}. "
            "Give a whole number from 2 to as many as there are, or groups of the clips (groups=, --group) and folds='groups', which leaves out one at a time."
        )
    if groups is not None and folds == len(units):
        return unit_of.astype(np.int64)
    content = np.zeros((len(units), int(truth.max()) + 1), np.int64)
    np.add.at(content, (unit_of, truth), 1)
    drawn = np.random.default_rng(seed).permutation(len(units))
    fold, filled = np.zeros(len(units), np.int64), np.zeros((folds, content.shape[1]), np.int64)
    for unit in drawn[np.argsort(-content[drawn].sum(1), kind="stable")]:
        fold[unit] = np.lexsort((filled.sum(1), filled @ content[unit]))[0]
        filled[fold[unit]] += content[unit]
    return np.asarray(fold[unit_of])


def _group_names(groups: Sequence[str], count: int) -> list[str]:
    if len(groups) != count:
        raise TrainingError(f"{len(groups)} groups for {count} clips. Give one name per clip, such as the person's.")
    names = [label_of(group) for group in one_per_clip(groups, "groups")]
    if not all(names):
        raise TrainingError(
            f"{sum(not name for name in names)} of {len(names)} clips have no group, the first is number {names.index(next(n for n in names if not n))}. Name a group for each."
        )
    return [str(name) for name in names]


def check_share(share: float) -> None:
    """Raise TrainingError unless a share of the clips can be held out."""
    if not 0 <= share < 1:
        raise TrainingError(f"validation is {share}. Give a share from 0 to below 1, or validation clips of your own.")
