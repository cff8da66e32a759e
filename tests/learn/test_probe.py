"""Probes on made-up benchmarks: right numbers, with the protocol that decides them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import make_clip, make_encoder, write_corpus

import skelzoo
from skelzoo.errors import TrainingError
from skelzoo.learn.probe import BENCHMARKS, PROTOCOLS, Coordinates, probe, score, standard_split, validation_split
from skelzoo.skeleton.clip import Clip

CLASSES, PER_CLASS = 4, 9


@pytest.fixture(scope="module")
def encoder() -> skelzoo.Encoder:
    return make_encoder()


def clip_of(label: int, i: int, noise: float = 0.02) -> Clip:
    """Clip i of a class: the class's motion, slightly other joints."""
    rng, clip = np.random.default_rng(1000 * label + i), make_clip(label)
    return clip.replace(keypoints=clip.keypoints + rng.normal(size=(1, 1, 20, 3)) * noise, name=f"c{label}_{i}")


def columns() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    labels, number = np.repeat(np.arange(CLASSES), PER_CLASS), np.tile(np.arange(PER_CLASS), CLASSES)
    view = (number % 3 + 1).astype(np.int32)
    return labels, {"view": view, "subject": (number % 8 + 1).astype(np.int32), "split": (view == 3).astype(np.int32)}


def write(folder: Path, change: Callable[[list[Clip], np.ndarray], None] | None = None, flags: np.ndarray | None = None) -> Path:
    labels, rows = columns()
    clips = [clip_of(label, i) for label in range(CLASSES) for i in range(PER_CLASS)]
    if change is not None:
        change(clips, rows["split"])
    write_corpus(folder / "nw_ucla.npz", clips, labels=labels, **rows, **({} if flags is None else {"flags": flags}))
    write_corpus(folder / "utd_mhad.npz", clips, labels=labels, **{**rows, "split": (rows["subject"] % 2 == 0).astype(np.int32)})
    return folder


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_separable_classes_are_told_apart(tmp_path: Path, encoder: skelzoo.Encoder, benchmark: str, protocol: str) -> None:
    result = probe(encoder, benchmark, write(tmp_path), protocol)
    assert result.accuracy == 100 and result.accuracy_without_copies is None
    _, rows = columns()
    tested = int((rows["split"] == 1).sum()) if benchmark == "nwucla" else int((rows["subject"] % 2 == 0).sum())
    assert (result.train_clips, result.test_clips, result.classes) == (CLASSES * PER_CLASS - tested, tested, CLASSES)
    assert (result.model, result.benchmark, result.protocol) == ("tiny", benchmark, protocol)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_protocol_is_in_the_result(tmp_path: Path, encoder: skelzoo.Encoder, protocol: str) -> None:
    text = probe(encoder, "nwucla", write(tmp_path), protocol).description
    assert BENCHMARKS["nwucla"].title in text and PROTOCOLS[protocol] in text
    for part in {"knn": ["1-nearest", "Euclidean"], "linear": ["logistic", "C=0.05", "standardised"]}[protocol]:
        assert part in text


def test_the_accuracy_counts_what_is_wrong(tmp_path: Path, encoder: skelzoo.Encoder) -> None:
    """Five test clips are of a class other than their label says: they and only they are wrong."""
    wrong = []

    def swap(clips: list[Clip], split: np.ndarray) -> None:
        for i in np.flatnonzero(split == 1)[:5]:
            clips[i] = clip_of((i // PER_CLASS + 1) % CLASSES, i)
            wrong.append(i)

    result = probe(encoder, "nwucla", write(tmp_path, swap), "knn")
    assert len(wrong) == 5 and result.accuracy == pytest.approx(100 * (12 - 5) / 12)
    assert score(encoder, standard_split("nwucla", tmp_path, encoder.contract), "knn") == result.accuracy


def test_copies_are_counted_and_left_out(tmp_path: Path, encoder: skelzoo.Encoder) -> None:
    _, rows = columns()
    flags, test = np.zeros(CLASSES * PER_CLASS, np.uint8), np.flatnonzero(rows["split"] == 1)
    flags[test[:3]], flags[test[3]], flags[0] = 64, 8, 64 | 1  # three copies; other flags and flags of training clips do not count

    def spoil(clips: list[Clip], split: np.ndarray) -> None:
        for i in test[3:5]:
            clips[i] = clip_of((i // PER_CLASS + 1) % CLASSES, i)

    result = probe(encoder, "nwucla", write(tmp_path, spoil, flags), "knn")
    assert result.accuracy == pytest.approx(100 * 10 / 12) and result.accuracy_without_copies == pytest.approx(100 * 7 / 9)


def test_one_nearest_neighbour_by_hand(tmp_path: Path, encoder: skelzoo.Encoder) -> None:
    rng = np.random.default_rng(0)

    def blur(clips: list[Clip], split: np.ndarray) -> None:
        for i, clip in enumerate(clips):
            clips[i] = clip.replace(keypoints=rng.normal(size=clip.keypoints.shape))

    split = standard_split("nwucla", write(tmp_path, blur), encoder.contract)
    train, test = encoder.embed(split.train, prepared=True), encoder.embed(split.test, prepared=True)
    right = [split.train_labels[np.argmin([((z - t) ** 2).sum() for t in train])] == label for z, label in zip(test, split.test_labels, strict=True)]
    assert 0 < sum(right) < len(right)
    assert score(encoder, split, "knn") == pytest.approx(100 * np.mean(right))


def test_the_validation_split_lies_inside_the_training_part(tmp_path: Path, encoder: skelzoo.Encoder) -> None:
    write(tmp_path)
    for benchmark in BENCHMARKS:
        standard, validation = (f(benchmark, tmp_path, encoder.contract) for f in (standard_split, validation_split))
        train, inner, held = ({x.tobytes() for x in part} for part in (standard.train, validation.train, validation.test))
        assert inner and held and not inner & held and inner | held <= train
        assert not {x.tobytes() for x in standard.test} & (inner | held)


def test_clips_of_one_frame_count(tmp_path: Path, encoder: skelzoo.Encoder) -> None:
    def cut(clips: list[Clip], split: np.ndarray) -> None:
        clips[0] = clips[0].replace(keypoints=clips[0].keypoints[:, :1])

    result = probe(encoder, "nwucla", write(tmp_path, cut), "knn")
    assert result.train_clips + result.test_clips == CLASSES * PER_CLASS


def test_the_baseline_without_a_net(tmp_path: Path) -> None:
    result = probe(Coordinates(), "nwucla", write(tmp_path), "linear")
    assert (result.model, result.accuracy) == ("coordinates", 100)


def test_unknown_names_and_missing_files(tmp_path: Path, encoder: skelzoo.Encoder) -> None:
    with pytest.raises(TrainingError, match=r"no benchmark 'ntu'\. Known: nwucla, utdmhad"):
        probe(encoder, "ntu", tmp_path, "knn")
    with pytest.raises(TrainingError, match=re.escape(str(tmp_path / "nw_ucla.npz")) + r".*--data"):
        probe(encoder, "nwucla", tmp_path, "knn")
    with pytest.raises(TrainingError, match=r"no protocol 'svm'\. Known: knn, linear"):
        probe(encoder, "nwucla", write(tmp_path), "svm")
