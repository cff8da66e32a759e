"""What came of a fine-tuning: the encoder and how it did, as a table and a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from skelzoo.errors import UnknownModelError
from skelzoo.inference.encoder import Encoder
from skelzoo.inference.output import table
from skelzoo.learn.calibration import Calibration
from skelzoo.learn.seen import seen_in_card
from skelzoo.learn.splits import Ints
from skelzoo.weights.cards import licence_of
from skelzoo.weights.manifest import manifest

PAIRS = 5
"""Pairs of classes taken for each other that a report lists."""

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
    """

    encoder: Encoder
    clips: Mapping[str, tuple[int, int]]
    history: tuple[Epoch, ...]
    best_epoch: int
    confusion: Ints
    held_out: tuple[str, ...]
    calibration: Calibration | None = None

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
        rows = zip(self.labels, self.confusion.diagonal(), self.confusion.sum(1), strict=True)
        return {name: 100 * float(right / count) if count else float("nan") for name, right, count in rows}

    @property
    def balanced_accuracy(self) -> float:
        """Mean of ``per_class`` over the classes with validation clips; NaN without any."""
        known = [a for a in self.per_class.values() if not np.isnan(a)]
        return float(np.mean(known)) if known else float("nan")


def report(result: FinetuneResult) -> str:
    """What a fine-tuning gave, for people: classes, counts, accuracy, the pairs most often taken for each other."""
    rows = [[name, str(train), str(valid), f"{result.per_class[name]:.0f} %" if valid else "-"] for name, (train, valid) in result.clips.items()]
    text = [table(["class", "training clips", "validation clips", "right"], rows), ""]
    if np.isnan(result.accuracy):
        return "\n".join([*text, f"no validation part; weights of the last of {len(result.history)} epochs"])
    held = (
        f"groups held out: {', '.join(result.held_out)}" if result.held_out else "clips held out one by one: expect less on persons who are not among the clips"
    )
    text += [
        f"validation accuracy {result.accuracy:.1f} %, mean over classes {result.balanced_accuracy:.1f} % "
        f"(best of {len(result.history)} epochs: {result.best_epoch}; chosen by it, so slightly favourable)",
        held,
    ]
    c = result.calibration
    if c:
        folded = f"{c.error_before:.2f} before they were divided by a temperature of {c.temperature:.2f}, fitted on the validation part"
        text.append(f"calibration error of the scores {c.error:.2f} ({folded if c.temperature != 1 else 'the head takes in no temperature, or needs none'})")
    wrong = result.confusion * (1 - np.eye(len(result.labels), dtype=np.int64))
    worst = [divmod(int(i), len(result.labels)) for i in np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]]
    text += [f"{wrong[i, j]} of {result.confusion[i].sum()} clips of {result.labels[i]!r} taken for {result.labels[j]!r}" for i, j in worst if wrong[i, j]]
    return "\n".join(text)


def card(result: FinetuneResult, start: str, command: str, start_card: str = "", seen: Sequence[str] = ()) -> str:
    """The card (README.md) of a fine-tuned model.

    Args:
        start: name of the model it was made from.
        command: that made it.
        start_card: the card of that model; what it says of test clips holds on.
        seen: what ``skelzoo.learn.seen.seen_tests`` says of the clips.
    """
    told = "".join(f"\n{sentence}\n" for sentence in {**seen_in_card(start_card), **seen_in_card("\n".join(seen))}.values())
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
