"""Recordings arranged by class: reading them for fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from skelzoo.errors import TrainingError
from skelzoo.inference.files import FileClip, Refusal, prepare_clip, prepare_files, read_files
from skelzoo.inference.output import ClipId
from skelzoo.learn.labels import Labels, class_folder
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.form import NO_FORM, ArrayForm
from skelzoo.skeleton.prepare import Contract


@dataclass(frozen=True, eq=False)
class LabelledClip:
    """A clip with its label set, the group it is of, "" without groups, and the file it was read from."""

    clip: Clip
    group: str
    file: str


def fitting_files(paths: Sequence[str], contract: Contract, select_persons: bool = False, form: ArrayForm = NO_FORM) -> Iterator[FileClip | Refusal]:
    """Read files, folders and globs, and pass on the clips that the contract takes.

    Args:
        select_persons: where a clip has more persons than the contract takes, keep those that move most.
        form: what files may leave open, as ``skelzoo.read``.

    Yields:
        Every usable clip in order; a Refusal for every other one and for every file that cannot be read.
    """
    for item in prepare_files(paths, contract, select_persons, form=form):
        yield item if isinstance(item, Refusal) else item.source


def labelled_files(
    path: str, contract: Contract, group: str | None = None, select_persons: bool = False, label: str | None = None,
    *, label_from: str = "auto", table: str | Path | None = None, leave_out: str | Path | None = None,
    form: ArrayForm = NO_FORM,
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
        form: see ``fitting_files``.

    Yields:
        As ``fitting_files``; a Refusal also for a clip without a label, or without a group where groups are asked for.

    Raises:
        TrainingError: not a regular expression or table, folders and files that disagree, or class folders that are parts of a data set.
    """
    rule, labels = Labels(path, group, label, label_from, table), set()
    for read in read_files([path], leave_out, form):
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
            yield LabelledClip(clip.replace(label=found), person, ready.source.file)
    problem = rule.finish(labels)
    if problem:
        yield Refusal(str(table), TrainingError(problem))


def with_classes(ids: Sequence[ClipId], paths: Sequence[str], classes: Sequence[str]) -> list[ClipId]:
    """The ids of clips that were read from paths, with the name of the class folder where that, and not the clip's own label, is one of the classes."""
    folders = [class_folder(i.file, list(paths)) for i in ids]
    return [replace(i, label=folder) if folder in classes and i.label not in classes else i for i, folder in zip(ids, folders, strict=True)]
