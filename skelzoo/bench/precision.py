"""How near vectors of faster forms are to those of float32, and whether nearest neighbours stay the same."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import skelzoo
from skelzoo.bench.speed import FLOAT32, described
from skelzoo.learn.probe import Split, check_classifiers, embed_split, predicted, standard_split
from skelzoo.learn.results import revision
from skelzoo.learn.seen import check_recipe, check_unlearned
from skelzoo.skeleton.clip import FloatArray

DTYPES = ("tf32", "bfloat16", "float16")


@dataclass(frozen=True)
class Row:
    """One comparison with ``dtype="float32"``, not compiled, on the same device.

    Attributes:
        cosine, lowest_cosine: of a test clip's two vectors, mean and worst.
        knn_agreement, linear_agreement: percent of the test clips that get the same class from a classifier fitted on vectors of
            the same kind, see ``skelzoo.learn.probe.CLASSIFIERS``.
        knn, linear: percent of them that get the right one.
    """

    model: str
    dtype: str
    compile: str
    benchmark: str
    cosine: float
    lowest_cosine: float
    knn_agreement: float
    linear_agreement: float
    knn: float
    linear: float
    device: str
    torch: str
    commit: str
    command: str

    def __str__(self) -> str:
        return (
            f"{self.model}, {self.dtype}{f', compiled ({self.compile})' if self.compile else ''}: cosine {self.cosine:.6f}, at least {self.lowest_cosine:.6f}; "
            f"same class by nearest neighbour {self.knn_agreement:.1f} %, linear {self.linear_agreement:.1f} %; right {self.knn:.1f} %, {self.linear:.1f} %"
        )


def bench_precision(
    models: Sequence[str], benchmark: str, data: str | Path, dtypes: Sequence[str] = DTYPES, compile: str = "default", device: str = "auto"
) -> Iterator[Row]:
    """Compare each dtype, and float32 compiled, with float32 on a benchmark's standard split.

    Args:
        models: as ``skelzoo.load`` takes them.
        data: folder with the benchmark's corpus file.
        compile: a mode of ``torch.compile``; "" leaves the compiled form out.

    Raises:
        TrainingError: an unknown benchmark, a missing file, a model whose recipe trains on the test clips, or that was fine-tuned on some.
        ClipError, CoverageError: the model does not take the benchmark's clips.
        DeviceError: no such dtype, mode or device.
        MissingDependencyError: scikit-learn is not installed.
    """
    check_classifiers()
    forms: list[tuple[Any, Any]] = [(dtype, "") for dtype in (FLOAT32, *dtypes)] + [(FLOAT32, compile)] * bool(compile)
    options = [word for dtype in dtypes for word in ("--dtype", dtype)]
    command = shlex.join(["skelzoo", "bench", "precision", *models, "--on", benchmark, *options, "--compile", compile, "--data", "DATA", "--device", device])
    for model in models:
        check_recipe(model, benchmark, data)
        split, expected = None, None
        for dtype, mode in forms:
            encoder = skelzoo.load(model, device=device, dtype=dtype, compile=mode)
            if split is None:
                check_unlearned(model, encoder, benchmark, data)
                split = standard_split(benchmark, data, encoder.contract)
            vectors = embed_split(encoder, split)
            expected = expected or vectors
            knn_same, knn = _agreement(vectors, expected, "knn")
            linear_same, linear = _agreement(vectors, expected, "linear")
            cosines = _cosines(vectors.test, expected.test)
            yield Row(
                model=model, dtype=dtype, compile=mode, benchmark=benchmark, cosine=round(float(cosines.mean()), 7), lowest_cosine=round(float(cosines.min()), 7),
                knn_agreement=knn_same, linear_agreement=linear_same, knn=knn, linear=linear, device=described(encoder.device), torch=torch.__version__,
                commit=revision(), command=command,
            )  # fmt: skip


def _agreement(vectors: Split, expected: Split, classifier: str) -> tuple[float, float]:
    """Percent of the test clips that get the same class, and percent that get the right one."""
    found = predicted(vectors, classifier)
    same, right = found == predicted(expected, classifier), found == vectors.test_labels
    return round(100 * float(same.mean()), 3), round(100 * float(right.mean()), 3)


def _cosines(a: FloatArray, b: FloatArray) -> NDArray[np.float64]:
    lengths = (np.linalg.norm(x.astype(np.float64), axis=1) for x in (a, b))
    return np.asarray(np.einsum("nd,nd->n", a, b, dtype=np.float64) / next(lengths) / next(lengths))
