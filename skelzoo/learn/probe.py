"""Frozen vectors on benchmarks: linear probe, nearest neighbour, retrieval. The protocol is part of every result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from skelzoo.errors import MissingDependencyError, TrainingError
from skelzoo.learn.benchmarks import BENCHMARKS, Benchmark, ClipSplit, find_benchmark, standard_clips, validation_clips
from skelzoo.skeleton.arrays import Bools, Float64s, Int32s
from skelzoo.skeleton.clip import FloatArray
from skelzoo.skeleton.contract import Contract
from skelzoo.skeleton.doubts import Doubts
from skelzoo.skeleton.prepare import prepare_batch


class Embedder(Protocol):
    """What can be probed: an Encoder, or a baseline without a net."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def name(self) -> str:
        """Shown in results."""

    @property
    def contract(self) -> Contract:
        """How clips are prepared."""

    def embed(self, clips: FloatArray, *, prepared: bool, progress: bool | None) -> FloatArray:
        """Prepared clips (N, C, T, V, M) -> (N, D)."""


@dataclass(frozen=True, eq=False)
class Split:
    """Training and test clips as arrays: prepared (N, C, T, V, M), or their vectors (N, D).

    Attributes:
        train_labels, test_labels: class ids.
        copies: (test clips,) which of them are exact copies of training clips.
    """

    train: FloatArray
    train_labels: Int32s
    test: FloatArray
    test_labels: Int32s
    copies: Bools


def prepare_split(clips: ClipSplit, contract: Contract, benchmark: str | Benchmark) -> Split:
    """The clips of a benchmark by a contract.

    Args:
        benchmark: whose clips they are. What is odd about those of ``BENCHMARKS`` is known, and warned of nowhere.

    Raises:
        ClipError, CoverageError: the clips do not fit it, as 2-D clips do not fit a 3-D encoder.
    """
    # Benchmarks count every clip, also the few of one frame that an encoder refuses by default.
    contract = contract.replace(min_frames=1)
    doubts = Doubts() if find_benchmark(benchmark).name in BENCHMARKS else None
    train, test = (prepare_batch(part, contract, doubts) for part in (clips.train, clips.test))
    return Split(train, clips.train_labels, test, clips.test_labels, clips.copies)


def standard_split(benchmark: str | Benchmark, data: str | Path, contract: Contract) -> Split:
    """The standard split of a benchmark, prepared. Errors as ``standard_clips`` and ``prepare_split``."""
    return prepare_split(standard_clips(benchmark, data), contract, benchmark)


def validation_split(benchmark: str | Benchmark, data: str | Path, contract: Contract) -> Split:
    """A split inside the training part of a benchmark: for choosing, never for reporting. Errors as ``standard_split``."""
    return prepare_split(validation_clips(benchmark, data), contract, benchmark)


def embed_split(encoder: Embedder, split: Split) -> Split:
    """Prepared clips -> vectors (N, D); a part without clips stays as it is."""
    train, test = (encoder.embed(x, prepared=True, progress=False) if len(x) else x for x in (split.train, split.test))
    return replace(split, train=train, test=test)


CLASSIFIERS: Mapping[str, str] = {
    "linear": "logistic regression (L2, C=0.05, Newton's method in 64 bits until it converges) on frozen vectors, standardised on the training clips it is fitted to",
    "knn": "1-nearest neighbour, Euclidean, on frozen vectors",
}
"""What is fitted on vectors; scikit-learn in both."""


def right(vectors: Split, classifier: str) -> Bools:
    """Which test clips get their own class: (test clips,) bool. Arguments and errors as ``predicted``."""
    return np.asarray(predicted(vectors, classifier) == vectors.test_labels)


def predicted(vectors: Split, classifier: str) -> Int32s:
    """Classes that a classifier fitted on the training clips' vectors gives the test clips: (test clips,).

    Args:
        classifier: ``linear`` or ``knn``, see ``CLASSIFIERS``.

    Raises:
        TrainingError: unknown classifier.
        MissingDependencyError: scikit-learn is not installed.
    """
    if classifier not in CLASSIFIERS:
        raise TrainingError(f"no classifier {classifier!r}. Known: {', '.join(CLASSIFIERS)}.")
    # Neighbours are found in 64 bits of parts at a time; a copy would hold all.
    train, test = (x if classifier == "knn" else x.astype(np.float64) for x in (vectors.train, vectors.test))
    return np.asarray(_classifier(classifier, *train.shape).fit(train, vectors.train_labels).predict(test))


def check_classifiers() -> None:
    """Raise MissingDependencyError unless scikit-learn is installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("scikit-learn", "eval", "probing") from error


def _classifier(name: str, clips: int, dimensions: int) -> Any:
    check_classifiers()
    from sklearn.decomposition import KernelPCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if name == "knn":
        return KNeighborsClassifier(1)
    # The answer lies in what the training clips span: where these are few, a rotation into that changes the time alone. Stopped early, the answer depends on rounding.
    rotation = [KernelPCA(clips, kernel="linear")] if 2 * clips < dimensions else []
    return make_pipeline(StandardScaler(), *rotation, LogisticRegression(C=0.05, solver="newton-cg", tol=1e-6, max_iter=1000))


def score(encoder: Embedder, split: Split, classifier: str) -> float:
    """Top-1 accuracy in percent on all test clips of a prepared split. Errors as ``right``."""
    return 100 * float(right(embed_split(encoder, split), classifier).mean())


def average_precision(vectors: Split) -> Float64s:
    """Average precision of every test clip as a query for the other test clips of its class, ranked by cosine similarity.

    Vectors are standardised with mean and standard deviation of the training clips first.

    Returns:
        (test clips,) in 0..1, NaN for the only clip of a class.
    """
    mean, std = vectors.train.mean(0), vectors.train.std(0) + 1e-6
    z = (vectors.test - mean) / std
    z /= np.linalg.norm(z, axis=1, keepdims=True) + 1e-12
    similarity = z @ z.T
    out = np.full(len(z), np.nan)
    for query, label in enumerate(vectors.test_labels):
        order = np.argsort(-similarity[query], kind="stable")
        hits = (vectors.test_labels == label)[order[order != query]]
        if hits.any():
            ranks = np.flatnonzero(hits) + 1
            out[query] = (np.arange(1, len(ranks) + 1) / ranks).mean()
    return out
