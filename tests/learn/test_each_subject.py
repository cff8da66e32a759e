"""Leave-one-subject-out: each subject of a corpus file tests once, and all others train."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_files import LABELS, NUMBER, write_benchmarks
from click.testing import CliRunner
from tiny import make_encoder

from skelzoo.cli import main
from skelzoo.errors import TrainingError
from skelzoo.learn import protocols
from skelzoo.learn.baselines import Coordinates
from skelzoo.learn.benchmarks import benchmark_corpus, by_subjects, filmed, leave_one_subject_out
from skelzoo.learn.evaluate import CHEAP, evaluate
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.results import read_rows
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.corpus import save_corpus

FILE, SUBJECTS = "hdm05_subset.npz", range(5)
EACH = leave_one_subject_out(FILE)


def blur(clips: list[Clip]) -> None:
    rng = np.random.default_rng(0)
    for i, clip in enumerate(clips):
        clips[i] = clip.replace(keypoints=clip.keypoints + rng.normal(size=clip.keypoints.shape))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips that are not all told apart, 8 of each subject; and a folder ``pairs`` of them with a second person."""
    folder = write_benchmarks(tmp_path_factory.mktemp("data"), blur, files=[FILE])
    table = benchmark_corpus(EACH, folder)
    others = (*table.clips[1:], table.clips[0])
    pairs = tuple(c.replace(keypoints=np.concatenate([c.keypoints, 1 + other.keypoints])) for c, other in zip(table.clips, others, strict=True))
    (folder / "pairs").mkdir()
    save_corpus(folder / "pairs" / FILE, dataclasses.replace(table, clips=pairs))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local:{make_encoder().save(tmp_path_factory.mktemp('model') / 'tiny')}"


def changed(folder: Path, subject: Any = NUMBER % 5, label: Any = LABELS, copies: tuple[tuple[int, int], ...] = ()) -> Path:
    """A folder with the benchmark's file, made anew."""
    write_benchmarks(folder, lambda clips: [clips.__setitem__(i, clips[i].replace(keypoints=clips[j].keypoints)) for i, j in copies] and None, files=[FILE])
    columns = {"subject": subject, "label": label}
    arrays = {key: np.broadcast_to(values, len(LABELS)).astype(np.int32) for key, values in columns.items()}
    save_corpus(folder / FILE, dataclasses.replace(benchmark_corpus(EACH, folder), **arrays))
    return folder


@pytest.mark.parametrize(
    ("wanted", "options", "where"),
    [
        ([], {}, ""),
        (["knn", "linear"], {"labels": 30.0}, ""),
        ([], {"random_weights": True}, ""),
        ([], {"select_persons": True}, "pairs"),
    ],
)
def test_a_row_is_the_mean_over_splits_that_leave_one_out(data: Path, model: str, wanted: list[str], options: dict[str, Any], where: str) -> None:
    rows = evaluate(model, EACH, data / where, wanted, device="cpu", **options)
    fixed = [evaluate(model, by_subjects(FILE, [s]), data / where, wanted, device="cpu", **options) for s in SUBJECTS]
    assert [r.protocol for r in rows] == (wanted or list(CHEAP))
    for row, each in zip(rows, zip(*fixed, strict=True), strict=True):
        values = [r.value for r in each]
        assert list(row.per_subject) == list(SUBJECTS) and list(row.per_subject.values()) == pytest.approx(values, abs=0.01)
        assert (row.value, row.spread) == (pytest.approx(np.mean(values), abs=0.01), pytest.approx(np.std(values, ddof=1), abs=0.01))
        assert (row.variant, row.seeds, row.train_clips, row.test_clips) == (each[0].variant, each[0].seeds, each[0].train_clips, 40)
        assert row.key not in {r.key for r in each} and row.command == each[0].command.replace("--test-subjects 0", "--test-subjects each")
    assert len({value for row in rows for value in row.per_subject.values()}) > 1


def test_fine_tuning_never_sees_the_subject_that_tests(data: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[list[str]] = []
    monkeypatch.setattr(protocols, "finetune", lambda encoder, clips, **more: learned.append([c.name for c in clips]) or finetune(encoder, clips, **more))
    monkeypatch.setattr(protocols, "FINETUNE_SEEDS", (0,))
    monkeypatch.setattr(FinetuneOptions.__init__, "__defaults__", (1, *(FinetuneOptions.__init__.__defaults__ or ())[1:]))  # 1 epoch
    (row,) = evaluate(model, EACH, data, ["finetune"], device="cpu")
    names = benchmark_corpus(EACH, data).clip_names
    assert learned == [[name for name, subject in zip(names, NUMBER % 5, strict=True) if subject != s] for s in SUBJECTS]
    assert (list(row.per_subject), row.seeds, row.train_clips) == (list(SUBJECTS), (0,), 32)


def test_every_clip_is_filmed_and_embedded_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed, shapes = Coordinates.embed, []
    monkeypatch.setattr(Coordinates, "embed", lambda self, clips, **more: shapes.append(clips.shape[:2]) or embed(self, clips, **more))
    rows = evaluate("coordinates", filmed(EACH), data)
    assert shapes == [(40, 2)] and [len(r.per_subject) for r in rows] == [5, 5, 5]
    assert rows[0].command == f"skelzoo eval coordinates --on {FILE} --test-subjects each --film --protocol linear --data DATA"


def test_copies_with_another_subject_are_left_out_of_a_second_row(tmp_path: Path) -> None:
    every, without = evaluate("coordinates", EACH, changed(tmp_path, copies=((1, 0), (6, 5), (15, 10))), ["knn"])
    assert (every.variant, every.test_clips, without.variant, without.test_clips) == ("all test clips", 40, "without the copied test clips", 36)
    assert list(without.per_subject) == list(SUBJECTS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subject": -1}, "its subjects cannot test one after the other, its subjects are not known; make it with skelzoo corpus make --subject"),
        ({"subject": 3}, "its subjects are 3. There must be two or more"),
        ({"label": np.where(NUMBER == 0, -1, LABELS)}, "4 training or test clips have no label"),
        ({"subject": np.where(LABELS == 0, 7, 8)}, "without subject 8 only clips of class 'class0' are left to train"),
    ],
)
def test_what_cannot_be_left_out_one_by_one_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError) as error:
        evaluate("coordinates", EACH, changed(tmp_path, **changes), ["knn"])
    assert message in str(error.value)


def test_clips_of_nobody_and_classes_of_one_subject_are_warned_of(tmp_path: Path) -> None:
    subject = np.where(LABELS == 3, 2, np.where(NUMBER == 9, -1, NUMBER % 4))
    with pytest.warns(UserWarning) as said:
        (row,) = evaluate("coordinates", EACH, changed(tmp_path, subject), ["knn"])
    texts = [str(w.message) for w in said if str(w.message).startswith("hdm05")]
    assert len(texts) == 2 and "3 clip(s), the first 'c0_9', are of no known subject" in texts[0] and "'class3' (subject 2)" in texts[1]
    assert row.per_subject == {0: 100, 1: 100, 2: pytest.approx(100 * 6 / 16), 3: 100} and (row.test_clips, row.classes) == (37, 4)


def test_retrieval_takes_two_clips_of_a_class_of_a_subject(tmp_path: Path) -> None:
    one_alone = changed(tmp_path / "a", np.where(NUMBER < 5, 0, np.where(NUMBER < 9, 1, 2)))
    (row,) = evaluate("coordinates", EACH, one_alone, ["retrieval"])
    assert (list(row.per_subject), row.test_clips) == ([0, 1], 36)
    with pytest.raises(TrainingError, match=r"protocol retrieval needs two test clips of a class.*Use one of linear, knn, or"):
        evaluate("coordinates", EACH, changed(tmp_path / "b", NUMBER), ["retrieval"])


def test_each_on_the_command_line_has_rows_of_its_own(data: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    eval_ = ["eval", "coordinates", "--on", str(data / FILE), "--protocol", "knn", "--out", str(table), "--test-subjects"]
    said = [CliRunner().invoke(main, [*eval_, subjects]).stdout for subjects in ("0", "each", "each")]
    rows = read_rows(table)
    assert [r.benchmark for r in rows] == [f"{FILE} each subject", f"{FILE} subjects 0"]
    assert rows[0] == evaluate("coordinates", EACH, data, ["knn"])[0] and rows[1].per_subject == {}
    assert f"over 5 subjects (0: {rows[0].per_subject[0]:.1f}, 1: " in said[1] and "subjects (" not in said[0]
    (printed,) = json.loads(CliRunner().invoke(main, [*eval_, "each", "--json"]).stdout)
    assert printed["per_subject"] == {str(s): value for s, value in rows[0].per_subject.items()}
