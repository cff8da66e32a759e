"""Benchmarks: labelled corpus files with standard splits, and the rule that test clips are never trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skelzoo.errors import TrainingError, warn
from skelzoo.learn.benchmark_files import SUFFIX, load_rules, shipped_rules, warn_of_gaps
from skelzoo.learn.cameras import film
from skelzoo.learn.splits import hold_out, in_several
from skelzoo.skeleton.arrays import Bools, Int32s
from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.doubts import warned_once
from skelzoo.skeleton.io.corpus import MILLIMETRE, Corpus, Flag, read_corpus
from skelzoo.skeleton.persons import select_persons

EACH = "each"
"""Stands for all subjects, one after the other, in ``--test-subjects``."""

FILMED = "-2d"
"""Ends the name of a shipped benchmark whose 3-D clips are filmed."""

Selects = Callable[[Corpus], Bools]
"""Corpus -> (clips,) bool, which clips are of a part of a split."""


@dataclass(frozen=True)
class Benchmark:
    """A labelled corpus file with a standard split.

    Attributes:
        name: in tables and messages.
        file: corpus file name.
        title: of the dataset and split.
        train, test: corpus -> (clips,) bool, which clips these are; no clip may be both.
        validation_train, validation_test: likewise, a split of the training part alone, for choosing between recipes; None where nobody chooses.
        evaluation_only: no recipe may pretrain on a test clip; of those that ship.
        transform: what becomes of a clip before it is measured, given its index in the file; None for nothing.
        dimension: coordinates of a joint as it is measured: 2 for those of pictures and filmed ones.
        options: see ``on``; () where that is ``--on`` and its name.
        each_subject: leave-one-subject-out: each subject of the test part tests once, while the others of it train; ``train`` takes no clip.
    """

    name: str
    file: str
    title: str
    train: Selects
    test: Selects
    validation_train: Selects | None = None
    validation_test: Selects | None = None
    evaluation_only: bool = False
    transform: Callable[[Clip, int], Clip] | None = None
    dimension: int = 3
    options: tuple[str, ...] = ()
    each_subject: bool = False

    @property
    def on(self) -> tuple[str, ...]:
        """Options of ``skelzoo eval`` that stand for it."""
        return self.options or ("--on", self.name)


BENCHMARKS = ("nwucla", "utdmhad", "uiprmd", "hdm05", "nwucla-2d", "utdmhad-2d")
"""Names of those that docs/results has tables of. UI-PRMD is also pretrained on, so its test subjects are those that the recipes hold out."""


@dataclass(frozen=True, eq=False)
class ClipSplit:
    """Labelled clips of a benchmark.

    Attributes:
        train_labels, test_labels: (clips,) class ids of the corpus file; the names stand in the clips.
        copies: (test clips,) whether a test clip is an exact copy of a training clip, by its joints or the file's flag.
        subjects: (test clips,) of leave-one-subject-out, where all clips stand in the test part until ``leave_out`` makes a fold; else None.
    """

    train: tuple[Clip, ...]
    train_labels: Int32s
    test: tuple[Clip, ...]
    test_labels: Int32s
    copies: Bools
    subjects: Int32s | None = None

    @property
    def classes(self) -> int:
        """Different classes that train, in some fold."""
        return len(np.unique(self.train_labels if self.subjects is None else self.test_labels))

    @property
    def persons(self) -> int:
        """Most persons of a clip."""
        return max(clip.persons for clip in (*self.train, *self.test))

    def keep(self, kept: Bools) -> ClipSplit:
        """With only some of the training clips: (training clips,) bool."""
        return replace(self, train=tuple(self.train[i] for i in np.flatnonzero(kept)), train_labels=self.train_labels[kept])

    def leave_out(self, fold: Bools) -> ClipSplit:
        """The fold of leave-one-subject-out in which these of the clips test, (clips,) bool, and all others train."""
        train, test = (tuple(self.test[i] for i in np.flatnonzero(part)) for part in (~fold, fold))
        return ClipSplit(train, self.test_labels[~fold], test, self.test_labels[fold], self.copies[fold])

    def with_persons(self, count: int) -> ClipSplit:
        """With up to ``count`` persons of each clip, those that move most."""
        with warned_once():
            train, test = (tuple(select_persons(clip, count) for clip in part) for part in (self.train, self.test))
        return replace(self, train=train, test=test)

    def of_at_least(self, frames: int) -> ClipSplit:
        """Without the training clips of fewer frames, which an encoder may refuse; NW-UCLA has one of a single frame."""
        return self.keep(np.array([c.frames >= frames for c in self.train]))


def by_subjects(file: str, subjects: Sequence[int]) -> Benchmark:
    """A benchmark of a corpus file: these subjects test, and all others that are known train.

    Args:
        file: below the folder that is given as ``data``.
        subjects: ids, as ``skelzoo corpus make --subject`` gives them.
    """
    chosen = sorted(set(subjects))
    text = ",".join(map(str, chosen))

    def test(c: Corpus) -> Bools:
        known = np.unique(c.subject[_of_known(c)]).tolist()
        unknown = [s for s in chosen if s not in known]
        if unknown or len(known) == len(chosen):
            raise TrainingError(f"{c.name}: subjects {text} cannot test, {_there(known)}. Choose some of them, and leave some to train.")
        return np.isin(c.subject, chosen)

    return Benchmark(
        f"{file} subjects {text}",
        file,
        f"{file}, subjects {text} test, all others train",
        lambda c: _of_known(c) & ~test(c),
        test,
        options=("--on", file, "--test-subjects", text),
    )


def leave_one_subject_out(file: str) -> Benchmark:
    """A benchmark of a corpus file: each subject that is known tests once, and all others train; a number is the mean over the subjects.

    Args:
        file: below the folder that is given as ``data``.
    """
    title, options = f"{file}, each subject tests once and all others train, mean over subjects", ("--on", file, "--test-subjects", EACH)
    return Benchmark(f"{file} each subject", file, title, lambda c: np.zeros(len(c), bool), _of_known, options=options, each_subject=True)


def _of_known(corpus: Corpus) -> Bools:
    return np.asarray(corpus.subject >= 0)


def _there(known: Sequence[int]) -> str:
    return f"its subjects are {', '.join(map(str, known))}" if known else "its subjects are not known; make it with skelzoo corpus make --subject REGEX"


def find_benchmark(benchmark: str | Benchmark) -> Benchmark:
    """A benchmark by its name: one that ships (``nwucla``, ``ntu60-xsub``, ...), with ``-2d`` behind it filmed, or a path ending in ``.json``; itself where it is one.

    Raises:
        TrainingError: there is none of that name, or the file is none of a benchmark.
    """
    if isinstance(benchmark, Benchmark):
        return benchmark
    shipped = shipped_rules()
    if benchmark in shipped or benchmark.endswith(SUFFIX):
        return Benchmark(benchmark, **load_rules(benchmark))
    if benchmark.endswith(FILMED) and benchmark.removesuffix(FILMED) in shipped:
        return filmed(benchmark.removesuffix(FILMED))
    known = (*BENCHMARKS, *(name for name in shipped if name not in BENCHMARKS))
    raise TrainingError(f"no benchmark {benchmark!r}. Known: {', '.join(known)}; or give a path to a .json file.")


def filmed(benchmark: str | Benchmark) -> Benchmark:
    """A benchmark of 3-D clips, filmed by simulated cameras, for 2-D models; of a clip the seed is its number in the file.

    Raises:
        TrainingError: its clips are 2-D; as ``find_benchmark``.
    """
    b = find_benchmark(benchmark)
    if b.dimension != 3:
        raise TrainingError(f"{b.name}: its joints are 2-D, so there is nothing to film. Leave --film out.")
    ships = b.name in shipped_rules()
    name, options = (b.name + FILMED, ()) if ships else (f"{b.name} filmed", (*b.on, "--film"))
    return replace(b, name=name, title=f"{b.title}, filmed by simulated cameras", transform=film, dimension=2, options=options)


def known_benchmarks() -> list[Benchmark]:
    """Those that ship, as they are stored."""
    return [find_benchmark(name) for name in shipped_rules()]


def benchmark_file(benchmark: str | Benchmark, data: str | Path) -> Path:
    """Where the corpus file of a benchmark lies.

    Raises:
        TrainingError: unknown benchmark or missing file.
    """
    path = Path(data) / find_benchmark(benchmark).file
    if not path.is_file():
        raise TrainingError(
            f"no file {path}. Give the folder that holds {path.name} with --data; `skelzoo docs evaluation` says how it is made: `skelzoo corpus build` for NW-UCLA and UTD-MHAD, `skelzoo corpus make` for NTU RGB+D."
        )
    return path


def benchmark_corpus(benchmark: str | Benchmark, data: str | Path) -> Corpus:
    """The corpus file of a benchmark, its clips as they are stored.

    Raises:
        TrainingError: unknown benchmark or missing file.
    """
    return read_corpus(benchmark_file(benchmark, data))


def standard_clips(benchmark: str | Benchmark, data: str | Path) -> ClipSplit:
    """The standard split of a benchmark; of leave-one-subject-out all clips, which ``ClipSplit.leave_out`` makes folds of.

    Raises:
        TrainingError: unknown benchmark, missing file, a clip that both trains and tests, an empty part, clips without a label, training clips of one class, or fewer than two subjects to leave out.
    """
    b, corpus = find_benchmark(benchmark), benchmark_corpus(benchmark, data)
    if b.each_subject:
        return _subject_clips(b, corpus, b.test(corpus))
    train, test = b.train(corpus), b.test(corpus)
    warn_of_gaps(corpus, b.train, b.test, ~(train | test))
    return _clips(b, corpus, train, test)


def validation_clips(benchmark: str | Benchmark, data: str | Path) -> ClipSplit:
    """A split inside the training part of a benchmark: for choosing, never for reporting.

    Raises:
        TrainingError: as ``standard_clips``, no validation split, or a test clip in it.
    """
    b, corpus = find_benchmark(benchmark), benchmark_corpus(benchmark, data)
    if b.validation_train is None or b.validation_test is None:
        raise TrainingError(f"{b.name}: has no validation parts. Give it validation_train and validation_test, two parts of its training part.")
    train, test, kept = b.validation_train(corpus), b.validation_test(corpus), b.test(corpus)
    if ((train | test) & kept).any():
        raise TrainingError(
            f"{corpus.name}: {_some(corpus, (train | test) & kept)} of both a validation and the test part. Draw validation from the training part."
        )
    return _clips(b, corpus, train, test)


def _clips(benchmark: Benchmark, corpus: Corpus, train: Bools, test: Bools) -> ClipSplit:
    if not train.any() or not test.any():
        raise TrainingError(f"{corpus.name}: {int(train.sum())} training and {int(test.sum())} test clips. It is not the file of the benchmark; see --data.")
    if (train & test).any():
        raise TrainingError(f"{corpus.name}: {_some(corpus, train & test)} of both the training and the test part. Give each clip to one of them.")
    _check_labels(corpus, train | test)
    _check_classes(corpus, train, test)
    copies = copies_of_training(corpus.clips, train, test) | ((corpus.flags & Flag.COPY) > 0)
    return ClipSplit(_part(benchmark, corpus, train), corpus.label[train], _part(benchmark, corpus, test), corpus.label[test], copies[test])


def _subject_clips(benchmark: Benchmark, corpus: Corpus, chosen: Bools) -> ClipSplit:
    _check_labels(corpus, chosen)
    _check_subjects(corpus, chosen)
    clips, subjects, labels = _part(benchmark, corpus, chosen), corpus.subject[chosen], corpus.label[chosen]
    copies = (corpus.flags[chosen] & Flag.COPY) > 0
    copies[in_several([joints_hash(corpus.clips[i]) for i in np.flatnonzero(chosen)], subjects.tolist())] = True
    return ClipSplit((), labels[:0], clips, labels, copies, subjects)


def _part(benchmark: Benchmark, corpus: Corpus, mask: Bools) -> tuple[Clip, ...]:
    """Some of the clips, as they are measured."""
    chosen = [(corpus.clips[i], int(i)) for i in np.flatnonzero(mask)]
    part = tuple(clip if benchmark.transform is None else benchmark.transform(clip, i) for clip, i in chosen)
    if part[0].channels != benchmark.dimension:
        raise TrainingError(f"{corpus.name}: its clips are {part[0].channels}-D. Say so with Benchmark(..., dimension={part[0].channels}).")
    return part


def _check_labels(corpus: Corpus, chosen: Bools) -> None:
    unlabelled = int((corpus.label[chosen] < 0).sum())
    if unlabelled:
        raise TrainingError(
            f"{corpus.name}: {unlabelled} training or test clips have no label. Give them one (skelzoo corpus make --label-from folder takes class folders' names), or leave them out of both parts of the benchmark."
        )


def _check_subjects(corpus: Corpus, chosen: Bools) -> None:
    """Raise TrainingError unless two classes are left whichever subject tests; warn of clips without a subject, and of classes that one subject alone has."""
    known = np.unique(corpus.subject[chosen]).tolist()
    if len(known) < 2:
        raise TrainingError(f"{corpus.name}: its subjects cannot test one after the other, {_there(known)}. There must be two or more.")
    if not chosen.all():
        warn(
            f"{corpus.name}: {_some(corpus, ~chosen)} of no known subject, and neither train nor test. Let skelzoo corpus make --subject REGEX find theirs.",
        )
    owners: dict[str, set[int]] = {}
    for i in np.flatnonzero(chosen):
        owners.setdefault(str(corpus.clips[i].label), set()).add(int(corpus.subject[i]))
    for subject in known:
        left = [label for label, subjects in owners.items() if subjects != {subject}]
        if len(left) < 2:
            raise TrainingError(
                f"{corpus.name}: without subject {subject} only clips of class {left[0]!r} are left to train, so there is nothing to tell apart. "
                "Record more classes of the others, or choose who tests with --test-subjects."
            )
    alone = ", ".join(f"{label!r} (subject {min(subjects)})" for label, subjects in sorted(owners.items()) if len(subjects) == 1)
    if alone:
        warn(
            f"{corpus.name}: classes of one subject alone never train when it tests, so that every classifier is wrong on their clips: {alone}. "
            "Record them of more subjects, or leave them out.",
        )


def _check_classes(corpus: Corpus, train: Bools, test: Bools) -> None:
    """Raise TrainingError unless two classes train; warn of those that only test: retrieval needs no training clips of theirs."""
    if len(np.unique(corpus.label[train])) < 2:
        only = corpus.clips[int(train.argmax())].label
        raise TrainingError(f"{corpus.name}: all training clips are of class {only!r}, so there is nothing to tell apart. Give two classes or more to train.")
    unseen = test & ~np.isin(corpus.label, corpus.label[train])
    if unseen.any():
        names = ", ".join(sorted({repr(corpus.clips[i].label) for i in np.flatnonzero(unseen)}))
        warn(
            f"{corpus.name}: {int(unseen.sum())} of the {int(test.sum())} test clips are of classes that never train, so that every classifier is wrong on them: "
            f"{names}. Give some of these to the training part, or take them out of the test part.",
        )


def copies_of_training(clips: tuple[Clip, ...], train: Bools, test: Bools) -> Bools:
    """Which test clips have the joints of a training clip: (clips,) bool.

    Args:
        train, test: (clips,) bool, which clips these are.
    """
    known, copies = {joints_hash(clips[i]) for i in np.flatnonzero(train)}, np.zeros(len(clips), bool)
    for i in np.flatnonzero(test):
        copies[i] = joints_hash(clips[i]) in known
    return copies


def _some(corpus: Corpus, mask: Bools) -> str:
    """How many clips these are, and the first, in words that "of ..." goes on."""
    return f"{int(mask.sum())} clip(s), the first {corpus.clip_names[int(mask.argmax())]!r}, are"


def joints_hash(clip: Clip) -> str:
    """sha256 of the joints of a clip, 3-D ones to the millimetre: equal for two clips that differ in the name and in how finely their files round."""
    return array_hash(clip.keypoints)


def array_hash(joints: FloatArray) -> str:
    """``joints_hash`` of an array (..., C)."""
    if joints.shape[-1] == 3:
        joints = (np.rint(joints / MILLIMETRE) + 0.0) * MILLIMETRE  # without zeros below zero, which have other bytes
    return hashlib.sha256(joints.astype("<f4", copy=False).tobytes()).hexdigest()


def draw_labels(split: ClipSplit, percent: float, seed: int) -> Bools:
    """Which training clips keep their labels when ``percent`` of every class do, at least one and, where there are two, never all: (training clips,) bool.

    Raises:
        TrainingError: not between 0 and 100.
    """
    if not 0 < percent < 100:
        raise TrainingError(f"{percent:g} % of the labels cannot be drawn. Give a number between 0 and 100, or leave it out for all labels.")
    _, class_of, counts = np.unique(split.train_labels, return_inverse=True, return_counts=True)
    drawn: Bools = counts[class_of] == 1
    ids, truth = np.unique(split.train_labels[~drawn], return_inverse=True)
    drawn[~drawn] = hold_out(truth, [str(i) for i in ids], [c.name for c, alone in zip(split.train, drawn, strict=True) if not alone], percent / 100, seed)
    return drawn


def check_test_clips(file: str, corpus: Corpus, held_out: Bools) -> None:
    """Check that pretraining on a corpus file leaves the test clips of evaluation-only benchmarks alone.

    Args:
        held_out: (clips,) which clips do not enter pretraining.

    Raises:
        TrainingError: a test clip does.
    """
    for b in known_benchmarks():
        seen = _seen(b, corpus, held_out) if b.file == file and b.evaluation_only else ""
        if seen:
            raise TrainingError(
                f"{file}: {seen} of {b.name} would enter pretraining, and this file is for evaluation. Hold them out in data.held_out of the recipe, or leave the file out."
            )


def _seen(benchmark: Benchmark, corpus: Corpus, held_out: Bools) -> str:
    """How many test clips are not held out, in words; "" for none."""
    test = benchmark.test(corpus)
    count = int((test & ~held_out).sum())
    return f"{count} of the {int(test.sum())} test clips" if count else ""
