"""Recordings arranged by class: reading them, and fine-tuning on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from skelzoo.errors import SkelzooError, TrainingError, warn
from skelzoo.inference.encoder import Encoder
from skelzoo.inference.files import FileClip, Refusal, collected, prepare_items, read_files
from skelzoo.inference.output import ClipId
from skelzoo.learn.cross_validation import cross_validate
from skelzoo.learn.finetune import FinetuneOptions, check_call, finetune
from skelzoo.learn.finetune_checkpoint import check_resumable
from skelzoo.learn.finetune_options import Mode
from skelzoo.learn.finetune_report import card, check_report, write_report
from skelzoo.learn.finetune_result import FinetuneResult
from skelzoo.learn.labels import Labels, Source, class_folder, inside
from skelzoo.learn.seen import person_hashes, seen_tests
from skelzoo.learn.splits import check_share
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.contract import Contract
from skelzoo.skeleton.doubts import noted_doubts
from skelzoo.skeleton.io import find_files
from skelzoo.skeleton.io.read_options import NO_OPTIONS, ReadOptions
from skelzoo.skeleton.windows import Length, check_window

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class LabelledClip:
    """A clip with its label set, the group it is of, "" without groups, and the file it was read from.

    Attributes:
        recording: what a window was cut from: its path below the folder and its name; "" for whole clips.
        whole: ``skelzoo.learn.seen.person_hashes`` of that.
    """

    clip: Clip
    group: str
    file: str
    recording: str = ""
    whole: frozenset[str] = frozenset()


def fitting_files(
    paths: Sequence[str], contract: Contract, select_persons: bool = False,
    reading: ReadOptions = NO_OPTIONS, window: Length | None = None, step: Length | None = None,
) -> Iterator[FileClip | Refusal]:  # fmt: skip
    """Read files, folders and globs, and pass on the clips that the contract takes.

    Args:
        select_persons: where a clip has more persons than the contract takes, keep those that move most, in all its windows the same.
        reading: what files may leave open, as ``skelzoo.read``.
        window, step: cut every clip as ``skelzoo.windows`` does; None for whole clips.

    Yields:
        Every usable clip in order; a Refusal for every other one and for every file that cannot be read.
    """
    doubts = noted_doubts()
    for item in prepare_items(read_files(paths, reading=reading), contract, select_persons, window, step, doubts):
        yield item if isinstance(item, Refusal) else item.source
    doubts.warn()


def labelled_files(
    rule: Labels, contract: Contract, select_persons: bool = False, reading: ReadOptions = NO_OPTIONS,
    window: Length | None = None, step: Length | None = None, *, leave_out: str | Path | None = None,
) -> Iterator[LabelledClip | Refusal]:  # fmt: skip
    """Read recordings and their classes.

    Args:
        rule: where they are and where their classes and groups come from; one for each call.
        leave_out: file or folder among the recordings that is passed over.
        select_persons, reading, window, step: see ``fitting_files``; all windows have the label and the group of their recording.

    Yields:
        As ``fitting_files``; a Refusal also for a clip without a label, or without a group where groups are asked for.

    Raises:
        TrainingError: folders and files that disagree, or class folders that are parts of a data set.
    """
    labels, doubts = set[str](), noted_doubts()
    for item in read_files([rule.path], leave_out, reading):
        if isinstance(item, Refusal):
            rule.met(item.file, item.clip)
            yield item
            continue
        found, person, problem = rule.of(item.file, item.clip.name, item.clip.label)
        if problem:
            yield Refusal(item.file, TrainingError(problem), item.clip.name)
            continue
        origin = () if window is None else (f"{inside(item.file, rule.path).as_posix()}/{item.clip.name}", person_hashes([item.clip]))
        for ready in prepare_items([item], contract, select_persons, window, step, doubts):
            if isinstance(ready, Refusal):
                yield ready
            else:
                labels.add(found)
                yield LabelledClip(ready.source.clip.replace(label=found), person, item.file, *origin)
    doubts.warn()
    problem = rule.finish(labels)
    if problem:
        yield Refusal(str(rule.table), TrainingError(problem))


@dataclass(frozen=True, eq=False)
class FinetunedRecordings:
    """What ``finetune_recordings`` gives.

    Attributes:
        result: of the fine-tuning; the card of ``result.encoder`` names test clips of benchmarks among the recordings.
        clips: that it was trained on, or trained and validated on.
        left_out: files and clips that could not be used.
        report: files written.
    """

    result: FinetuneResult
    clips: tuple[LabelledClip, ...]
    left_out: tuple[Refusal, ...]
    report: tuple[Path, ...]


def finetune_recordings(
    encoder: Encoder, recordings: str | Path, *,
    mode: Mode = "full", validation: float | str | Path | None = None, folds: int | str | None = None, report: str | Path | None = None,
    group: str | None = None, label: str | None = None, label_from: Source = "auto", table: str | Path | None = None,
    unlabelled: Sequence[str] = (), select_persons: bool = False, reading: ReadOptions = NO_OPTIONS, window: Length | None = None, step: Length | None = None,
    options: FinetuneOptions | None = None, command: str = "", on_left_out: Callable[[Refusal], None] | None = None, checkpoint: str | Path | None = None,
) -> FinetunedRecordings:  # fmt: skip
    """Read recordings arranged by class and fine-tune a copy of an encoder on them: ``skelzoo finetune`` but for saving it.

    What is not described here is as for ``labelled_files``, ``skelzoo.learn.labels.Labels`` and ``skelzoo.learn.finetune.finetune``.

    Args:
        validation: share of the clips to hold out, 0.2 by default, 0 for none; or a path of recordings to validate on, arranged in the same
            way, which may lie among the others.
        folds: see ``skelzoo.learn.cross_validation.cross_validate``; the model then learns from all clips.
        report: with ``folds``, where ``write_report`` puts the tables.
        group: as for ``Labels``; whole groups are held out, without groups all windows of a recording together.
        unlabelled: files, folders and globs, for mode ``semi``.
        command: for the card; by default the call of ``finetune``.
        on_left_out: is given every file or clip that cannot be used, as it comes; by default each is warned of.
        checkpoint: as for ``finetune`` and, with ``folds``, ``cross_validate``; ``skelzoo.learn.finetune_checkpoint.remove_checkpoint`` removes all of it.

    Raises:
        TrainingError: no clip that can be used, arguments that do not go together, and as ``finetune``, ``Labels`` and ``labelled_files``.
        ClipError: windows that cannot be cut.
        CheckpointError, WriteError: as ``finetune`` and ``write_report``.
    """
    o, refused = check_call(encoder, options), list[Refusal]()
    own, share = (str(validation), 0.0) if isinstance(validation, (str, Path)) else (None, 0.2 if validation is None else validation)
    _check_settings(str(recordings), validation, own, folds, report, group or table)
    if report is not None:
        check_report(report, inputs=[str(recordings), *unlabelled, *(str(path) for path in (own, table) if path)])
    check_resumable(checkpoint, encoder, mode, o)
    check_window(window, step)

    def usable(items: Iterator[T | Refusal]) -> list[T]:
        done, bad = collected(items, on_left_out or _warn_left_out)
        refused.extend(bad)
        return done

    rule, given = Labels(str(recordings), group, label, label_from, table), (encoder.contract, select_persons, reading, window, step)
    clips = usable(labelled_files(rule, *given, leave_out=own))
    held = [] if own is None else usable(labelled_files(replace(rule, path=own), *given))
    if not clips or (own and not held):
        raise TrainingError(f"{own if clips else recordings}: no clip {'to validate on ' if clips else ''}could be used; nothing was written.")
    others = usable(fitting_files(unlabelled, *given))
    seen = seen_tests([*clips, *others])
    for sentence in seen:
        warn(sentence)
    groups = None if own else _groups(clips)
    learned: dict[str, Any] = {"clips": [c.clip for c in clips], "mode": mode, "unlabelled": [c.clip for c in others], "groups": groups, "options": o, "checkpoint": checkpoint}  # fmt: skip
    crossed = None if folds is None else cross_validate(encoder, **learned, folds=folds)
    # Before the last training, which may fail.
    written = write_report(report, crossed, [c.file for c in clips]) if crossed and report else []
    result = finetune(encoder, **learned, validation=crossed or ([c.clip for c in held] if own else share), seen=seen)
    result.encoder.fine_tuned_on |= frozenset().union(*(c.whole for c in [*clips, *held]))
    if command:
        result.encoder.card = card(result, encoder.name, command, encoder.card)
    return FinetunedRecordings(result, tuple(clips), tuple(refused), tuple(written))


def _check_settings(recordings: str, validation: Any, own: str | None, folds: object, report: str | Path | None, parted: object) -> None:
    if (report is not None and folds is None) or (folds is not None and validation is not None):
        raise TrainingError("report goes with folds, and folds without validation: the model then learns from all clips. Leave one of them out.")
    if own and (parted or Path(own).resolve() in (Path(recordings).resolve(), *Path(recordings).resolve().parents)):
        raise TrainingError(
            f"{own}: recordings to validate on go without groups and without a table of labels, and lie beside {recordings} or in it. "
            "Give others, or the share of the clips to hold out."
        )
    if own:
        _check_found(own)
    elif validation is not None:
        check_share(validation)


def _check_found(own: str) -> None:
    """Check that there are recordings to validate on."""
    try:
        find_files(own)
    except SkelzooError as error:
        raise TrainingError(
            f"{own}: no clip to validate on could be used, nor is it a share of the clips from 0 to below 1. Nothing was read. {error.one_line}"
        ) from error


def _groups(clips: Sequence[LabelledClip]) -> list[str] | None:
    """What is held out together: persons where they are known, else all windows of a recording; None for single clips."""
    groups = [c.group for c in clips] if any(c.group for c in clips) else [c.recording for c in clips]
    return groups if any(groups) else None


def _warn_left_out(item: Refusal) -> None:
    warn(f"left out: {item}")


def with_classes(ids: Sequence[ClipId], paths: Sequence[str], classes: Sequence[str]) -> list[ClipId]:
    """The ids of clips that were read from paths, with the name of the class folder where that, and not the clip's own label, is one of the classes."""
    folders = [class_folder(i.file, list(paths)) for i in ids]
    return [replace(i, label=folder) if folder in classes and i.label not in classes else i for i, folder in zip(ids, folders, strict=True)]
