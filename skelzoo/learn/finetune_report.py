"""What people are shown of a fine-tuning: a summary, the tables of a cross-validation, the card."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from skelzoo.errors import UnknownModelError, WriteError
from skelzoo.inference.output import check_output
from skelzoo.inference.replacing import check_replaced, with_columns
from skelzoo.inference.screen import table
from skelzoo.learn.calibration import Calibration
from skelzoo.learn.finetune_result import CrossValidation, FinetuneResult, mean_of_known
from skelzoo.learn.seen import seen_in_card
from skelzoo.skeleton.arrays import Int64s
from skelzoo.skeleton.writing import check_place, csv_bytes, whole_file
from skelzoo.weights.cards import licence_of
from skelzoo.weights.manifest import manifest

PAIRS = 5
"""Pairs of classes taken for each other that a summary lists."""

REPORT = ("name", "file", "group", "label", "fold", "predicted")
"""First columns of a cross-validation's table."""

LISTED = 6
"""Groups that a summary names; there can be as many as recordings."""

RECORDINGS = "What the recordings' licence asks for comes on top."
"""Ends what the card says of the licence."""


def _crossed_summary(result: FinetuneResult, crossed: CrossValidation) -> str:
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
        f"accuracy {crossed.accuracy:.1f} %, mean over classes {mean_of_known(right):.1f} %; over folds {folds.mean():.1f} ± {folds.std(ddof=1):.1f} %, "
        f"from {folds.min():.1f} to {folds.max():.1f} %",
        f"folds: {listed}", *filter(None, [crossed.learned_before]),
        *(f"pretrained as {row['name']}: if it took clips of these persons, the accuracy is too high for others" for row in result.encoder.pretrained_on),
        *_calibrated(result.calibration, "out-of-fold scores", crossed.accuracy), *_pairs(crossed.labels, crossed.confusion),
        *(f"class {name!r} is in fold {fold} alone: the net that judged it never saw it, so its clips count as wrong" for name, fold in crossed.unlearned.items()),
        f"The model has learned from all {len(crossed.truth)} clips and is none of those measured; weights of the last of {len(result.history)} epochs",
    ]  # fmt: skip
    return "\n".join(text)


def summary(result: FinetuneResult) -> str:
    """What a fine-tuning gave, for people: classes, counts, accuracy, the pairs most often taken for each other."""
    if result.cross_validation:
        return _crossed_summary(result, result.cross_validation)
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
{summary(result)}
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
