"""Recordings arranged by class: reading them for fine-tuning, and what came of it as a table and a card."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skelzoo.errors import TrainingError, UnknownModelError
from skelzoo.inference.files import FileClip, Refusal, prepare_clip, prepare_files, read_files
from skelzoo.inference.output import ClipId, table
from skelzoo.learn.finetune import FinetuneResult
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
    path: str, contract: Contract, group: str | None = None, select_persons: bool = False, label: str | None = None
) -> Iterator[LabelledClip | Refusal]:
    """Read recordings arranged by class.

    Args:
        path: a folder with one folder per class, named after it, that holds the recordings at any depth. Clips of files that lie in
            no class folder, of a single file such as a corpus, and of a file whose clips have several labels, keep those.
        group: regular expression that finds the group, such as the person, in a file's path below the folder followed by
            ``/`` and the clip's name: its first bracketed part, or all of what it fits.
        select_persons: see ``fitting_files``.
        label: regular expression that finds the class there in the same way, instead of the first folder's name.

    Yields:
        As ``fitting_files``; a Refusal also for a clip without a label, or without a group where groups are asked for.

    Raises:
        TrainingError: not a regular expression.
    """
    find_group, find_label = (_finder(pattern) if pattern else None for pattern in (group, label))
    for file, items in itertools.groupby(read_files([path]), key=lambda item: item.file):
        of_file = list(items)
        several, folder = _has_several(item.clip.label for item in of_file if isinstance(item, FileClip)), class_folder(file, [path])
        for read in of_file:
            ready = read if isinstance(read, Refusal) else prepare_clip(read, contract, select_persons)
            if isinstance(ready, Refusal):
                yield ready
                continue
            clip = ready.source.clip
            where = f"{_inside(file, path).as_posix()}/{clip.name}"
            found = find_label(where) if find_label else clip.label if several else folder or clip.label
            person = find_group(where) if find_group else ""
            problem = ""
            if not found and find_label:
                problem = f"the label pattern {label!r} fits nothing in {where!r}. Loosen it."
            elif not found:
                why = "though other clips of its file have one. Name it too." if several else "and lies in no folder named after its class. Put it into one."
                problem = f"has no label, {why}"
            elif find_group and not person:
                problem = f"the group pattern {group!r} fits nothing in {where!r}. Loosen it."
            yield Refusal(file, TrainingError(problem), clip.name) if problem else LabelledClip(clip.replace(label=found), person)


def class_folder(file: str, paths: Sequence[str]) -> str:
    """The class of a recording by its folder: the first folder below that of the paths in which it lies; "" for none."""
    inside = [_inside(file, path) for path in paths if Path(path).is_dir() and Path(file).is_relative_to(path)]
    return inside[0].parts[0] if inside and len(inside[0].parts) > 1 else ""


def with_classes(ids: Sequence[ClipId], paths: Sequence[str], classes: Sequence[str]) -> list[ClipId]:
    """The ids of clips that were read from paths, labelled as ``labelled_files`` does where that gives one of the classes."""
    labels = {file: [i.label for i in of_file] for file, of_file in itertools.groupby(ids, key=lambda i: i.file)}
    folders = {file: "" if _has_several(of_file) else class_folder(file, paths) for file, of_file in labels.items()}
    return [replace(i, label=folders[i.file]) if folders[i.file] in classes else i for i in ids]


def _has_several(labels: Iterable[str | None]) -> bool:
    return len({label for label in labels if label}) > 1


def _inside(file: str, path: str) -> Path:
    return Path(file).relative_to(path) if Path(path).is_dir() else Path(Path(file).name)


def _finder(pattern: str) -> Callable[[str], str]:
    """A text -> what a regular expression's first bracketed part, or all of it, fits there; "" for nothing."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise TrainingError(f"{pattern!r} is no regular expression ({error}). Example: 'person(\\d+)'.") from error

    def find(text: str) -> str:
        found = compiled.search(text)
        return "" if found is None else (found[1] or "" if compiled.groups else found[0])

    return find


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
