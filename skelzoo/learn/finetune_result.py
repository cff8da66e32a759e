"""What came of a fine-tuning: the encoder and how it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from skelzoo.errors import TrainingError
from skelzoo.inference.encoder import Encoder
from skelzoo.learn.calibration import Calibration
from skelzoo.learn.head_result import log_scores
from skelzoo.skeleton.arrays import Float64s, Int64s


@dataclass(frozen=True)
class Epoch:
    """One pass over the training clips.

    Attributes:
        loss: mean training loss.
        validation_loss, validation_accuracy: cross-entropy and percent right; NaN without a validation part.
    """

    epoch: int
    loss: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """N clips, each judged by a net that was fine-tuned on the other folds alone.

    Attributes:
        labels: class names in the order of the scores.
        names: of the clips, in the order in which they were given.
        truth: (N,) class of each clip, as an index into ``labels``.
        folds: (N,) number of the fold each was left out with, from 0.
        groups: of the clips; None without groups.
        logits: (N, classes) before the temperature; -inf for classes of which the other folds have no clip, whose clips thus count as wrong.
        temperature: that is fitted on them, see ``calibration``.
        learned_before: what ``skelzoo.learn.seen.warn_of_learned`` says of them.
    """

    labels: tuple[str, ...]
    names: tuple[str, ...]
    truth: Int64s
    folds: Int64s
    groups: tuple[str, ...] | None
    logits: Float64s
    temperature: float
    learned_before: str = ""

    @property
    def scores(self) -> Float64s:
        """(N, classes) out of fold: softmax of the logits, divided by the temperature."""
        return np.exp(log_scores(self.logits / self.temperature))

    @property
    def predicted(self) -> Int64s:
        """(N,) best class of each clip."""
        return np.asarray(self.logits.argmax(1))

    @property
    def confusion(self) -> Int64s:
        """(classes, classes) clips, row the true class, column the one given."""
        return confusion_of(self.truth, self.predicted, len(self.labels))

    @property
    def accuracy(self) -> float:
        """Clips of all folds that are right, percent."""
        return 100 * float((self.predicted == self.truth).mean())

    @property
    def per_fold(self) -> Mapping[str, float]:
        """Fold -> percent of its clips that are right; a fold is called by its group where it is one, else by its number, from 1."""
        right = self.predicted == self.truth
        return {self.fold_name(i): 100 * float(right[self.folds == i].mean()) for i in range(int(self.folds.max()) + 1)}

    @property
    def per_class(self) -> Mapping[str, float]:
        """Class -> percent of its clips that are right."""
        return _per_class(self.labels, self.confusion)

    @property
    def unlearned(self) -> Mapping[str, str]:
        """Class -> the only fold that has clips of it; the net that judges them never saw the class, so they count as wrong."""
        folds = {name: np.unique(self.folds[self.truth == i]) for i, name in enumerate(self.labels)}
        return {name: self.fold_name(int(found[0])) for name, found in folds.items() if len(found) == 1}

    def fold_name(self, number: int) -> str:
        """What ``per_fold`` calls a fold."""
        inside = {group for group, fold in zip(self.groups or (), self.folds, strict=self.groups is not None) if fold == number}
        alone = self.groups is not None and len(set(self.groups)) == self.folds.max() + 1
        return min(inside) if alone else str(number + 1)

    def judged(self) -> tuple[Int64s, Float64s]:
        """Classes and logits of the clips whose fold's net knew all classes, for the temperature."""
        known = np.isfinite(self.logits).all(1)
        return self.truth[known], self.logits[known]

    def check(self, labels: tuple[str, ...], truth: Int64s) -> None:
        """Raises TrainingError: clips of other classes, or other clips."""
        if labels != self.labels or not np.array_equal(truth, self.truth):
            raise TrainingError("the cross-validation is of other clips or labels. Give validation= what cross_validate gave for these, with the same encoder.")


@dataclass(frozen=True, eq=False)
class FinetuneResult:
    """A fine-tuned encoder and how it did.

    Attributes:
        encoder: with the best epoch's weights; its ``labels`` are the class names, alphabetical.
        clips: class -> (training clips, validation clips).
        history: one row per epoch run.
        best_epoch: the epoch of the weights, from 1: the first of those with the highest validation accuracy (lower loss wins
            a tie); the last one without a validation part.
        confusion: (classes, classes) validation clips of the best epoch, row the true class, column the one given.
        held_out: the groups validated on, when clips were held out by group.
        calibration: how far the scores can be trusted; None without a validation part.
        cross_validation: that ``validation`` gave; ``encoder`` has then learned from all clips.
        seen: what ``skelzoo.learn.seen.seen_tests`` says of the clips, as far as it was asked.
        own_validation: whether the validation clips were given, and none held out.
        learned_before: what ``skelzoo.learn.seen.warn_of_learned`` says of the validation clips.
    """

    encoder: Encoder
    clips: Mapping[str, tuple[int, int]]
    history: tuple[Epoch, ...]
    best_epoch: int
    confusion: Int64s
    held_out: tuple[str, ...]
    calibration: Calibration | None = None
    cross_validation: CrossValidation | None = None
    seen: tuple[str, ...] = ()
    own_validation: bool = False
    learned_before: str = ""

    def __repr__(self) -> str:
        right = "" if np.isnan(self.accuracy) else f"{self.accuracy:.0f} % "
        return f"FinetuneResult({len(self.clips)} classes, {sum(map(sum, self.clips.values()))} clips, {right}at epoch {self.best_epoch})"

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the head."""
        return tuple(self.clips)

    @property
    def accuracy(self) -> float:
        """Validation clips that are right, percent; NaN without any. The epoch was chosen by it, so new data do a little worse."""
        return self.history[self.best_epoch - 1].validation_accuracy

    @property
    def per_class(self) -> Mapping[str, float]:
        """Class -> percent of its validation clips that are right; NaN without any."""
        return _per_class(self.labels, self.confusion)

    @property
    def balanced_accuracy(self) -> float:
        """Mean of ``per_class`` over the classes with validation clips; NaN without any."""
        return mean_of_known(self.per_class)


def confusion_of(truth: Int64s, given: Int64s, classes: int) -> Int64s:
    """(classes, classes) clips, row the true class, column the one given."""
    out = np.zeros((classes, classes), np.int64)
    np.add.at(out, (truth, given), 1)
    return out


def _per_class(labels: Sequence[str], confusion: Int64s) -> Mapping[str, float]:
    rows = zip(labels, confusion.diagonal(), confusion.sum(1), strict=True)
    return {name: 100 * float(right / count) if count else float("nan") for name, right, count in rows}


def mean_of_known(per_class: Mapping[str, float]) -> float:
    """Mean over the classes that are known, percent; NaN where none is."""
    known = [a for a in per_class.values() if not np.isnan(a)]
    return float(np.mean(known)) if known else float("nan")
