"""Protocols: what is done with a model on a benchmark, each with one line that travels with its numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from skelzoo.errors import TrainingError
from skelzoo.inference.encoder import Encoder
from skelzoo.learn.benchmarks import Benchmark, ClipSplit, draw_labels
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.finetune_options import Mode
from skelzoo.learn.probe import CLASSIFIERS, Embedder, Split, average_precision, check_classifiers, embed_split, prepare_split, right
from skelzoo.learn.semi import COPIES, PER_CLASS, SEEDS, SHORTEST, SIDE, is_drawn, labelled, mirrored_classes, vectors_of_copies
from skelzoo.skeleton.arrays import Bools
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.doubts import noted_doubts
from skelzoo.skeleton.prepare import prepare_batch

ALL, WITHOUT_COPIES = "all test clips", "without the copied test clips"
"""Which test clips a number is over."""

SELECTED = "persons who move most"
"""Ends the variant where clips had more persons than the model takes."""

LABEL_SEEDS, FINETUNE_SEEDS = (0, 1, 2, 3, 4), (0, 1, 2)


@dataclass(frozen=True, eq=False)
class Trial:
    """A model before a benchmark: what a protocol is given.

    Attributes:
        labels: percent of every class's training labels that are used; None for all.
        selected: whether the clips had more persons than the model takes, see ``select_persons``.
        fold_of: of a fold, the trial with all subjects and which of its clips test here, (clips,) bool; else None.
    """

    encoder: Embedder
    benchmark: Benchmark
    clips: ClipSplit
    labels: float | None = None
    selected: bool = False
    fold_of: tuple[Trial, Bools] | None = None

    def select_persons(self) -> Trial:
        """The trial with as many persons of each clip as the model takes, those that move most; itself where no clip has more."""
        most = self.encoder.contract.persons
        return dataclasses.replace(self, clips=self.clips.with_persons(most), selected=True) if self.clips.persons > most else self

    @cached_property
    def folds(self) -> Mapping[int, Trial]:
        """Subject -> the trial in which it tests and all others train; {} unless the benchmark is leave-one-subject-out."""
        subjects = self.clips.subjects
        if subjects is None:
            return {}
        tests = {int(subject): np.asarray(subjects == subject) for subject in np.unique(subjects)}
        return {subject: dataclasses.replace(self, clips=self.clips.leave_out(test), fold_of=(self, test)) for subject, test in tests.items()}

    @cached_property
    def vectors(self) -> Split:
        """Frozen vectors of all clips, computed once for all protocols and folds."""
        if self.fold_of is not None:
            whole, test = self.fold_of
            every, clips = whole.vectors.test, self.clips
            return Split(every[~test], clips.train_labels, every[test], clips.test_labels, clips.copies)
        return embed_split(self.encoder, prepare_split(self.clips, self.encoder.contract, self.benchmark))

    @property
    def share(self) -> str:
        """The labels used, as a variant begins; "" for all."""
        return "" if self.labels is None else f"{self.labels:g} % of labels"

    @property
    def test_parts(self) -> list[tuple[str, Bools]]:
        """Test clips that numbers are given for, (test clips,) each: all and, where some but not all are copies, without those."""
        copies = self.clips.copies
        some = (copies if self.fold_of is None else self.fold_of[0].clips.copies).any()  # a fold without any has the same number without them
        return [(ALL, np.ones_like(copies)), *([(WITHOUT_COPIES, ~copies)] if some and not copies.all() else [])]


@dataclass(frozen=True)
class Measured:
    """What a protocol gives: one number per seed, or the mean over these per subject, over some of the test clips.

    Attributes:
        variant: which test clips, after which labels if not all.
        values: percent.
        seeds: one per value, unless that is a subject's; () where nothing is drawn.
        train_clips: clips learned from; of folds their mean.
        subjects: those that test one after the other, one per value; () of a single split.
    """

    variant: str
    values: tuple[float, ...]
    seeds: tuple[int, ...]
    train_clips: int
    test_clips: int
    subjects: tuple[int, ...] = ()


def accuracies(trial: Trial, rights: Sequence[Bools], train_clips: int, seeds: Sequence[int] = (), labels: str = "") -> list[Measured]:
    """Top-1 accuracy on each part of the test clips.

    Args:
        rights: per seed (test clips,) whether the class is right.
        labels: what stands before the name of the part, e.g. ``10 % of labels``.
    """
    return [
        Measured(f"{labels}, {part}" if labels else part, tuple(100 * float(r[kept].mean()) for r in rights), tuple(seeds), train_clips, int(kept.sum()))
        for part, kept in trial.test_parts
    ]


def _classified(classifier: str, trial: Trial) -> list[Measured]:
    vectors = trial.vectors
    if trial.labels is None:
        return accuracies(trial, [right(vectors, classifier)], len(vectors.train))
    drawn = [draw_labels(trial.clips, trial.labels, seed) for seed in LABEL_SEEDS]
    rights = [right(dataclasses.replace(vectors, train=vectors.train[d], train_labels=vectors.train_labels[d]), classifier) for d in drawn]
    return accuracies(trial, rights, int(drawn[0].sum()), LABEL_SEEDS, trial.share)


def _retrieval(trial: Trial) -> list[Measured]:
    vectors, out = trial.vectors, []
    for part, kept in trial.test_parts:
        found = average_precision(dataclasses.replace(vectors, test=vectors.test[kept], test_labels=vectors.test_labels[kept]))
        if np.isnan(found).all():  # of a part, or of a subject: see _has_pairs
            continue
        out.append(Measured(part, (100 * float(np.nanmean(found)),), (), len(vectors.train), int(kept.sum())))
    return out


def _finetune(trial: Trial) -> list[Measured]:
    seeds = FINETUNE_SEEDS if trial.labels is None else LABEL_SEEDS
    rights = [finetuned(trial, FinetuneOptions(seed=seed)) for seed in seeds]
    return accuracies(trial, rights, len(trained_on(trial, 0)), seeds, trial.share)


def finetuned(trial: Trial, options: FinetuneOptions, mode: Mode = "full") -> Bools:
    """Which test clips are right after fine-tuning on the training clips without a validation part: (test clips,) bool. Errors as ``finetune``."""
    assert isinstance(trial.encoder, Encoder)
    return _tested(trial, finetune(trial.encoder, trained_on(trial, options.seed), mode=mode, validation=0.0, options=options).encoder)


def trained_on(trial: Trial, seed: int) -> Sequence[Clip]:
    """Training clips that are long enough for the net; with a share of the labels those drawn with the seed."""
    clips = trial.clips.of_at_least(trial.encoder.contract.min_frames)
    return (clips if trial.labels is None else clips.keep(draw_labels(clips, trial.labels, seed))).train


def _tested(trial: Trial, tuned: Encoder) -> Bools:
    # Every test clip counts, also one of a single frame.
    test, contract = trial.clips.test, tuned.contract.replace(min_frames=1)
    given = tuned.classify(prepare_batch(test, contract), 1, prepared=True).labels[:, 0]
    return np.asarray(given == np.array([c.label for c in test]))


def _semi(trial: Trial) -> list[Measured]:
    out = []
    for count in PER_CLASS if trial.labels is None else (trial.labels,):
        known = [_known(trial, count, seed) for seed in SEEDS]
        rights = [_few(trial, clips, seed) for seed, clips in zip(SEEDS, known, strict=True)]
        out += accuracies(trial, rights, len(known[0]), SEEDS, f"{count:g} % of labels")
    return out


def _known(trial: Trial, percent: float, seed: int) -> Sequence[Clip]:
    """Training clips whose labels are known: those of the benchmark's index file, or a share of every class of those that are not too short."""
    if not is_drawn(trial.benchmark.name, percent):
        clips = trial.clips.of_at_least(max(SHORTEST, trial.encoder.contract.min_frames))
        return clips.keep(draw_labels(clips, percent, seed)).train
    by_name = {clip.name: clip for clip in trial.clips.train}
    return [by_name[name] for name in labelled(trial.benchmark.name, percent, seed)]


def _few(trial: Trial, clips: Sequence[Clip], seed: int) -> Bools:
    """Which test clips are right after learning from a few training clips and their copies: (test clips,) bool."""
    vectors, turned = vectors_of_copies(trial.encoder, clips, seed)
    ids = {str(clip.label): int(number) for clip, number in zip(trial.clips.train, trial.clips.train_labels, strict=True)}
    names = [str(clip.label) for clip in clips]
    mirrors = mirrored_classes(set(names))
    one_sided = ", ".join(sorted(repr(name) for name, mirror in mirrors.items() if name == mirror and SIDE.search(name)))
    if one_sided:
        noted_doubts().warn_of(
            f"protocol semi learns mirror images of clips as of their class, also of {one_sided}, for which no class has left and right exchanged in its name. "
            "If other classes move like these in the mirror, the number is too low: use protocol linear with the same labels."
        )
    labels = np.where(turned, [ids[mirrors[name]] for name in names], [ids[name] for name in names])
    return right(dataclasses.replace(trial.vectors, train=np.concatenate(list(vectors)), train_labels=labels.ravel()), "linear")


def _any_model(trial: Trial) -> bool:
    return True


def _has_net(trial: Trial) -> bool:
    return isinstance(trial.encoder, Encoder)


def _has_pairs(trial: Trial) -> bool:
    if trial.folds:
        return any(map(_has_pairs, trial.folds.values()))
    labels = trial.clips.test_labels
    return len(np.unique(labels)) < len(labels)


@dataclass(frozen=True)
class Protocol:
    """What is done with a model on a benchmark.

    Attributes:
        description: one line that travels with the numbers.
        run: gives the numbers.
        fits, needs: whether a model and benchmark will do, and what it takes in words.
        cheap: runs without being asked for.
        takes_labels: can be given a share of the labels.
        classifies: fits one of ``CLASSIFIERS``, which takes scikit-learn.
        on_drawn: its description where labels are drawn by share, if it is another one then.
    """

    description: str
    run: Callable[[Trial], list[Measured]]
    fits: Callable[[Trial], bool] = _any_model
    needs: str = "vectors"
    cheap: bool = True
    takes_labels: bool = False
    classifies: bool = False
    on_drawn: str = ""


PROTOCOLS: Mapping[str, Protocol] = {
    "linear": Protocol(CLASSIFIERS["linear"], partial(_classified, "linear"), takes_labels=True, classifies=True),
    "knn": Protocol(CLASSIFIERS["knn"], partial(_classified, "knn"), takes_labels=True, classifies=True),
    "retrieval": Protocol(
        "mean average precision of each test clip as a query for the other test clips of its class, cosine similarity of frozen vectors, standardised on the training clips",
        _retrieval, _has_pairs, "two test clips of a class, of one subject where each subject tests alone",
    ),
    "finetune": Protocol(
        "all of the net fine-tuned on the training clips with the default options of skelzoo finetune, no validation part, last epoch",
        _finetune, _has_net, "a net", cheap=False, takes_labels=True,
    ),
    "semi": Protocol(
        f"5, 15, 30 or 40 labelled clips of each class for as many percent, drawn once (skelzoo/learn/labelled): the linear protocol on frozen vectors of these, of their "
        f"mirror images and of {COPIES} augmented copies of each",
        _semi, cheap=False, takes_labels=True, classifies=True,
        on_drawn=f"the linear protocol on frozen vectors of the labelled clips, of their mirror images and of {COPIES} augmented copies of each; mirror images are of the class "
        "that has left and right exchanged in its name, where there is one",
    ),
}  # fmt: skip
"""Protocols by name."""


def run(trial: Trial, name: str) -> list[Measured]:
    """The numbers of a protocol; of leave-one-subject-out one per subject that has any.

    Raises:
        TrainingError: there is no protocol of that name; as the protocol.
    """
    protocol, found = find_protocol(name), dict[str, dict[int, Measured]]()
    for subject, fold in trial.folds.items():
        for m in protocol.run(fold):
            found.setdefault(m.variant, {})[subject] = m
    return [_over_subjects(each) for each in found.values()] if trial.folds else protocol.run(trial)


def _over_subjects(each: Mapping[int, Measured]) -> Measured:
    folds = list(each.values())
    values, train = tuple(float(np.mean(m.values)) for m in folds), round(np.mean([m.train_clips for m in folds]))
    return Measured(folds[0].variant, values, folds[0].seeds, train, sum(m.test_clips for m in folds), tuple(each))


def describe(trial: Trial, name: str) -> str:
    """The line that travels with the numbers of a protocol on a trial, with the labels drawn."""
    protocol = find_protocol(name)
    if protocol.on_drawn and is_drawn(trial.benchmark.name, trial.labels):
        return protocol.description
    shares = [trial.labels] if trial.labels is not None else PER_CLASS if protocol.on_drawn else ()
    if not shares:
        return protocol.description
    percent, seeds = ", ".join(f"{share:g}" for share in shares), LABEL_SEEDS
    return f"{protocol.on_drawn or protocol.description}; {percent} % of every class's labels, at least one, drawn with seeds {seeds[0]} to {seeds[-1]}"


def check_protocols(names: Sequence[str]) -> None:
    """Check that protocols are there, with what they need of other packages.

    Raises:
        TrainingError: as ``find_protocol``.
        MissingDependencyError: scikit-learn is not installed.
    """
    if any([find_protocol(name).classifies for name in names]):
        check_classifiers()


def find_protocol(name: str) -> Protocol:
    """A protocol by its name.

    Raises:
        TrainingError: there is none of that name.
    """
    if name not in PROTOCOLS:
        raise TrainingError(f"no protocol {name!r}. Known: {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]
