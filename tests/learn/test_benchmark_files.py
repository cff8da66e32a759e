"""Benchmarks as JSON files, and those of NTU RGB+D that ship."""

from __future__ import annotations

import functools
import itertools
import json
import re
import shlex
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from benchmark_files import CLASSES, NUMBER, SUBJECT, VIEW, write_benchmarks
from click.testing import CliRunner
from tiny import make_clip, make_encoder, write_corpus, write_json

from skelzoo import save_clips
from skelzoo.cli import main
from skelzoo.errors import ClipError, TrainingError
from skelzoo.learn.benchmarks import benchmark_file, filmed, find_benchmark, standard_clips, validation_clips
from skelzoo.learn.evaluate import evaluate
from skelzoo.learn.own_corpus import make_own_corpus
from skelzoo.learn.recipe import load_recipe
from skelzoo.learn.results import read_rows
from skelzoo.learn.seen import check_card, seen_tests
from skelzoo.skeleton.io.corpus import read_corpus

TRAIN_60 = "1 2 4 5 8 9 13 14 15 16 17 18 19 25 27 28 31 34 35 38"
TRAIN_120 = f"{TRAIN_60} 45 46 47 49 50 52 53 54 55 56 57 58 59 70 74 78 80 81 82 83 84 85 86 89 91 92 93 94 95 97 98 100 103"
MINE = {"file": "nw_ucla.npz", "title": "mine", "train": {"view": [1]}, "test": {"view": [2]}}


def test_the_training_subjects_of_ntu_are_those_of_the_papers(tmp_path: Path) -> None:
    for name, trained, subjects, actions in (("ntu60-xsub", TRAIN_60, 40, 60), ("ntu120-xsub", TRAIN_120, 106, 120)):
        names = [f"S001C001P{p:03}R001A{a:03}" for p in range(1, subjects + 1) for a in (1, actions)]
        train, test = parts(name, names, tmp_path)
        assert {int(n[9:12]) for n in train} == set(map(int, trained.split())) and len(train) == 2 * len(trained.split()) == 2 * (subjects // 2)
        assert sorted(train + test) == sorted(names)


@pytest.mark.parametrize(("name", "train", "at"), [("ntu60-xview", {2, 3}, 4), ("ntu120-xset", set(range(2, 33, 2)), 0)])
def test_cameras_and_setups_of_ntu(tmp_path: Path, name: str, train: set[int], at: int) -> None:
    names = [f"S{s:03}C{c:03}P003R002A060" for s, c in itertools.product(range(1, 33), (1, 2, 3))]
    found = parts(name, names, tmp_path)
    assert {int(n[at + 1 : at + 4]) for n in found[0]} == train and sorted([*found[0], *found[1]]) == sorted(names)


def test_ntu60_takes_no_action_above_60(tmp_path: Path) -> None:
    train, test = parts("ntu60-xsub", [f"S001C001P{p:03}R001A{a:03}" for p in (1, 3) for a in (60, 61, 120)], tmp_path)
    assert (train, test) == (["S001C001P001R001A060"], ["S001C001P003R001A060"])


def parts(name: str, names: list[str], folder: Path) -> tuple[list[str], list[str]]:
    """The names of clips that train and test."""
    write_corpus(folder / find_benchmark(name).file, [make_clip(0, frames=2).replace(name=n) for n in names])
    corpus, b = read_corpus(benchmark_file(name, folder)), find_benchmark(name)
    return tuple([n for n, taken in zip(names, part(corpus), strict=True) if taken] for part in (b.train, b.test))  # type: ignore[return-value]


def write_recording(path: Path, seed: int) -> None:
    """NTU's text of one body."""
    (clip,) = make_clip(seed, 12, layout="ntu25").keypoints
    lines = [str(len(clip))]
    for frame in clip:
        lines += ["1", "72057594037931101 0 1 1 1 1 0 0.1 0.2 2", "25", *(" ".join(map(str, [*xyz, *[0] * 8, 2])) for xyz in frame)]
    path.write_text("\n".join(lines) + "\n")


def test_from_recordings_of_ntu_to_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("NTU").mkdir()
    for action, person, camera in itertools.product((1, 2), (1, 3, 31, 40), (1, 2, 3)):
        write_recording(Path(f"NTU/S001C{camera:03}P{person:03}R001A{action:03}.skeleton"), seed=action)
    done = CliRunner().invoke(main, ["corpus", "make", "NTU", "--to", "DATA/ntu60.npz", "--subject", r"P(\d{3})"])
    assert done.exit_code == 0, done.output
    for benchmark, train, test in (("ntu60-xsub", 12, 12), ("ntu60-xview", 16, 8)):
        (row,) = evaluate("statistics", benchmark, "DATA", ["knn"])
        assert (row.train_clips, row.test_clips, row.classes, row.value) == (train, test, 2, 100)
        assert validation_clips(benchmark, "DATA").test
    assert again(row.command, tmp_path) == row


def again(command: str, folder: Path) -> Any:
    """The row that its command gives."""
    words = [*shlex.split(command)[1:], "--out", str(folder / "again.csv")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    (row,) = read_rows(folder / "again.csv")
    return row


def test_of_two_persons_a_model_of_one_reads_those_who_move_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"S001C001P{p:03}R001A{a:03}" for p in (1, 2, 3, 6) for a in (1, 2)]
    still = [make_clip(i, persons=2, layout="ntu25") for i in range(len(names))]
    for clip in still:  # the first stands still
        clip.keypoints[0] = clip.keypoints[0, :1]
    save_clips("pairs.npz", [c.replace(name=n, label=n[-1]) for c, n in zip(still, names, strict=True)])
    make_own_corpus("pairs.npz", "DATA/ntu60.npz", persons=2)
    with pytest.raises(ClipError, match="--select-persons"):
        evaluate("skeattnclr-openskel", "ntu60-xsub", "DATA", ["knn"], device="cpu")
    selected, both = (evaluate(m, "ntu60-xsub", "DATA", ["knn"], select_persons=True, device="cpu")[0] for m in ("skeattnclr-openskel", "statistics"))
    assert (selected.variant, both.variant) == ("all test clips, persons who move most", "all test clips") and "--select-persons" not in both.command
    assert again(selected.command, tmp_path) == selected
    split = standard_clips("ntu60-xsub", "DATA")
    for clip, alone in zip(split.test, split.with_persons(1).test, strict=True):
        assert np.array_equal(alone.keypoints, clip.keypoints[1:])


@pytest.mark.parametrize(
    ("change", "train", "test"),
    [
        ({}, VIEW == 1, VIEW == 2),
        ({"test": {"view": [2, 3], "subjects": [2, 3, 5]}}, VIEW == 1, np.isin(SUBJECT, [2, 3, 5])),
        ({"train": {"name": "_[0-4]$"}, "test": {"name": "_9$"}}, NUMBER < 5, NUMBER == 9),
        ({"names": r"(?P<kind>c\d)_(?P<take>[0-8])?$", "train": {"take": [0, 1]}, "test": {"take": [4], "kind": ["c0", "c1"]}}, NUMBER < 2, NUMBER == 4),
        ({"names": r"(?P<kind>c\d)_(?P<take>\d+)", "train": {"take": [0, 1]}, "test": {"take": [4], "kind": ["c0", "c1"]}}, NUMBER < 2, NUMBER == 4),
    ],
)
def test_a_file_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], train: Any, test: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write_benchmarks(tmp_path / "DATA", files=["nw_ucla.npz"])
    write_json(Path("mine.json"), {**MINE, **change})
    split, stored = standard_clips("mine.json", "DATA"), read_corpus("DATA/nw_ucla.npz").clips
    kinds = np.array(["kind" not in change.get("test", {}) or c.name[1] in "01" for c in stored])
    for found, wanted in ((split.train, train), (split.test, test & kinds)):
        assert [c.name for c in found] == [c.name for c, taken in zip(stored, wanted, strict=True) if taken] and found
    (row,) = evaluate("statistics", "mine.json", "DATA", ["knn"])
    assert row.benchmark == "mine.json" and row.description.startswith("mine;") and again(row.command, tmp_path) == row


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([], "has list. A benchmark has file, title, train, test"),
        ({k: v for k, v in MINE.items() if k != "test"}, "has file, title, train. A benchmark has file, title, train, test"),
        ({**MINE, "valid": {}}, "may have names, dimension, evaluation_only, validation_train, validation_test"),
        ({**MINE, "file": "a/b.npz"}, "without a folder"),
        ({**MINE, "test": {}}, "test is {}. Give"),
        ({**MINE, "test": {"view": 3}}, "test is {'view': 3}. Give"),
        ({**MINE, "test": {"name": "("}}, "test is {'name': '('}. Give"),
        ({**MINE, "test": {"name": "a{4294967296}"}}, "test is {'name': 'a{4294967296}'}. Give"),
        ({**MINE, "names": f"(?P<view>a{{{'9' * 5000}}})"}, "Give a regular expression with named groups"),
        (functools.reduce(lambda inner, _: [inner], range(50), MINE), "cannot be read as a benchmark (it is nested too deeply)"),
        ({**MINE, "names": r"v(\d)"}, "regular expression with named groups"),
        ({**MINE, "validation_test": {"view": [1]}}, "Give both or none"),
        ({**MINE, "test": {"setup": [1]}}, "no column 'setup', which {path} goes by. There are: name, subjects, split, view"),
        ({**MINE, "names": r"S(?P<setup>\d)"}, "no clip has a name such as {path} goes by; the first is 'c0_0'"),
        ({**MINE, "test": {"view": [7]}}, "0 test clips"),
        ({**MINE, "train": {"view": [1], "name": "c0"}}, "all training clips are of class 'class0'"),
        ({**MINE, "evaluation_only": 1}, "Give true or false"),
        ({"name": "mine", "data": {"files": []}}, "It looks like a recipe for `skelzoo pretrain`."),
    ],
)
def test_what_is_no_benchmark(tmp_path: Path, row: Any, message: str) -> None:
    path = write_json(tmp_path / "mine.json", row)
    write_benchmarks(tmp_path, files=["nw_ucla.npz"])
    with pytest.raises(TrainingError, match=re.escape(message.replace("{path}", str(path)))):
        standard_clips(str(path), tmp_path)
    with pytest.raises(TrainingError, match=r"absent\.json: cannot be read"):
        find_benchmark(str(tmp_path / "absent.json"))


def test_classes_that_only_test_are_named(tmp_path: Path) -> None:
    path = str(write_json(tmp_path / "mine.json", {**MINE, "train": {"view": [1], "name": "c[01]"}}))
    write_benchmarks(tmp_path, files=["nw_ucla.npz"])
    with pytest.warns(UserWarning, match=r"6 of the 12 test clips are of classes that never train, .*: 'class2', 'class3'\. Give"):
        standard_clips(path, tmp_path)


def test_what_a_file_leaves_out_is_named(tmp_path: Path) -> None:
    write_benchmarks(tmp_path, files=["nw_ucla.npz"])
    rule = {**MINE, "names": r"c\d_(?P<take>[0-8])$", "train": {"take": [0, 1, 2, "3"]}, "test": {"take": [4, 5, 6, 7, 8, 9], "view": [1, 2, 3, 4]}}
    with pytest.warns(UserWarning) as caught:
        standard_clips(str(write_json(tmp_path / "mine.json", rule)), tmp_path)
    values, clips = sorted((str(w.message) for w in caught), reverse=True)
    assert "lists for train: take '3' (a text; there it is a number); test: take 9, view 4. Correct" in values
    assert (
        f"{2 * CLASSES} of {10 * CLASSES} clips, the first 'c0_3', neither train nor test by " in clips
        and f"{CLASSES} of them as their names do not fit its 'names'" in clips
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        standard_clips(str(write_json(tmp_path / "whole.json", {**MINE, "train": {"view": [1, 3]}})), tmp_path)


def test_a_file_of_ones_own_is_filmed_for_2_d_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(Path("mine.json"), {**MINE, "file": "nw_ucla.npz", "train": {"split": [0]}, "test": {"split": [1]}})
    write_benchmarks(Path("DATA"), files=["nw_ucla.npz"])
    with pytest.raises(TrainingError, match=r"those of mine\.json are 3-D.*--film"):
        evaluate("skeattnclr-openskel-2d", "mine.json", "DATA", ["retrieval"], device="cpu")
    mine, twin = (evaluate("skeattnclr-openskel-2d", filmed(on), "DATA", ["retrieval"], device="cpu")[0] for on in ("mine.json", "nwucla"))
    assert (mine.benchmark, twin.benchmark) == ("mine.json filmed", "nwucla-2d") and mine.value == twin.value
    assert "--on mine.json --film" in mine.command and "--on nwucla-2d --protocol" in twin.command and again(mine.command, tmp_path) == mine
    with pytest.raises(TrainingError, match="nothing to film"):
        filmed("nwucla-2d")


def test_without_validation_parts_nothing_is_monitored(tmp_path: Path) -> None:
    path = str(write_json(tmp_path / "mine.json", MINE))
    write_benchmarks(tmp_path, files=["nw_ucla.npz"])
    with pytest.raises(TrainingError, match="has no validation parts"):
        validation_clips(path, tmp_path)


def test_what_trained_on_test_clips_of_a_file_is_not_measured_there(tmp_path: Path) -> None:
    path, folder = str(write_json(tmp_path / "mine.json", MINE)), tmp_path / "run/weights"
    data = write_benchmarks(tmp_path, files=["nw_ucla.npz"])
    make_encoder().save(folder)
    recipe = load_recipe("skeattnclr-openskel-free").to_dict()
    for views in ([3], [2, 3]):
        write_json(folder.parent / "recipe.json", {**recipe, "head": None, "data": {"files": ["nw_ucla.npz"], "held_out": {"nw_ucla.npz": {"view": views}}}})
        if 2 in views:
            assert evaluate(f"local:{folder}", path, data, ["knn"], device="cpu")
            continue
        with pytest.raises(TrainingError, match=f"trains on {CLASSES * 3} of the {CLASSES * 3} test clips of .*mine.json"):
            evaluate(f"local:{folder}", path, data, ["knn"], device="cpu")


def test_the_file_of_the_page_is_one(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs/evaluation.md"
    (block,) = re.findall(r"^```json\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    names = [f"person{p}/{label}" for p in range(1, 9) for label in ("walk", "wave")]
    path = str(write_json(tmp_path / "mine.json", json.loads(block)))
    write_corpus(tmp_path / "mine.npz", [make_clip(i).replace(name=n) for i, n in enumerate(names)], [0, 1] * 8, subject=np.int32([int(n[6]) for n in names]))
    split, validation = standard_clips(path, tmp_path), validation_clips(path, tmp_path)
    assert [len(part) for part in (split.train, split.test, validation.train, validation.test)] == [12, 4, 8, 4]


def test_fine_tuning_on_test_clips_of_ntu_stands_on_the_card(tmp_path: Path) -> None:
    names = [f"S001C{c:03}P{p:03}R001A001" for p in (1, 3) for c in (1, 2)]
    write_corpus(tmp_path / "ntu60.npz", [make_clip(i).replace(name=n) for i, n in enumerate(names)])
    clips = read_corpus(tmp_path / "ntu60.npz").clips
    used = [SimpleNamespace(clip=clips[names.index("S001C002P003R001A001")], file=str(tmp_path / "ntu60.npz"))]
    (sentence,) = seen_tests(used)
    assert "1 of the 2 different test clips of ntu60-xsub" in sentence
    check_card("mine", sentence, "ntu60-xview")  # camera 2 trains there
    rest = write_json(tmp_path / "mine.json", {**MINE, "file": "ntu60.npz"})
    for benchmark in ("ntu60-xsub", str(rest)):
        with pytest.raises(TrainingError, match=r"its card says: .* ntu60-xsub"):
            check_card("mine", sentence, benchmark)
    (tmp_path / "first").mkdir()
    (tmp_path / "first/ntu60.npz").write_bytes(b"PK\x03\x04 another file of that name")
    assert seen_tests([SimpleNamespace(clip=make_clip(9), file=str(tmp_path / "first/take.npz")), *used]) == (sentence,)
    write_corpus(tmp_path / "first/ntu60.npz", [make_clip(0).replace(name="S001C002P003R001A001")])
    (both,) = seen_tests([SimpleNamespace(clip=make_clip(9), file=str(tmp_path / "first/take.npz")), *used])
    assert "1 of the 3 different test clips of ntu60-xsub" in both
