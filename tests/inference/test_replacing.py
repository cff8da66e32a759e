"""A result replaces an earlier one of its kind, and no other file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tiny import make_clip

import skelzoo
from skelzoo.cli import main
from skelzoo.learn.results import read_rows


def run(*args: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(a) for a in args])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stderr


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two archives of a clip, one of them also as a bare array and as a table of joints, and tables of other things."""
    folder = tmp_path / "clips"
    for name, seed in (("a", 1), ("b", 2)):
        skelzoo.save_clips(folder / f"{name}.npz", make_clip(seed))
    np.save(folder / "c.npy", make_clip(3).keypoints[0])
    joints = make_clip(4)
    rows = [[f"{joint}_{axis}" for joint in joints.layout.joints for axis in "xyz"], *([f"{v:.4f}" for v in frame.ravel()] for frame in joints.keypoints[0])]
    (folder / "d.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    (folder / "labels.csv").write_text("file,label\na.npz,walk\n")
    (folder / "notes.jsonl").write_text('{"name": "a"}\n')
    (folder / "e.ids.csv").write_text("row,subject\n")
    (folder / "net.onnx").write_bytes(b"of another program")
    (folder / "other.pt2.json").write_text("{}")
    return folder


@pytest.mark.parametrize("name", ["a.npz", "c.npy", "d.csv", "labels.csv", "notes.jsonl", "e.npy", "net.onnx", "other.pt2"])
@pytest.mark.parametrize("named", [True, False])
def test_no_other_file_is_replaced(model: str, clips: Path, name: str, named: bool) -> None:
    before = {p: p.read_bytes() for p in clips.iterdir()}
    verb = "export" if name[-4:] in ("onnx", ".pt2") else "classify" if "csv" in name or "jsonl" in name else "embed"
    read = [clips, clips / "a.npz", clips / name] if named else [clips / "b.npz"]
    code, told = run(verb, model, *([] if verb == "export" else read), "--out" if verb == "export" else "-o", clips / name)
    assert code == 1 and "error: " in told and "Give the result another name" in told and told.count("\n") == 1, told
    assert ("is to be read, and is where the result goes" in told) == (named and verb != "export" and name != "e.npy")
    assert {p: p.read_bytes() for p in clips.iterdir()} == before


@pytest.mark.parametrize(("verb", "name"), [("embed", "v.npz"), ("embed", "v.npy"), ("classify", "v.csv"), ("classify", "v.jsonl")])
def test_earlier_results_and_empty_files_are_replaced(model: str, clips: Path, verb: str, name: str) -> None:
    out = clips / name
    out.touch()
    told = []
    for path in ("a.npz", "b.npz", "b.npz"):
        assert run(verb, model, clips / path, "-o", out)[0] == 0
        told.append(out.read_bytes())
    assert told[0] != told[1] == told[2]
    code, said = run(verb, model, clips / "a.npz", out, "-o", out)
    assert code == 1 and f"{name}: is to be read" in said and out.read_bytes() == told[2]


@pytest.mark.parametrize("how", ["labels", "earlier", "recording", "confusion"])
def test_a_report_replaces_only_a_report(model: str, clips: Path, how: str) -> None:
    name = {"labels": "labels.csv", "earlier": "report.csv", "recording": "d.csv", "confusion": "r.csv"}[how]
    (clips / "report.csv").write_text("name,file,group,label,fold,predicted,score walk\n")
    (clips / "r.confusion.csv").write_text("x,y\n")
    before = {p: p.read_bytes() for p in clips.iterdir()}
    table = ["--labels", clips / ("report.csv" if how == "earlier" else "labels.csv")]
    code, told = run("finetune", model, clips, "--out", clips.parent / "mine", "--folds", "2", *table, "--report", clips / name)
    assert code == 1 and "Give the result another name" in told and ("is to be read" in told) == (how in ("labels", "earlier"))
    assert {p: p.read_bytes() for p in clips.iterdir()} == before and not (clips.parent / "mine").exists()


def test_tables_of_measurements_replace_only_their_own(model: str, clips: Path) -> None:
    table = clips / "labels.csv"
    before = table.read_bytes()
    code, told = run("bench", "speed", model, "--out", table)
    assert code == 1 and "labels.csv: is there, and is no earlier result" in told
    table.write_bytes(before.splitlines(keepends=True)[0])
    with pytest.raises(skelzoo.errors.ReadError, match="not a table of results"):
        read_rows(table)
    (clips / "clips.csv").write_bytes(before)
    code, told = run("corpus", "build", "openskel", "--from", clips, "--to", clips)
    assert code == 1 and "clips.csv: is there, and is no earlier result" in told and (clips / "clips.csv").read_bytes() == before
