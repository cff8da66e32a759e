"""Classification heads on frozen encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skelzoo.errors import MissingDependencyError, TrainingError
from skelzoo.inference.encoder import Encoder
from skelzoo.learn.pretrain.data import DataOptions, corpora, held_out, windows
from skelzoo.skeleton.clip import FloatArray
from skelzoo.skeleton.prepare import prepare
from skelzoo.weights.checkpoint import build_net


@dataclass(frozen=True)
class HeadOptions:
    """Which labels a head learns.

    Attributes:
        labels: corpus file -> {source label: class name}; ``"*"`` takes every label under its own name.
        fewest: classes with fewer training clips than this are left out.
        strength: inverse L2 penalty of the logistic regression.
    """

    labels: Mapping[str, str | Mapping[str, str]]
    fewest: int = 12
    strength: float = 0.05


@dataclass(frozen=True)
class HeadResult:
    """How a head does on held-out clips.

    Attributes:
        accuracy, balanced_accuracy: top-1 over clips and mean over classes, percent; a clip's scores are the mean
            over its windows.
        top3: share of clips whose class is among the best three, percent.
        per_class: class -> (held-out clips, percent right).
    """

    classes: int
    train_clips: int
    test_clips: int
    accuracy: float
    balanced_accuracy: float
    top3: float
    per_class: Mapping[str, tuple[int, float]]


def fit_head(encoder: Encoder, options: HeadOptions, data: DataOptions, folder: str | Path) -> tuple[Encoder, HeadResult]:
    """Fit a linear head by logistic regression on frozen embeddings, and measure it on the held-out clips.

    Training uses the labelled clips that pretraining used, cut into the same windows; the clips held out of
    pretraining are the test.

    Args:
        folder: with the corpus files.

    Returns:
        A new encoder with the head and the class names, and its result on the held-out clips.

    Raises:
        TrainingError: a file is missing or fewer than two classes are left.
        MissingDependencyError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingDependencyError("scikit-learn", "train", "fitting a head") from error
    train, test = _labelled_windows(encoder, options, data, folder)
    names = sorted(n for n in set(train.labels) if len(set(train.clips[train.labels == n])) >= options.fewest)
    if len(names) < 2:
        raise TrainingError(f"{len(names)} class(es) with at least {options.fewest} clips: a head needs two. Check the labels of the recipe's head.")
    shared = _streams_of_head(encoder)
    z, kept = encoder.embed(train.x, prepared=True), np.isin(train.labels, names)
    z = z.reshape(len(z), shared, -1).sum(1)
    mean, std = z[kept].mean(0), z[kept].std(0) + 1e-6
    regression = LogisticRegression(C=options.strength, max_iter=2000, class_weight="balanced").fit((z[kept] - mean) / std, train.labels[kept])
    bias = (regression.intercept_ - regression.coef_ @ (mean / std)) / shared
    headed = _with_linear_head(encoder, regression.coef_ / std, bias, [str(c) for c in regression.classes_])
    return headed, _measure(headed, test, len(set(train.clips[kept])))


def _streams_of_head(encoder: Encoder) -> int:
    """How many vectors, side by side in the embedding, share the head: their logits are added (PSP), so it is fitted on their sum."""
    head = build_net(replace(encoder.config, num_classes=2, labels=None)).head
    if not isinstance(head, nn.Linear):
        raise TrainingError(f"{encoder.config.arch} has no linear head to fit. Leave head out of the recipe and use skelzoo.learn.finetune.")
    return encoder.embedding_dim // head.in_features


@dataclass(frozen=True)
class _Windows:
    """Prepared windows with the class name and source clip of each."""

    x: FloatArray
    labels: NDArray[np.str_]
    clips: NDArray[np.str_]


def _labelled_windows(encoder: Encoder, options: HeadOptions, data: DataOptions, folder: str | Path) -> tuple[_Windows, _Windows]:
    rows: tuple[list[Any], list[Any]] = ([], [])
    for file, corpus in corpora(folder, [f for f in data.files if f in options.labels]):
        mapping = options.labels[file]
        for clip, out in zip(corpus.clips, held_out(corpus, data.held_out.get(file)), strict=True):
            name = clip.label if mapping == "*" else mapping.get(clip.label or "") if isinstance(mapping, Mapping) else None
            if name is not None:
                rows[bool(out)].extend((prepare(w, encoder.contract), name, f"{file}:{clip.name}") for w in windows(clip, data) if w.frames >= data.shortest)
    if not rows[0] or not rows[1]:
        raise TrainingError("no labelled clips to train a head on, or none held out to measure it. Check head.labels and data.held_out of the recipe.")
    train, test = (_Windows(np.stack([r[0] for r in part]), np.array([r[1] for r in part]), np.array([r[2] for r in part])) for part in rows)
    return train, test


def _with_linear_head(encoder: Encoder, weight: NDArray[np.float64], bias: NDArray[np.float64], names: Sequence[str]) -> Encoder:
    if len(names) == 2:  # scikit-learn gives one row for two classes
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    config = replace(encoder.config, num_classes=len(names), labels=tuple(names))
    net = build_net(config)
    state = {**encoder.net.state_dict(), "head.weight": torch.tensor(weight, dtype=torch.float32), "head.bias": torch.tensor(bias, dtype=torch.float32)}
    net.load_state_dict(state)
    return Encoder(net, config, encoder.name, encoder.device)


def _measure(encoder: Encoder, test: _Windows, train_clips: int) -> HeadResult:
    labels = list(encoder.labels or ())
    known = np.isin(test.labels, labels)
    scores = np.zeros((int(known.sum()), len(labels)), np.float32)
    result = encoder.classify(test.x[known], top_k=len(labels), prepared=True)
    np.put_along_axis(scores, result.indices, result.scores, axis=1)
    clips, first, member = np.unique(test.clips[known], return_index=True, return_inverse=True)
    per_clip = np.stack([scores[member == i].mean(0) for i in range(len(clips))])
    truth = np.array([labels.index(n) for n in test.labels[known][first]])
    ranks = (-per_clip).argsort(1).argsort(1)[np.arange(len(truth)), truth]
    right = ranks == 0
    per_class = {n: (int((truth == i).sum()), 100 * float(right[truth == i].mean())) for i, n in enumerate(labels) if (truth == i).any()}
    balanced = float(np.mean([accuracy for _, accuracy in per_class.values()]))
    return HeadResult(len(labels), train_clips, len(clips), 100 * float(right.mean()), balanced, 100 * float((ranks < 3).mean()), per_class)
