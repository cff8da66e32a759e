"""How well a classification head does, and how far its scores can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from skelzoo.skeleton.arrays import Float64s, Int64s

BINS = 15
TEMPERATURES = np.geomspace(0.1, 10, 181)


@dataclass(frozen=True)
class HeadScore:
    """A head on a set of clips.

    Attributes:
        accuracy, top3: share of clips whose class is the best one, or among the best three, percent.
        balanced_accuracy: mean over classes of the share right, percent.
        mean_score: mean of the best class's score, percent; above ``accuracy`` the scores are too high.
        calibration_error: expected calibration error of the best class's score, 0 to 1; see ``calibration_error``.
    """

    test_clips: int
    accuracy: float
    balanced_accuracy: float
    top3: float
    mean_score: float
    calibration_error: float


@dataclass(frozen=True)
class HeadResult(HeadScore):
    """A head on all clips held out of pretraining and of its fit, and on parts of them.

    Attributes:
        temperature: by which the logits were divided.
        error_before: calibration error before that.
        kinds: kind of holding out -> score: ``clip``, ``subject``, a column such as ``style``; ``source FILE``: a head fitted
            without that corpus file, on its held-out clips of classes that other files have too; ``cross-validated``: training clips,
            each by a head that saw none of its subject or style, at the temperature that was fitted on them.
        per_class: class -> (held-out clips, percent right).
        confusions: (class, what it was taken for, clips), most clips first.
    """

    classes: int
    train_clips: int
    temperature: float
    error_before: float
    kinds: Mapping[str, HeadScore]
    per_class: Mapping[str, tuple[int, float]]
    confusions: Sequence[tuple[str, str, int]]


def score(logits: Float64s, truth: Int64s) -> HeadScore:
    """Score logits (N, classes) against class indices (N,)."""
    right = logits.argmax(1) == truth
    better = (logits > logits[np.arange(len(truth)), truth][:, None]).sum(1)
    balanced = float(np.mean([right[truth == i].mean() for i in np.unique(truth)]))
    best = 100 * float(np.exp(log_scores(logits)).max(1).mean())
    return HeadScore(len(truth), 100 * float(right.mean()), 100 * balanced, 100 * float((better < 3).mean()), best, calibration_error(logits, truth))


def calibration_error(logits: Float64s, truth: Int64s) -> float:
    """Expected calibration error: |mean score - share right| of the best class, averaged over clips in BINS equally wide bins of score (Guo et al. 2017)."""
    best = np.exp(log_scores(logits)).max(1)
    right = logits.argmax(1) == truth
    bins = np.minimum((best * BINS).astype(int), BINS - 1)
    return float(sum(abs((best - right)[bins == b].sum()) for b in np.unique(bins)) / len(truth))


def surprise(logits: Float64s, truth: Int64s) -> Float64s:
    """Summed negative log score of the true class at each of TEMPERATURES."""
    return np.array([-log_scores(logits / t)[np.arange(len(truth)), truth].sum() for t in TEMPERATURES])


def log_scores(logits: Float64s) -> Float64s:
    """Logarithm of the softmax over the last axis of (N, classes)."""
    shifted = logits - logits.max(1, keepdims=True)
    scores: Float64s = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return scores


def per_class(logits: Float64s, truth: Int64s, names: Sequence[str]) -> dict[str, tuple[int, float]]:
    """Class -> (clips, percent right), of the classes that have clips."""
    right = logits.argmax(1) == truth
    return {n: (int((truth == i).sum()), 100 * float(right[truth == i].mean())) for i, n in enumerate(names) if (truth == i).any()}


def confusions(logits: Float64s, truth: Int64s, names: Sequence[str]) -> list[tuple[str, str, int]]:
    """(class, what it was taken for, clips), most clips first."""
    pairs = Counter((names[t], names[p]) for t, p in zip(truth, logits.argmax(1), strict=True) if t != p)
    return [(true, taken, count) for (true, taken), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))]
