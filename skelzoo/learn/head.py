"""Classification heads on frozen encoders."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skelzoo.errors import MissingDependencyError, TrainingError, warn
from skelzoo.inference.encoder import Encoder
from skelzoo.learn.head_clips import CHECK, FOLDS, HeadOptions, LabelledClips, LabelTable, label_table, labelled_clips
from skelzoo.learn.head_result import TEMPERATURES, HeadResult, HeadScore, calibration_error, confusions, per_class, score, surprise
from skelzoo.learn.held_out import DataOptions
from skelzoo.skeleton.arrays import Bools, Float64s, Int64s
from skelzoo.weights.checkpoint import build_net
from skelzoo.weights.manifest import ModelConfig


def check_head(config: ModelConfig, options: HeadOptions, data: DataOptions, folder: str | Path) -> None:
    """Refuse a head before anything is trained for it; warns of classes that have too few training clips.

    Args:
        config: of the net that is to be trained.
        folder: with the corpus files.

    Raises:
        TrainingError: as ``fit_head``.
    """
    _linear_head(config)
    _check_table(label_table(options, data, folder)[0], options)


def _check_table(table: LabelTable, options: HeadOptions) -> None:
    """All that can be said about a head without a vector."""
    names = table.classes(table.train, options.fewest)
    if len(names) < 2:
        raise TrainingError(f"{len(names)} class(es) with at least {options.fewest} training clips: a head needs two. {CHECK}")
    if not np.isin(table.labels[~table.train], names).any():
        raise TrainingError(f"no held-out clip is of a class that the head has ({', '.join(names)}), so it cannot be measured. {CHECK}")
    if not any(_calibrates(table, fold, names) for fold in range(FOLDS)):
        raise TrainingError(
            f"no labelled clips are left to calibrate the head on: without the clips of one subject or style, fewer than two classes stay, or none of its own. {CHECK}"
        )
    few = {str(name): int((table.train & ~table.copies & (table.labels == name)).sum()) for name in np.unique(table.labels) if name not in names}
    if few:
        listed = ", ".join(f"{name!r} ({count})" for name, count in few.items())
        warn(f"the head leaves out classes with fewer than {options.fewest} training clips: {listed}. Lower head.fewest, or name more clips.")


def fit_head(encoder: Encoder, options: HeadOptions, data: DataOptions, folder: str | Path) -> tuple[Encoder, HeadResult]:
    """Fit a linear head by logistic regression on frozen embeddings, calibrate its scores, and measure it on the held-out clips.

    Training uses the labelled clips of the files that pretraining used, whole, as ``classify`` gets them; the clips held out of
    pretraining are the test. The logits are divided by a temperature: the median over folds of the one at which a fold's clips are
    least surprising to a head that saw none of their subjects or styles. The head that is kept is fitted on all folds.

    Args:
        folder: with the corpus files.

    Returns:
        A new encoder with the head and the class names, and its result on the held-out clips.

    Raises:
        TrainingError: a file is missing or has no such label, fewer than two classes are left, or no clips to calibrate or measure the head on.
        MissingDependencyError: scikit-learn is not installed.
    """
    task = _task(encoder, options, data, folder)
    raw, folds, temperature = task.fitted()
    head = raw.divided(temperature)
    return _with_linear_head(encoder, head), task.result(head, raw, folds, temperature)


def measure_head(encoder: Encoder, options: HeadOptions, data: DataOptions, folder: str | Path) -> HeadResult:
    """Measure the head that an encoder has as ``fit_head`` measures the one that it fits.

    Held-out clips are judged by the encoder's own head. Heads that did not see a fold or a source, and their temperature, are fitted for it on the encoder's vectors.

    Args:
        options, data: of the recipe that the head is of.
        folder: with the corpus files.

    Raises:
        TrainingError: as ``fit_head``; the encoder has no head of the classes that the options give.
        MissingDependencyError: scikit-learn is not installed.
    """
    task, own = _task(encoder, options, data, folder), encoder.net.head
    names = task.clips.classes(task.clips.train, options.fewest)
    if not isinstance(own, nn.Linear) or encoder.labels != tuple(names):
        raise TrainingError(
            f"the head of {encoder.name} is of other classes than its recipe gives here: {', '.join(names)}. Give the weights that the recipe made, and the corpus files that it names."
        )
    weight, bias = (p.detach().cpu().double().numpy() for p in (own.weight, own.bias))
    head = _Head(weight, bias * _shared(encoder), names)
    return task.result(head, *task.fitted())


def _task(encoder: Encoder, options: HeadOptions, data: DataOptions, folder: str | Path) -> _Task:
    shared = _shared(encoder)
    clips = labelled_clips(encoder.contract, options, data, folder)
    _check_table(clips, options)
    return _Task(encoder.embed(clips.x, prepared=True).reshape(len(clips.x), shared, -1).sum(1), clips, options)


def _shared(encoder: Encoder) -> int:
    """Vectors side by side in the embedding that share the head, their logits added (PSP); it is fitted on their sum."""
    return encoder.embedding_dim // _linear_head(encoder.config).in_features


def _calibrates(table: LabelTable, fold: int, names: NDArray[np.str_]) -> bool:
    """Whether a head of the other folds knows a class of this one."""
    others = np.unique(table.labels[table.fitted(table.train & (table.folds != fold), names)])
    own = table.train & ~table.copies & (table.folds == fold)
    return len(others) > 1 and bool(np.isin(table.labels[own], others).any())


def _linear_head(config: ModelConfig) -> nn.Linear:
    head = build_net(replace(config, num_classes=2, labels=None)).head
    if not isinstance(head, nn.Linear):
        raise TrainingError(f"{config.arch} has no linear head to fit. Leave head out of the recipe and use skelzoo.learn.finetune.")
    return head


@dataclass(frozen=True, eq=False)
class _Head:
    weight: Float64s
    bias: Float64s
    names: NDArray[np.str_]

    def divided(self, temperature: float) -> _Head:
        return _Head(self.weight / temperature, self.bias / temperature, self.names)


@dataclass(frozen=True, eq=False)
class _Task:
    """Vectors (N, D) of labelled clips. Masks are over the clips."""

    z: NDArray[np.float32]
    clips: LabelledClips
    options: HeadOptions

    def fit(self, train: Bools, names: NDArray[np.str_]) -> _Head | None:
        """A head for those of the classes that are there, None where these are fewer than two."""
        try:
            from sklearn.linear_model import LogisticRegression
        except ImportError as error:
            raise MissingDependencyError("scikit-learn", "train", "fitting a head") from error
        used = self.clips.fitted(train, names)
        z, labels = self.z[used], self.clips.labels[used]
        if len(np.unique(labels)) < 2:
            return None
        mean, std = z.mean(0), z.std(0) + 1e-6
        model = LogisticRegression(C=self.options.strength, max_iter=2000, class_weight="balanced").fit((z - mean) / std, labels)
        weight, bias = model.coef_ / std, model.intercept_ - model.coef_ @ (mean / std)
        if len(model.classes_) == 2:  # scikit-learn gives one row for two classes
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        return _Head(weight, bias, model.classes_)

    def fitted(self) -> tuple[_Head, list[tuple[Float64s, Int64s]], float]:
        """A head of all training clips, per fold what ``cross_validated`` gives, and the temperature of them; ``_check_table`` has seen that there are both."""
        train = self.clips.train
        names = self.clips.classes(train, self.options.fewest)
        raw, folds = self.fit(train, names), self.cross_validated(train, names)
        assert raw is not None and folds
        return raw, folds, float(np.median([TEMPERATURES[surprise(*fold).argmin()] for fold in folds]))

    def result(self, head: _Head, raw: _Head, folds: list[tuple[Float64s, Int64s]], temperature: float) -> HeadResult:
        """How a head does, which is ``raw`` at a temperature."""
        train, names = self.clips.train, [str(n) for n in head.names]
        unseen, unseen_truth = (np.concatenate(part) for part in zip(*folds, strict=True))
        logits, truth = self.measured(head, ~train)
        kinds = {**self.by_kind(head), **self.by_source(train, temperature), "cross-validated": score(unseen / temperature, unseen_truth)}
        return HeadResult(
            **asdict(score(logits, truth)), classes=len(names), train_clips=int(self.known(head, train & ~self.clips.copies).sum()), temperature=temperature,
            error_before=calibration_error(*self.measured(raw, ~train)), kinds=kinds, per_class=per_class(logits, truth, names), confusions=confusions(logits, truth, names),
        )  # fmt: skip

    def known(self, head: _Head, mask: Bools) -> Bools:
        return mask & np.isin(self.clips.labels, head.names)

    def measured(self, head: _Head, mask: Bools) -> tuple[Float64s, Int64s]:
        """Logits and true classes of the clips whose class the head knows."""
        chosen = self.known(head, mask)
        return self.z[chosen] @ head.weight.T + head.bias, np.searchsorted(head.names, self.clips.labels[chosen])

    def cross_validated(self, train: Bools, names: NDArray[np.str_]) -> list[tuple[Float64s, Int64s]]:
        """Per fold logits of the classes and true classes of its training clips, by a head of the other folds; -inf for classes that it did not see."""
        parts = []
        for fold in range(FOLDS):
            out = train & ~self.clips.copies & (self.clips.folds == fold)
            head = self.fit(train & (self.clips.folds != fold), names)
            if head is not None and self.known(head, out).any():
                own, true = self.measured(head, out)
                columns = np.searchsorted(names, head.names)
                logits = np.full((len(own), len(names)), -np.inf)
                logits[:, columns] = own
                parts.append((logits, columns[true]))
        return parts

    def by_kind(self, head: _Head) -> dict[str, HeadScore]:
        """Scores on the held-out clips by kind of holding out."""
        masks = {str(kind): self.clips.held == kind for kind in np.unique(self.clips.held) if kind}
        return {kind: score(*self.measured(head, mask)) for kind, mask in masks.items() if self.known(head, mask).any()}

    def by_source(self, train: Bools, temperature: float) -> dict[str, HeadScore]:
        """Scores of heads fitted without one corpus file, on its held-out clips."""
        scores = {}
        for file in np.unique(self.clips.files):
            here = self.clips.files == file
            head = self.fit(train & ~here, self.clips.classes(train & ~here, self.options.fewest))
            if head is not None and self.known(head, ~train & here).any():
                scores[f"source {file}"] = score(*self.measured(head.divided(temperature), ~train & here))
        return scores


def _with_linear_head(encoder: Encoder, head: _Head) -> Encoder:
    config = replace(encoder.config, num_classes=len(head.names), labels=tuple(str(n) for n in head.names))
    net = build_net(config)
    new = {"head.weight": torch.tensor(head.weight, dtype=torch.float32), "head.bias": torch.tensor(head.bias / _shared(encoder), dtype=torch.float32)}
    net.load_state_dict({**encoder.net.state_dict(), **new})
    return Encoder(net, config, encoder.name, encoder.device)
