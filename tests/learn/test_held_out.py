"""Which clips rules hold out, and that none of them is trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import make_clip, rows_of, write_corpus

from skelzoo.errors import TrainingError
from skelzoo.learn.benchmarks import find_benchmark, joints_hash
from skelzoo.learn.held_out import DataOptions, held_out
from skelzoo.learn.pretrain.windows import training_windows
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.corpus import read_corpus


def found(folder: Path, **options: Any) -> set[bytes]:
    options = {"files": ["a.npz"], "max_step": 100.0, **options}
    return rows_of(list(training_windows(folder, DataOptions(**options))))


def test_held_out_subjects_are_never_trained_on(tmp_path: Path, clips: list[Clip]) -> None:
    table = read_corpus(write_corpus(tmp_path / "a.npz", clips, subject=np.arange(12, dtype=np.int32) % 4))
    out = [c for i, c in enumerate(table.clips) if i % 4 in (1, 3)]
    seen = found(tmp_path, held_out={"a.npz": {"subjects": [1, 3]}})
    assert seen == rows_of([c for c in table.clips if c not in out]) and not seen & rows_of(out) and len(seen) == 6
    assert found(tmp_path) == rows_of(list(table.clips))


def test_a_held_out_share_goes_by_name_and_not_by_place(tmp_path: Path) -> None:
    clips = [make_clip(i) for i in range(60)]
    (tmp_path / "turned").mkdir()
    table = read_corpus(write_corpus(tmp_path / "a.npz", clips))
    turned = read_corpus(write_corpus(tmp_path / "turned/a.npz", clips[::-1]))
    out = held_out(table, {"share": 0.3})
    assert 8 < out.sum() < 28 and np.array_equal(held_out(turned, {"share": 0.3})[::-1], out)
    assert (held_out(table, {"share": 0.5}) >= out).all()
    assert not held_out(table, None).any() and held_out(table, {"share": 1.0}).all()
    kept = rows_of([c for c, o in zip(table.clips, out, strict=True) if not o])
    assert found(tmp_path, held_out={"a.npz": {"share": 0.3}}) == kept


def test_a_clip_is_held_out_if_any_entry_of_the_rule_names_it(tmp_path: Path, clips: list[Clip], recwarn: pytest.WarningsRecorder) -> None:
    columns = {"subject": np.arange(12) % 4, "style": np.arange(12) // 3, "view": np.arange(12) % 3 + 1}
    table = read_corpus(write_corpus(tmp_path / "a.npz", clips, **columns))
    rule = {"subjects": [0], "style": [3, 9], "view": [2]}
    out = (columns["subject"] == 0) | (columns["style"] == 3) | (columns["view"] == 2)
    assert np.array_equal(held_out(table, rule), out) and 0 < out.sum() < 12
    assert np.array_equal(held_out(table, {**rule, "share": 0.4}), out | held_out(table, {"share": 0.4}))
    assert found(tmp_path, held_out={"a.npz": rule}) == rows_of([c for c, o in zip(table.clips, out, strict=True) if not o])
    (said,) = (str(w.message) for w in recwarn if "no clip has" in str(w.message))
    assert said == "a: no clip has these values, which held_out lists: style 9. Correct them, or take them out."


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"share": 1.5},
        {"share": -0.1},
        {"subjects": []},
        {"subjects": 1},
        {"share": 0.1, "style": []},
        {"name": ""},
        {"name": "("},
        {"name": ["C001"]},
        {"style": "1"},
    ],
)
def test_rules_that_hold_nothing_out_by_accident_are_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match=r"held_out of 'a\.npz'"):
        DataOptions(["a.npz"], held_out={"a.npz": rule})


def test_a_column_that_is_not_there_is_refused(tmp_path: Path, clips: list[Clip]) -> None:
    write_corpus(tmp_path / "a.npz", clips, style=np.zeros(12, np.int32), place=np.zeros((12, 2), np.int32))
    for key in ("subject", "place"):  # of which a clip has two numbers
        with pytest.raises(TrainingError, match=rf"no column '{key}' to hold clips out by. There are: share, name, subjects, split, view, style\.$"):
            found(tmp_path, held_out={"a.npz": {key: [1]}})


def test_the_joints_of_a_held_out_clip_do_not_come_in_under_another_name(tmp_path: Path, clips: list[Clip]) -> None:
    """Neither in the same file nor in another one, nor in part."""
    again = clips[1].replace(name="again")
    table = read_corpus(write_corpus(tmp_path / "a.npz", [*clips, again], subject=np.array([*range(12), 50])))
    write_corpus(tmp_path / "b.npz", [make_clip(99), again.replace(name="and again")])
    other = read_corpus(tmp_path / "b.npz").clips[0]
    seen = found(tmp_path, files=["a.npz", "b.npz"], held_out={"a.npz": {"subjects": [1]}})
    assert seen == rows_of([c for i, c in enumerate(table.clips[:12]) if i != 1] + [other])
    assert joints_hash(table.clips[1]) == joints_hash(table.clips[12]) != joints_hash(other)


def test_the_joints_of_a_benchmarks_test_clips_do_not_come_in(tmp_path: Path, clips: list[Clip]) -> None:
    table = read_corpus(write_corpus(tmp_path / "a.npz", clips))
    assert len(found(tmp_path)) == 12
    tests = {"view": np.array([1, 2, 3]), "split": np.array([0, 0, 1])}
    write_corpus(tmp_path / "nw_ucla.npz", [clips[4].replace(name="x"), make_clip(50), clips[7].replace(name="y")], **tests)
    assert found(tmp_path) == rows_of([c for i, c in enumerate(table.clips) if i != 7])
    with pytest.raises(TrainingError, match=r"nw_ucla\.npz: 1 .*would enter pretraining"):
        found(tmp_path, files=["a.npz", "nw_ucla.npz"])
    inside = found(tmp_path, files=["nw_ucla.npz"], held_out={"nw_ucla.npz": {"view": [3]}})
    assert inside == rows_of(list(read_corpus(tmp_path / "nw_ucla.npz").clips[:2]))


def test_holding_out_of_a_file_or_of_subjects_that_are_not_there(tmp_path: Path, clips: list[Clip]) -> None:
    with pytest.raises(TrainingError, match=r"held_out of 'b\.npz'"):
        DataOptions(["a.npz"], held_out={"b.npz": {"share": 0.1}})
    write_corpus(tmp_path / "a.npz", clips, subject=np.arange(12, dtype=np.int32))
    with pytest.raises(TrainingError, match=r"no clip is of subjects \[99\]"):
        found(tmp_path, held_out={"a.npz": {"subjects": [99]}})
    with pytest.raises(TrainingError, match=rf"no clip is of name C001P, .* The first name: '{clips[0].name}'"):
        found(tmp_path, held_out={"a.npz": {"name": "C001P"}})


@pytest.mark.parametrize(("file", "benchmark", "name"), [("ntu60.npz", "ntu60-xview", "C001P"), ("ntu120.npz", "ntu120-xset", r"^S\d\d[13579]")])
def test_names_hold_out_the_test_clips_of_ntu_as_the_page_says(tmp_path: Path, file: str, benchmark: str, name: str) -> None:
    names = [f"S{s:03}C{c:03}P{p:03}R001A{a:03}" for s in (1, 2, 10, 11) for c in (1, 2, 3) for p in (1, 3) for a in (1, 2)]
    table = read_corpus(write_corpus(tmp_path / file, [make_clip(i).replace(name=n) for i, n in enumerate(names)]))
    out = held_out(table, {"name": name})
    assert np.array_equal(out, find_benchmark(benchmark).test(table)) and 0 < out.sum() < len(names)
    assert f'"name": {json.dumps(name)}' in (Path(__file__).parents[2] / "docs/evaluation.md").read_text(encoding="utf-8")
    assert found(tmp_path, files=[file], held_out={file: {"name": name}}) == rows_of([c for c, o in zip(table.clips, out, strict=True) if not o])
