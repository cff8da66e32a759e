"""Benchmarks: who trains, who tests, and that test clips are never trained on."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_files import CLASSES, LABELS, NUMBER, PER_CLASS, SPLITS, SUBJECT, VIEW, write_benchmarks
from click.testing import CliRunner
from tiny import make_encoder, write_json

from skelzoo.cli import main
from skelzoo.errors import TrainingError
from skelzoo.learn import seen as seen_clips
from skelzoo.learn.benchmarks import BENCHMARKS, benchmark_corpus, by_subjects, draw_labels, find_benchmark, known_benchmarks, standard_clips, validation_clips
from skelzoo.learn.cameras import film
from skelzoo.learn.evaluate import CHEAP, evaluate
from skelzoo.learn.held_out import DataOptions
from skelzoo.learn.own_corpus import make_own_corpus
from skelzoo.learn.pretrain.windows import training_windows
from skelzoo.learn.probe import standard_split
from skelzoo.learn.recipe import load_recipe, shipped_recipes
from skelzoo.learn.results import read_rows
from skelzoo.learn.seen import check_recipe
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.array import save as save_clips
from skelzoo.skeleton.io.corpus import save_corpus
from skelzoo.skeleton.procedural import make
from skelzoo.weights.manifest import manifest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmarks(tmp_path_factory.mktemp("data"))


TEST_CLIPS = {
    "nwucla": VIEW == 3,
    "utdmhad": NUMBER % 8 % 2 == 1,
    "uiprmd": (SUBJECT >= 9) & ((NUMBER + LABELS) % 3 > 0),
    "hdm05": NUMBER % 5 > 2,
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_standard_split(data: Path, name: str) -> None:
    split, plain = standard_clips(name, data), name.removesuffix("-2d")
    names = np.array([f"c{label}_{i}" for label, i in zip(LABELS, NUMBER, strict=True)])
    left_out = (NUMBER + LABELS) % 3 == 0 if plain == "uiprmd" else np.zeros(len(names), bool)
    assert [c.name for c in split.test] == list(names[TEST_CLIPS[plain]])
    assert [c.name for c in split.train] == list(names[~TEST_CLIPS[plain] & ~left_out])
    for clips, labels in ((split.train, split.train_labels), (split.test, split.test_labels)):
        assert [c.label for c in clips] == [f"class{i}" for i in labels] and set(labels) == set(range(CLASSES))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_validation_split_lies_inside_the_training_part(data: Path, name: str) -> None:
    standard, validation = standard_clips(name, data), validation_clips(name, data)
    train, test, inner, held = ({c.name for c in part} for part in (standard.train, standard.test, validation.train, validation.test))
    assert inner and held and not inner & held and inner | held <= train and not test & train


@pytest.mark.parametrize("name", ["nwucla-2d", "utdmhad-2d"])
def test_filmed_clips_are_those_of_the_camera_with_the_number_of_the_clip(data: Path, name: str) -> None:
    stored, split = benchmark_corpus(name, data).clips, standard_clips(name, data)
    numbers = {c.name: i for i, c in enumerate(stored)}
    assert find_benchmark(name).dimension == 2 and find_benchmark(name.removesuffix("-2d")).dimension == 3
    for clip in (split.train[0], split.test[-1]):
        i = numbers[clip.name]
        assert (clip.layout.name, clip.channels) == ("coco17", 2) and clip.scores is not None and clip.image_size is not None
        assert np.array_equal(clip.keypoints, film(stored[i], i).keypoints) and not np.array_equal(clip.keypoints, film(stored[i], i + 1).keypoints)


def test_a_share_of_the_labels_is_drawn_in_every_class(data: Path) -> None:
    split = standard_clips("nwucla", data)
    counts = np.bincount(split.train_labels)
    for percent in (0.1, 30, 99.9):
        drawn = draw_labels(split, percent, 0)
        expected = np.clip(np.round(counts * percent / 100), 1, counts - 1)
        assert np.array_equal(np.bincount(split.train_labels[drawn]), expected)
        assert [c.name for c in split.keep(drawn).train] == [c.name for c, d in zip(split.train, drawn, strict=True) if d]
    assert np.array_equal(draw_labels(split, 30, 1), draw_labels(split, 30, 1)) and not np.array_equal(draw_labels(split, 30, 1), draw_labels(split, 30, 2))
    lone = split.keep((split.train_labels > 0) | (np.cumsum(split.train_labels == 0) == 1))
    few, all_others = draw_labels(lone, 30, 0), draw_labels(split.keep(split.train_labels > 0), 30, 0)
    assert few[lone.train_labels == 0].tolist() == [True] and np.array_equal(few[lone.train_labels > 0], all_others), "a lone clip keeps its label"
    for percent in (0, 100, -1, float("nan")):
        with pytest.raises(TrainingError, match="between 0 and 100"):
            draw_labels(split, percent, 0)


def test_short_training_clips_can_be_left_out(tmp_path: Path) -> None:
    def cut(clips: list[Clip]) -> None:
        clips[0] = clips[0].replace(keypoints=clips[0].keypoints[:, :1])

    split = standard_clips("nwucla", write_benchmarks(tmp_path, cut, files=["nw_ucla.npz"]))
    assert [c.name for c in split.of_at_least(2).train] == [c.name for c in split.train[1:]] and split.train[0].frames == 1


def test_unknown_names_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no benchmark 'ntu'\. Known: nwucla, utdmhad"):
        standard_clips("ntu", tmp_path)
    with pytest.raises(TrainingError, match=re.escape(str(tmp_path / "nw_ucla.npz")) + r".*--data.*corpus make` for NTU"):
        standard_clips("nwucla", tmp_path)


def test_a_file_that_is_not_the_benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file, without, message in (("uiprmd_kinect.npz", "is_correct", "no column 'is_correct'"), ("nw_ucla.npz", "split", "0 training and 0 test clips")):
        columns = {k: v for k, v in SPLITS[file].items() if k != without}
        monkeypatch.setitem(SPLITS, file, columns)
        write_benchmarks(tmp_path, files=[file])
        with pytest.raises(TrainingError, match=message):
            standard_clips({b.file: b for b in known_benchmarks()}[file], tmp_path)


@pytest.mark.parametrize(
    ("file", "rule", "seen"),
    [
        ("nw_ucla.npz", {}, f"{CLASSES * 3} of the {CLASSES * 3} test clips of nwucla"),
        ("utd_mhad.npz", {"subjects": [2, 4]}, f"{CLASSES * 2} of the {CLASSES * 5} test clips of utdmhad"),
        ("hdm05_subset.npz", {"subjects": [3]}, f"{CLASSES * 2} of the {CLASSES * 4} test clips of hdm05"),
        ("hdm05_subset.npz", {"subjects": [3, 4]}, ""),
        ("uiprmd_kinect.npz", {}, ""),
    ],
)
def test_pretraining_refuses_test_clips(tmp_path: Path, file: str, rule: dict[str, list[int]], seen: str) -> None:
    data = write_benchmarks(tmp_path, files=[file])
    options = DataOptions([file], max_step=100, held_out={file: rule} if rule else {})
    if not seen:
        assert len(list(training_windows(data, options))) == CLASSES * (PER_CLASS if not rule else PER_CLASS - 4)
        return
    with pytest.raises(TrainingError, match=re.escape(f"{file}: {seen} would enter pretraining") + r".*held_out"):
        list(training_windows(data, options))


def test_a_model_is_not_measured_on_what_it_was_trained_on(data: Path, tmp_path: Path) -> None:
    recipe = load_recipe("skeattnclr-openskel-free").to_dict()
    folder = tmp_path / "run/weights"
    make_encoder().save(folder)
    for held, seen in (([9], "2 of the 5"), ([8, 10], "3 of the 5"), ([9, 10], "")):
        recipe["data"]["held_out"] = {"uiprmd_kinect.npz": {"subjects": held}}
        write_json(folder.parent / "recipe.json", recipe)
        check_recipe(f"local:{folder}", "hdm05", data)
        is_refused(folder, "uiprmd", data, seen)


@pytest.mark.parametrize("change", ["time", "size"])
def test_a_file_that_has_changed_is_read_again(tmp_path: Path, change: str) -> None:
    """Though what was read of it is kept."""

    def spoil(clips: list[Clip]) -> None:
        clips[:] = [c.replace(keypoints=c.keypoints[:, :-1] if change == "size" else c.keypoints + 1) for c in clips]

    options, found = DataOptions(["hdm05_subset.npz"], held_out={"hdm05_subset.npz": {"subjects": [3, 4]}}), []
    for number, spoiled in enumerate((None, spoil)):
        file = write_benchmarks(tmp_path, spoiled, files=options.files) / options.files[0]
        os.utime(file, (1e9, 1e9 + number * (change == "time")))
        found.append({*seen_clips.test_joints("hdm05", tmp_path), *seen_clips.trained_joints(tmp_path, options)})
    assert len(found[0]) == CLASSES * PER_CLASS and not found[0] & found[1]


def is_refused(folder: Path, benchmark: str, data: Path, seen: str) -> None:
    """Measuring is refused, because so many test clips were trained on; "" for not refused."""
    if not seen:
        check_recipe(f"local:{folder}", benchmark, data)
        return
    with pytest.raises(TrainingError, match=f"its recipe trains on {seen} test clips of {benchmark}"):
        evaluate(f"local:{folder}", benchmark, data, device="cpu")


@pytest.mark.parametrize("link", [False, True])
def test_test_clips_in_a_file_of_another_name_are_seen(tmp_path: Path, link: bool) -> None:
    data, recipe = write_benchmarks(tmp_path), load_recipe("skeattnclr-openskel-free").to_dict()
    if link:
        (data / "mine.npz").symlink_to(data / "hdm05_subset.npz")
    else:
        shutil.copy(data / "hdm05_subset.npz", data / "mine.npz")
    folder = tmp_path / "run/weights"
    make_encoder().save(folder)
    for held, seen in (({}, CLASSES * 4), ({"mine.npz": {"subjects": [3]}}, CLASSES * 2), ({"mine.npz": {"subjects": [3, 4]}}, 0)):
        write_json(folder.parent / "recipe.json", {**recipe, "data": {"files": ["mine.npz", "elsewhere.npz"], "held_out": held}, "head": None})
        check_recipe(f"local:{folder}", "nwucla", data)
        is_refused(folder, "hdm05", data, f"{seen} of the {CLASSES * 4}" if seen else "")


def test_the_benchmark_of_the_page_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for person in range(1, 9):
        for label in ("walk", "wave"):
            (tmp_path / f"takes/person{person}").mkdir(parents=True, exist_ok=True)
            save_clips(tmp_path / f"takes/person{person}/{label}.npz", [make(label, frames=30, seed=person)])
    make_own_corpus("takes", "DATA/mine.npz", subject=r"person(\d)")
    (block,) = re.findall(r"^```python\n(.*?)^```", (DOCS / "evaluation.md").read_text(encoding="utf-8"), re.M | re.S)
    names: dict[str, Any] = {}
    exec(compile(block, "evaluation.md", "exec"), names)
    assert [(r.benchmark, r.protocol, r.train_clips, r.test_clips, r.classes) for r in names["rows"]] == [("mine", p, 12, 4, 2) for p in CHEAP]
    assert "persons 1 to 6 train" in names["rows"][0].description


def test_a_file_of_ones_own_is_measured_by_subjects_on_the_command_line(tmp_path: Path) -> None:
    for person in range(1, 5):
        for label in ("walk", "wave"):
            (tmp_path / f"takes/{label}").mkdir(parents=True, exist_ok=True)
            save_clips(tmp_path / f"takes/{label}/person{person}.npz", [make(label, frames=30, seed=person).replace(label=None, name="take")])
    file, table = tmp_path / "DATA/mine.npz", tmp_path / "table.csv"
    unlabelled = make_own_corpus(str(tmp_path / "takes"), file, subject=r"person(\d)")
    assert "labels: none 8" in str(unlabelled) and "--label-from folder" in str(unlabelled)
    knn = ["eval", "coordinates", "--on", str(file), "--protocol", "knn", "--out", str(table)]

    def said(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, [*knn, *options])
        return result.exit_code, result.output

    assert said("--test-subjects", "3,4")[0] == 1 and "--label-from folder" in said("--test-subjects", "3,4")[1]
    labelled = make_own_corpus(str(tmp_path / "takes"), file, subject=r"person(\d)", label_from="folder", overwrite=True)
    assert "--label-from" not in str(labelled)
    assert said("--test-subjects", "3,4")[0] == 0
    (row,) = read_rows(table)
    assert (row.benchmark, row.train_clips, row.test_clips) == ("mine.npz subjects 3,4", 4, 4)
    assert row.command == "skelzoo eval coordinates --on mine.npz --test-subjects 3,4 --protocol knn --data DATA"
    for subjects, code, message in (("3,9", 1, "subjects are 1, 2, 3, 4"), ("1,2,3,4", 1, "leave some to train"), ("a", 2, "are no numbers")):
        assert said("--test-subjects", subjects)[0] == code and message in said("--test-subjects", subjects)[1]
    assert said()[0] == 2
    with pytest.raises(TrainingError, match="has no validation parts"):
        validation_clips(by_subjects("mine.npz", [3, 4]), tmp_path / "DATA")
    assert len(list(training_windows(tmp_path / "DATA", DataOptions(["mine.npz"])))) == 8, "a file once measured still trains"


def test_two_benchmarks_of_one_file_are_both_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_benchmarks(tmp_path, files=["hdm05_subset.npz"])
    first = dataclasses.replace(find_benchmark("hdm05"), test=lambda c: c.subject == 0)
    monkeypatch.setattr("skelzoo.learn.held_out.known_benchmarks", lambda: [*known_benchmarks(), first])
    shutil.copy(data / "hdm05_subset.npz", data / "mine.npz")
    left = {w.name for w in training_windows(data, DataOptions(["mine.npz"], max_step=100))}
    assert left == {c.name for c, s in zip(benchmark_corpus("hdm05", data).clips, NUMBER % 5, strict=True) if s in (1, 2)}


def test_clips_without_a_label_measure_nothing(tmp_path: Path) -> None:
    data = write_benchmarks(tmp_path, files=["hdm05_subset.npz"])
    table = benchmark_corpus("hdm05", data)
    save_corpus(data / "hdm05_subset.npz", dataclasses.replace(table, label=np.where(np.arange(len(table)) == 3, -1, table.label).astype(np.int32)))
    with pytest.raises(TrainingError, match="hdm05_subset: 1 training or test clips have no label"):
        standard_clips("hdm05", data)


def test_copies_of_training_clips_are_found_by_their_joints(tmp_path: Path) -> None:
    def copy(clips: list[Clip]) -> None:
        clips[3], clips[14] = (clips[i].replace(keypoints=clips[0].keypoints) for i in (3, 14))

    split = standard_clips("hdm05", write_benchmarks(tmp_path, copy, files=["hdm05_subset.npz"]))
    assert [c.name for c, is_copy in zip(split.test, split.copies, strict=True) if is_copy] == ["c0_3", "c1_4"]


@pytest.mark.parametrize(
    ("changes", "read", "says"),
    [
        ({"test": lambda c: c.subject >= 2}, standard_clips, r"8 clip\(s\), the first 'c0_2', are of both the training and the test part"),
        ({"validation_test": lambda c: c.subject <= 1}, validation_clips, r"16 clip\(s\), the first 'c0_0', are of both the training and the test part"),
        ({"validation_test": lambda c: c.subject == 4}, validation_clips, r"8 clip\(s\), the first 'c0_4', are of both a validation and the test part"),
    ],
)
def test_no_clip_is_in_two_parts(tmp_path: Path, changes: dict[str, Any], read: Any, says: str) -> None:
    changed = dataclasses.replace(find_benchmark("hdm05"), **changes)
    with pytest.raises(TrainingError, match=f"hdm05_subset: {says}"):
        read(changed, write_benchmarks(tmp_path, files=["hdm05_subset.npz"]))


@pytest.mark.needs_shared
def test_the_recipes_that_ship_hold_out_every_test_clip(shared: Path) -> None:
    """Of all benchmarks that ship, also of those that docs/results has no table of, as pretraining refuses the clips of every one of them."""
    there = [b for b in known_benchmarks() if (shared / "data" / b.file).is_file()]
    for name in shipped_recipes():
        for benchmark in there:
            seen_clips.check_unseen(benchmark, shared / "data", name, load_recipe(name).data)
    assert "skeattnclr-openskel" in shipped_recipes() and {b.removesuffix("-2d") for b in BENCHMARKS} <= {b.name for b in there}


@pytest.mark.needs_shared
def test_every_filmed_test_clip_counts(shared: Path) -> None:
    """Also those of one frame, in which simulated cameras find few joints."""
    contract = manifest().find("skeattnclr-openskel-2d").config.contract
    split = standard_split("nwucla-2d", shared / "data", contract)
    assert (len(split.train), len(split.test)) == (1020, 464) and split.test.any(axis=(1, 2, 3, 4)).all()
