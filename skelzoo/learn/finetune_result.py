"""What came of a fine-tuning: the encoder and how it did, as a table and a card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skelzoo.errors import TrainingError, UnknownModelError, WriteError
from skelzoo.inference.earlier import check_replaced, with_columns
from skelzoo.inference.encoder import Encoder
from skelzoo.inference.output import check_output, table
from skelzoo.learn.calibration import Calibration
from skelzoo.learn.head_result import log_scores
from skelzoo.learn.seen import seen_in_card
from skelzoo.skeleton.arrays import Float64s, Int64s
from skelzoo.skeleton.writing import check_place, csv_bytes, whole_file
from skelzoo.weights.cards import licence_of
from skelzoo.weights.manifest import manifest

PAIRS = 5
"""Pairs of classes taken for each other that a report lists."""

REPORT = ("name", "file", "group", "label", "fold", "predicted")
"""First columns of a cross-validation's table."""

LISTED = 20
"""Groups that a report names; there can be as many as recordings."""

RECORDINGS = "What the recordings' licence asks for comes on top."
"""Ends what the card says of the licence."""


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
        return _mean_of_known(self.per_class)


def confusion_of(truth: Int64s, given: Int64s, classes: int) -> Int64s:
    """(classes, classes) clips, row the true class, column the one given."""
    out = np.zeros((classes, classes), np.int64)
    np.add.at(out, (truth, given), 1)
    return out


def _per_class(labels: Sequence[str], confusion: Int64s) -> Mapping[str, float]:
    rows = zip(labels, confusion.diagonal(), confusion.sum(1), strict=True)
    return {name: 100 * float(right / count) if count else float("nan") for name, right, count in rows}


def _mean_of_known(per_class: Mapping[str, float]) -> float:
    known = [a for a in per_class.values() if not np.isnan(a)]
    return float(np.mean(known)) if known else float("nan")


def _crossed_report(result: FinetuneResult, crossed: CrossValidation) -> str:
    counts, right = np.bincount(crossed.truth), crossed.per_class
    rows = [[name, str(count), f"{right[name]:.0f} %"] for name, count in zip(crossed.labels, counts, strict=True)]
    folds = np.array(list(crossed.per_fold.values()))
    kind = (
        "clips, whoever they are of: expect less on persons who are not among them"
        if crossed.groups is None
        else f"whole groups, {len(set(crossed.groups))} in all"
    )
    listed = ", ".join(f"{name} {accuracy:.0f} %" for name, accuracy in crossed.per_fold.items())
    text = [
        table(["class", "clips", "right out of fold"], rows), "",
        f"cross-validation, {len(folds)} folds of {kind}",
        f"accuracy {crossed.accuracy:.1f} %, mean over classes {_mean_of_known(right):.1f} %; over folds {folds.mean():.1f} ± {folds.std(ddof=1):.1f} %, "
        f"from {folds.min():.1f} to {folds.max():.1f} %",
        f"folds: {listed}", *filter(None, [crossed.learned_before]), *_calibrated(result.calibration, "out-of-fold scores", crossed.accuracy), *_pairs(crossed.labels, crossed.confusion),
        *(f"class {name!r} is in fold {fold} alone: the net that judged it never saw it, so its clips count as wrong" for name, fold in crossed.unlearned.items()),
        f"The model has learned from all {len(crossed.truth)} clips and is none of those measured; weights of the last of {len(result.history)} epochs",
    ]  # fmt: skip
    return "\n".join(text)


def report(result: FinetuneResult) -> str:
    """What a fine-tuning gave, for people: classes, counts, accuracy, the pairs most often taken for each other."""
    if result.cross_validation:
        return _crossed_report(result, result.cross_validation)
    rows = [[name, str(train), str(valid), f"{result.per_class[name]:.0f} %" if valid else "-"] for name, (train, valid) in result.clips.items()]
    text = [table(["class", "training clips", "validation clips", "right"], rows), ""]
    if np.isnan(result.accuracy):
        return "\n".join([*text, f"no validation part; weights of the last of {len(result.history)} epochs"])
    judged = [name for name, (_, valid) in result.clips.items() if valid]
    classes = "classes" if len(judged) == len(result.labels) else f"the {len(judged)} of {len(result.labels)} classes that have validation clips"
    text += [
        f"validation accuracy {result.accuracy:.1f} %, mean over {classes} {result.balanced_accuracy:.1f} % "
        f"(best of {len(result.history)} epochs: {result.best_epoch}; chosen by it, so slightly favourable)",
        _held(result),
        *filter(None, [result.learned_before]),
    ]
    if len(judged) < len(result.labels):
        text.append(f"without validation clips, so nothing is known of how well they are told: {', '.join(repr(n) for n in result.labels if n not in judged)}")
    return "\n".join([*text, *_calibrated(result.calibration, "validation part", result.accuracy), *_pairs(result.labels, result.confusion)])


def _held(result: FinetuneResult) -> str:
    if result.own_validation:
        return "validated on clips of your own: a number of new persons only if nobody is among both these and the training clips"
    if result.held_out:
        shown = result.held_out[:LISTED]
        return f"groups held out: {', '.join(shown)}" + (f" and {len(result.held_out) - LISTED} more" if len(result.held_out) > LISTED else "")
    return "clips held out one by one: expect less on persons who are not among the clips"


def _calibrated(c: Calibration | None, fitted_on: str, accuracy: float) -> list[str]:
    if c is None:
        return []
    folded = f"{c.error_before:.2f} before they were divided by a temperature of {c.temperature:.2f}, fitted on the {fitted_on}"
    few = (
        "; few clips that are all right prove no certainty, so scores were lowered"
        if accuracy == 100 and c.error > c.error_before and c.temperature > 1
        else ""
    )
    return [f"calibration error of the scores {c.error:.2f} ({folded if c.temperature != 1 else 'the head takes in no temperature, or needs none'}{few})"]


def _pairs(labels: Sequence[str], confusion: Int64s) -> list[str]:
    wrong = confusion * (1 - np.eye(len(labels), dtype=np.int64))
    worst = [divmod(int(i), len(labels)) for i in np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]]
    return [f"{wrong[i, j]} of {confusion[i].sum()} clips of {labels[i]!r} taken for {labels[j]!r}" for i, j in worst if wrong[i, j]]


def check_report(path: str | Path, folder: str | Path | None = None, inputs: Iterable[str | Path] = ()) -> None:
    """Check, before any work, that ``write_report`` can write there.

    Args:
        folder: where weights will be saved after it; a folder that holds other files is not replaced by them.
        inputs: paths that will be read.

    Raises:
        WriteError: another suffix than .csv, no permission to write, a file there that is no earlier report or is to be read, or a place inside the folder.
    """
    target = check_output(path, (".csv",))
    files = target, _confusion_file(target)
    check_place(files[1])
    check_replaced({files[0]: with_columns(*REPORT), files[1]: with_columns("true class")}, inputs)
    weights = None if folder is None else Path(folder).resolve()
    if any(weights in (file.resolve(), *file.resolve().parents) for file in files):
        raise WriteError(f"{target}: lies in {folder}, which the weights will have to themselves. Choose a place beside it; nothing was written.")


def write_report(path: str | Path, crossed: CrossValidation, files: Sequence[str] | None = None) -> list[Path]:
    """Write a cross-validation as two tables.

    Args:
        path: ``NAME.csv``, one row per clip: name, file, group, label, fold, predicted, and a column ``score CLASS`` for every class.
            Beside it ``NAME.confusion.csv``: rows are true classes, columns those given, numbers are clips.
        files: that the clips were read from.

    Returns:
        The files written.

    Raises:
        WriteError: as ``check_report``, or it cannot be written.
    """
    check_report(path)
    target, none = Path(path), [""] * len(crossed.names)
    columns = zip(
        crossed.names, files or none, crossed.groups or none, (crossed.labels[i] for i in crossed.truth), (crossed.fold_name(int(i)) for i in crossed.folds),
        (crossed.labels[i] for i in crossed.predicted), strict=True,
    )  # fmt: skip
    rows = [[*row, *(f"{score:.6f}" for score in scores)] for row, scores in zip(columns, crossed.scores, strict=True)]
    confusion = [[name, *map(str, row)] for name, row in zip(crossed.labels, crossed.confusion, strict=True)]
    with whole_file(target) as file:
        file.write(csv_bytes([[*REPORT, *(f"score {name}" for name in crossed.labels)], *rows]))
        with whole_file(_confusion_file(target)) as other:
            other.write(csv_bytes([["true class", *crossed.labels], *confusion]))
    return [target, _confusion_file(target)]


def _confusion_file(target: Path) -> Path:
    return target.with_name(f"{target.stem}.confusion.csv")


def card(result: FinetuneResult, start: str, command: str, start_card: str = "") -> str:
    """The card (README.md) of a fine-tuned model.

    Args:
        start: name of the model it was made from.
        command: that made it.
        start_card: the card of that model; what it says of test clips holds on.
    """
    told = "".join(f"\n{sentence}\n" for sentence in {**seen_in_card(start_card), **seen_in_card("\n".join(result.seen))}.values())
    return f"""# {result.encoder.name}

Fine-tuned with skelzoo from `{start}` on {sum(train for train, _ in result.clips.values())} clips of {len(result.clips)} classes.

`{command}`
{told}
## Licence

{_licence(start, start_card)} {RECORDINGS}

## Measured

```
{report(result)}
```
"""


def _licence(start: str, start_card: str) -> str:
    try:
        weights = manifest().find(start).weights
    except UnknownModelError:
        weights = None
    if weights:
        return f"Training started from weights under {weights.license}. {weights.license_reason}"
    said = licence_of(start_card)
    if RECORDINGS in said:  # of a model that was fine-tuned itself
        return said.partition(RECORDINGS)[0].rstrip()
    return f"Training started from weights under this licence: {said}" if said else f"Of the weights that training started from, see the card of `{start}`."
