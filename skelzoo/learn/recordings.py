"""Recordings arranged by class: reading them for fine-tuning, and what came of it as a table and a card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skelzoo.errors import TrainingError, UnknownModelError
from skelzoo.inference.files import FileClip, Refusal, prepare_clip, prepare_files, read_files
from skelzoo.inference.output import ClipId, table
from skelzoo.learn.finetune import FinetuneResult
from skelzoo.learn.labels import Labels, class_folder
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.prepare import Contract
from skelzoo.weights.files import CARD
from skelzoo.weights.manifest import manifest

PAIRS = 5
"""Pairs of classes taken for each other that a report lists."""


@dataclass(frozen=True, eq=False)
class LabelledClip:
    """A clip with its label set, and the group it is of, "" without groups."""

    clip: Clip
    group: str


def fitting_files(paths: Sequence[str], contract: Contract, select_persons: bool = False) -> Iterator[FileClip | Refusal]:
    """Read files, folders and globs, and pass on the clips that the contract takes.

    Args:
        select_persons: where a clip has more persons than the contract takes, keep those that move most.

    Yields:
        Every usable clip in order; a Refusal for every other one and for every file that cannot be read.
    """
    for item in prepare_files(paths, contract, select_persons):
        yield item if isinstance(item, Refusal) else item.source


def labelled_files(
    path: str, contract: Contract, group: str | None = None, select_persons: bool = False, label: str | None = None,
    *, label_from: str = "auto", table: str | Path | None = None, leave_out: str | Path | None = None,
) -> Iterator[LabelledClip | Refusal]:  # fmt: skip
    """Read recordings and their classes.

    Args:
        path: a folder with one folder per class, named after it, that holds the recordings at any depth; or recordings whose files
            give their clips labels, such as a corpus.
        group: regular expression that finds the group, such as the person, in a file's path below the folder followed by
            ``/`` and the clip's name: its first bracketed part, or all of what it fits.
        select_persons: see ``fitting_files``.
        label: regular expression that finds the class there in the same way, instead of ``label_from``.
        label_from: ``folder``, the name of the first folder; ``file``, the label that the file gives its clip; ``auto``, whichever there
            is, as long as no clip has two that differ.
        table: CSV with the columns file, label and, if wanted, group, instead of all these; paths are below the folder.
        leave_out: file or folder among the recordings that is passed over.

    Yields:
        As ``fitting_files``; a Refusal also for a clip without a label, or without a group where groups are asked for.

    Raises:
        TrainingError: not a regular expression or table, folders and files that disagree, or class folders that are parts of a data set.
    """
    rule, labels = Labels(path, group, label, label_from, table), set()
    for read in read_files([path], leave_out):
        ready = read if isinstance(read, Refusal) else prepare_clip(read, contract, select_persons)
        if isinstance(ready, Refusal):
            yield ready
            continue
        clip = ready.source.clip
        found, person, problem = rule.of(ready.source.file, clip.name, clip.label)
        if problem:
            yield Refusal(ready.source.file, TrainingError(problem), clip.name)
        else:
            labels.add(found)
            yield LabelledClip(clip.replace(label=found), person)
    problem = rule.finish(labels)
    if problem:
        yield Refusal(str(table), TrainingError(problem))


def with_classes(ids: Sequence[ClipId], paths: Sequence[str], classes: Sequence[str]) -> list[ClipId]:
    """The ids of clips that were read from paths, with the name of the class folder where that, and not the clip's own label, is one of the classes."""
    folders = [class_folder(i.file, list(paths)) for i in ids]
    return [replace(i, label=folder) if folder in classes and i.label not in classes else i for i, folder in zip(ids, folders, strict=True)]


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
    wrong = result.confusion * (1 - np.eye(len(result.labels), dtype=np.int64))
    worst = [divmod(int(i), len(result.labels)) for i in np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]]
    text += [f"{wrong[i, j]} of {result.confusion[i].sum()} clips of {result.labels[i]!r} taken for {result.labels[j]!r}" for i, j in worst if wrong[i, j]]
    return "\n".join(text)


def card(result: FinetuneResult, start: str, command: str) -> str:
    """The card (README.md) of a fine-tuned model.

    Args:
        start: name of the model it was made from.
        command: that made it.
    """
    return f"""# {result.encoder.name}

Fine-tuned with skelzoo from `{start}` on {sum(train for train, _ in result.clips.values())} clips of {len(result.clips)} classes.

`{command}`

## Licence

{_licence(start)} What the recordings' licence asks for comes on top.

## Measured

```
{report(result)}
```
"""


def _card_of(start: str) -> str:
    path = Path(start.removeprefix("local:")) / CARD
    return path.read_text(encoding="utf-8") if start.startswith("local:") and path.is_file() else ""


def _licence(start: str) -> str:
    try:
        weights = manifest().find(start).weights
    except UnknownModelError:
        weights = None
    said = re.search(r"^## Licence\n\n(.+?) What the recordings' licence asks for", _card_of(start), re.M | re.S)
    if said:  # of a model that was fine-tuned itself
        return said[1]
    if weights is None:
        return f"Of the weights that training started from, see the card of `{start}`."
    return f"Training started from weights under {weights.license}. {weights.license_reason}"
