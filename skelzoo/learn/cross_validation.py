"""Cross-validation of a fine-tuning: every clip is judged by a net that saw none of its fold."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skelzoo.errors import TrainingError, warn
from skelzoo.inference.encoder import Encoder
from skelzoo.learn.calibration import best_temperature
from skelzoo.learn.finetune import FinetuneOptions, check_call, check_mode, finetune
from skelzoo.learn.finetune_checkpoint import fold_file
from skelzoo.learn.finetune_options import Mode
from skelzoo.learn.finetune_result import CrossValidation as CrossValidation
from skelzoo.learn.seen import warn_of_learned
from skelzoo.learn.splits import class_ids, fold_numbers, one_per_clip, same_clips, warn_of_leaks, warn_of_spellings
from skelzoo.skeleton.arrays import Int64s
from skelzoo.skeleton.clip import Clip, clip_list, label_of
from skelzoo.skeleton.doubts import warned_once
from skelzoo.skeleton.prepare import prepare_batch

SMALLEST = 1e-30
"""Scores below this count as it: a score of zero has no logarithm."""


@warned_once()
def cross_validate(
    encoder: Encoder,
    clips: Sequence[Clip],
    labels: Sequence[str] | None = None,
    *,
    groups: Sequence[str] | None = None,
    folds: int | str = 5,
    mode: Mode = "full",
    unlabelled: Sequence[Clip] = (),
    options: FinetuneOptions | None = None,
    checkpoint: str | Path | None = None,
) -> CrossValidation:
    """Fine-tune once per fold on the clips of all others, up to the last epoch, and judge the fold by the result.

    Nothing is chosen by the clips that are judged. The nets are dropped; ``finetune(..., validation=RESULT)`` makes the model of all clips.
    What is not described here is as for ``finetune``.

    Args:
        encoder: it must not have learned from the clips before, and a warning says so if ``finetune`` gave it some.
        groups: one name per clip, such as the person's: whole groups are left out. Without, clips are, class by class, copies of a clip together.
        folds: how many, or ``groups`` to leave out one group at a time (leave-one-subject-out).
        checkpoint: as for ``finetune``, but fold N, from 1, is kept in ``CHECKPOINT.foldN``; folds that are done are not trained again.

    Raises:
        TrainingError, CheckpointError, WriteError: as ``finetune``, a number of folds that there cannot be, or a fold without which fewer than two classes are left.
        ClipError, CoverageError: a clip does not fit the encoder's contract; the message names it.
    """
    o, clips, unlabelled = check_call(encoder, options), clip_list(clips), clip_list(unlabelled)
    check_mode(encoder, mode, unlabelled, o)
    groups = None if groups is None else [str(label_of(group) or "") for group in one_per_clip(groups, "groups")]
    names, truth = class_ids(clips, labels, encoder.labels)
    warn_of_spellings(names)
    same = same_clips(prepare_batch(clips, encoder.contract), truth)
    fold = fold_numbers(truth, folds, groups, same, o.seed)
    warn_of_leaks(clips, same, fold.tolist(), groups is not None)
    logits = np.full((len(clips), len(names)), -np.inf)
    result = CrossValidation(names, tuple(c.name for c in clips), truth, fold, None if groups is None else tuple(groups), logits, 1.0)
    _check_folds(result)
    result = dataclasses.replace(result, learned_before=warn_of_learned(clips, encoder))
    for number in range(int(fold.max()) + 1):
        others, left_out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        learned = [clips[i] for i in others], [names[i] for i in truth[others]]
        try:
            tuned = finetune(encoder, *learned, mode=mode, unlabelled=unlabelled, validation=0, options=o, checkpoint=fold_file(checkpoint, number)).encoder
        except TrainingError as error:
            raise TrainingError(f"without fold {_described(result, left_out)}: {error}") from error
        known = np.array([names.index(name) for name in tuned.labels or ()])
        scores = tuned.scores([clips[i] for i in left_out], progress=False).astype(np.float64)
        logits[np.ix_(left_out, known)] = np.log(np.maximum(scores, SMALLEST))
    judged, theirs = result.judged()
    return dataclasses.replace(result, temperature=best_temperature(theirs, judged)) if len(judged) else result


def _check_folds(result: CrossValidation) -> None:
    """Check that every fold leaves two classes to learn, and warn of classes that one fold alone has."""
    cure = "Record more clips of them" if result.groups is None else "Record more persons of them, or leave groups out so that clips are dealt out one by one"
    for number in range(int(result.folds.max()) + 1):
        left = np.unique(result.truth[result.folds != number])
        if len(left) < 2:
            raise TrainingError(
                f"without fold {_described(result, np.flatnonzero(result.folds == number))} only clips of the class {result.labels[left[0]]!r} are left to learn from, and a net has to learn two classes. "
                f"Classes are best in all folds. {cure}; nothing was trained."
            )
    if result.unlearned:
        listed = ", ".join(f"{name!r} (fold {_described(result, np.flatnonzero(result.truth == result.labels.index(name)))})" for name in result.unlearned)
        warn(
            f"{len(result.unlearned)} of {len(result.labels)} classes are in one fold alone, whose net never sees them, so their clips count as wrong: {listed}. {cure}.",
        )


def _described(result: CrossValidation, clips: Int64s) -> str:
    """The fold of some clips, and where it has only a number, a few of the groups, or clips, that they are."""
    fold, of = result.fold_name(int(result.folds[clips[0]])), result.names if result.groups is None else result.groups
    inside = list(dict.fromkeys(of[i] for i in clips))
    return fold if inside == [fold] else f"{fold} ({', '.join(inside[:3])}{', ...' if len(inside) > 3 else ''})"
