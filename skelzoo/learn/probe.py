"""Measuring frozen embeddings: kNN and linear probe on named benchmarks. The protocol is part of every result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import MissingDependencyError, TrainingError
from skelzoo.skeleton.clip import FloatArray
from skelzoo.skeleton.io.corpus import Corpus, read_table
from skelzoo.skeleton.prepare import Contract, prepare_batch

COPY_FLAG = 64
"""Flag of a test clip that is an exact copy of a training clip."""


@dataclass(frozen=True)
class Benchmark:
    """A labelled corpus file with a standard split.

    Attributes:
        file: corpus file name.
        title: of the dataset and split.
        train, test: masks over the clips.
        validation_train, validation_test: a split of the training part alone, for choosing between recipes.
    """

    file: str
    title: str
    train: Callable[[Corpus], NDArray[np.bool_]]
    test: Callable[[Corpus], NDArray[np.bool_]]
    validation_train: Callable[[Corpus], NDArray[np.bool_]]
    validation_test: Callable[[Corpus], NDArray[np.bool_]]


BENCHMARKS: Mapping[str, Benchmark] = {
    "nwucla": Benchmark(
        "nw_ucla.npz", "NW-UCLA, views 1 and 2 train, view 3 tests",
        lambda c: c.split == 0, lambda c: c.split == 1, lambda c: c.view == 1, lambda c: c.view == 2,
    ),
    "utdmhad": Benchmark(
        "utd_mhad.npz", "UTD-MHAD, odd subjects train, even subjects test",
        lambda c: c.split == 0, lambda c: c.split == 1, lambda c: np.isin(c.subject, (1, 3)), lambda c: np.isin(c.subject, (5, 7)),
    ),
}  # fmt: skip
"""Benchmarks by name."""

PROTOCOLS = {
    "knn": "1-nearest neighbour, Euclidean, on the frozen embeddings",
    "linear": "logistic regression (L2, C=0.05, lbfgs, at most 1000 iterations) on standardised frozen embeddings",
}
"""What each protocol does; scikit-learn in both."""


class Embedder(Protocol):
    """What can be probed: an Encoder, or ``Coordinates``."""

    @property
    def name(self) -> str:
        """Shown in results."""

    @property
    def contract(self) -> Contract:
        """How clips are prepared."""

    def embed(self, clips: FloatArray, *, prepared: bool, progress: bool | None) -> FloatArray:
        """Prepared clips (N, C, T, V, M) -> (N, D)."""


class Coordinates:
    """The baseline without a net: joint coordinates, hip-centred in every frame, torso-scaled, turned to face +z, 32 frames, flattened."""

    name = "coordinates"
    contract = Contract(
        "kinect20",
        channels=3,
        persons=1,
        frames=32,
        steps=(
            {"step": "drop_empty_frames"},
            {"step": "center", "point": "hip_center", "reference": "every_frame"},
            {"step": "scale_torso"},
            {"step": "yaw"},
            {"step": "resample", "frames": 32},
        ),
    )

    def embed(self, clips: FloatArray, *, prepared: bool, progress: bool | None) -> FloatArray:
        """(N, C, T, V, M) -> (N, C*T*V*M)."""
        return clips.reshape(len(clips), -1)


@dataclass(frozen=True)
class Split:
    """Prepared training and test clips (N, C, T, V, M) with class ids, and which test clips are copies."""

    train: FloatArray
    train_labels: NDArray[Any]
    test: FloatArray
    test_labels: NDArray[Any]
    copies: NDArray[np.bool_]


@dataclass(frozen=True)
class ProbeResult:
    """Accuracy of frozen embeddings, with all that decides the number.

    Attributes:
        accuracy: top-1, percent.
        accuracy_without_copies: the same on the test clips that are no exact copies of training clips; None
            when the benchmark has no copies.
    """

    model: str
    benchmark: str
    protocol: str
    description: str
    accuracy: float
    accuracy_without_copies: float | None
    train_clips: int
    test_clips: int
    classes: int


def _corpus(benchmark: str, data: str | Path) -> Corpus:
    if benchmark not in BENCHMARKS:
        raise TrainingError(f"no benchmark {benchmark!r}. Known: {', '.join(BENCHMARKS)}.")
    path = Path(data) / BENCHMARKS[benchmark].file
    if not path.is_file():
        raise TrainingError(f"no file {path}. Give the folder that holds {path.name} with --data.")
    return read_table(path)


def _split(corpus: Corpus, train: NDArray[np.bool_], test: NDArray[np.bool_], contract: Contract) -> Split:
    # Benchmarks count every clip, also the few of one frame that an encoder refuses by default.
    contract = contract.replace(min_frames=1)
    x = prepare_batch(corpus.clips, contract)
    copies = (corpus.flags[test] & COPY_FLAG) > 0
    return Split(x[train], corpus.label[train], x[test], corpus.label[test], copies)


def standard_split(benchmark: str, data: str | Path, contract: Contract) -> Split:
    """The standard split of a benchmark.

    Raises:
        TrainingError: unknown benchmark or missing file.
    """
    corpus, b = _corpus(benchmark, data), BENCHMARKS[benchmark]
    return _split(corpus, b.train(corpus), b.test(corpus), contract)


def validation_split(benchmark: str, data: str | Path, contract: Contract) -> Split:
    """A split inside the training part of a benchmark: for choosing, never for reporting. Errors as ``standard_split``."""
    corpus, b = _corpus(benchmark, data), BENCHMARKS[benchmark]
    return _split(corpus, b.validation_train(corpus), b.validation_test(corpus), contract)


def predict(encoder: Embedder, split: Split, protocol: str) -> NDArray[Any]:
    """Class ids of the test clips, from a probe fitted on the training clips' embeddings.

    Raises:
        TrainingError: unknown protocol.
        MissingDependencyError: scikit-learn is not installed.
    """
    if protocol not in PROTOCOLS:
        raise TrainingError(f"no protocol {protocol!r}. Known: {', '.join(PROTOCOLS)}.")
    train, test = (encoder.embed(x, prepared=True, progress=False) for x in (split.train, split.test))
    predicted: NDArray[Any] = _classifier(protocol).fit(train, split.train_labels).predict(test)
    return predicted


def _classifier(protocol: str) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise MissingDependencyError("scikit-learn", "eval", "probing") from error
    if protocol == "knn":
        return KNeighborsClassifier(1)
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=1000))


def score(encoder: Embedder, split: Split, protocol: str) -> float:
    """Top-1 accuracy in percent on all test clips. Errors as ``predict``."""
    return 100 * float((predict(encoder, split, protocol) == split.test_labels).mean())


def probe(encoder: Embedder, benchmark: str, data: str | Path, protocol: str) -> ProbeResult:
    """Probe frozen embeddings on a benchmark's standard split.

    Args:
        benchmark: ``nwucla`` or ``utdmhad``.
        data: folder with the benchmark's corpus file.
        protocol: ``knn`` or ``linear``.

    Raises:
        TrainingError: unknown names or missing file.
        MissingDependencyError: scikit-learn is not installed.
    """
    split = standard_split(benchmark, data, encoder.contract)
    right = predict(encoder, split, protocol) == split.test_labels
    without = 100 * float(right[~split.copies].mean()) if split.copies.any() else None
    description = f"{BENCHMARKS[benchmark].title}; {PROTOCOLS[protocol]}"
    return ProbeResult(
        encoder.name, benchmark, protocol, description, 100 * float(right.mean()), without,
        len(split.train), len(split.test), len(np.unique(split.train_labels)),
    )  # fmt: skip
