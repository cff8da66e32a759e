"""The command line: what it prints, writes and returns, and that it goes on past what it cannot use."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from tiny import make_clip, make_encoder, write_json

import skelzoo
from skelzoo.cli import main
from skelzoo.skeleton.clip import numbers
from skelzoo.skeleton.procedural import make
from skelzoo.weights import manifest as manifest_module


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two good files, three clips in all; paths are given relative to the test's folder."""
    folder = tmp_path / "clips"
    folder.mkdir()
    skelzoo.save_clips(folder / "a.npz", [make("walk"), make("kick")])
    skelzoo.save_clips(folder / "b.npz", [make("wave", frames=40)])
    return folder


@pytest.fixture
def bad_clips(clips: Path) -> Path:
    """The same with a file that cannot be read, a clip of one frame, one of three persons and one of a strange layout beside them."""
    (clips / "broken.bvh").write_text("HIERARCHY\nROOT Hips\n{\n")
    skelzoo.save_clips(clips / "short.npz", [make("squat"), make("squat", frames=1, seed=1)])
    skelzoo.save_clips(clips / "three.npz", [make_clip(persons=3)])
    joints = ["HipCenter", "a", "b"]
    np.savez(clips / "strange.npz", keypoints=np.ones((1, 5, 3, 3), np.float32), layout=np.array(joints))
    return clips


def run(*args: object) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def errors(result: Result) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("verb", ["embed", "classify", "store"])
def test_odd_clips_are_named_with_their_file(model: str, clips: Path, tmp_path: Path, verb: str) -> None:
    mirrored = [c.replace(keypoints=c.keypoints * [1, 1, -1]) for c in (make("walk"), make("kick"))]
    skelzoo.save_clips(clips / "c.npz", mirrored)
    target = {"embed": ["-o", tmp_path / "v.npz"], "classify": [], "store": ["--out", tmp_path / "store", "--shard-size", 2]}[verb]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        result = run("classify" if verb == "classify" else "embed", model, clips, *target)
    (line,) = [line for line in result.stderr.splitlines() if "arning" in line]
    assert result.exit_code == 0 and re.match(rf"warning: \S*c\.npz {mirrored[0].name}( and 1 more clip)?: the feet point backwards", line)


def test_an_earlier_result_among_the_recordings_is_passed_over(model: str, clips: Path) -> None:
    assert run("embed", model, clips, "-o", clips / "one.npz").exit_code == 0
    again = run("embed", model, clips, "-o", clips / "two.npz")
    assert again.exit_code == 0 and "3 vectors" in again.stdout and "note: 1 files are of no format that is read: 1 .npz of vectors" in again.stderr
    store = run("embed", model, clips, "--out", clips.parent / "store")
    assert store.exit_code == 0 and "3 vectors" in store.stdout


def test_windows(model: str, clips: Path, tmp_path: Path) -> None:
    for option, target in (("-o", "v.npz"), ("--out", "store")):
        assert run("embed", model, clips / "b.npz", option, tmp_path / target, "--window", 16, "--step", 12).exit_code == 0
    (clip,) = skelzoo.read(clips / "b.npz")
    cut = skelzoo.windows(clip, 16, 12)
    with np.load(tmp_path / "v.npz") as z:
        assert z["names"].tolist() == [f"{clip.name}[{s}:{s + 16}]" for s in (0, 12, 24)] == [c.name for c in cut]
        assert z["start"].tolist() == [0, 12, 24] and z["stop_s"].tolist() == [round(s / 30, 4) for s in (16, 28, 40)]
        np.testing.assert_allclose(z["embeddings"], skelzoo.load(model).embed(cut), atol=1e-5)
        np.testing.assert_allclose(z["embeddings"], np.load(tmp_path / "store/embeddings.npy"), atol=1e-5)
    classes = run("classify", model, clips / "b.npz", "--window", 20)
    assert classes.exit_code == 0 and [line.split("  ")[0] for line in classes.stdout.splitlines()[1:]] == [f"{clip.name}[0:20]", f"{clip.name}[20:40]"]
    for option, target in (("-o", "w.npz"), ("--out", "s")):
        refused = run("embed", model, clips, option, tmp_path / target, "--step", 9)
        assert refused.exit_code == 2 and "goes with --window" in refused.stderr
    (clip,) = skelzoo.read(clips / "b.npz")
    skelzoo.save_clips(tmp_path / "between.npz", [clip.replace(keypoints=clip.keypoints * (np.arange(clip.frames) == 20)[:, None, None])])
    for option, target in (("-o", "w.npz"), ("--out", "s")):
        lost = run("embed", model, clips / "b.npz", tmp_path / "between.npz", option, tmp_path / target, "--window", 8, "--step", 30)
        assert lost.exit_code == 1 and "nobody is there in any of its windows" in lost.stderr


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A manifest of two models, the second with weights."""
    config = make_encoder().config.to_dict()
    weights = {
        "source": "bundled", "license": "CC-BY-4.0", "license_reason": "because", "commercial_use": True, "parameters": 1234,
        "files": {"model.safetensors": {"size": 5, "sha256": "0" * 64}}, "trained_on": ["made-up motions"], "command": "skelzoo pretrain beta-y",
    }  # fmt: skip
    metric = {"dataset": "NW-UCLA", "protocol": "knn", "value": 61.5, "source": "skelzoo eval beta-y"}
    table = {
        "alpha-x": {"family": "A", "summary": "The first.", "config": config, "weights": None, "metrics": [], "notes": ["a note"]},
        "beta-y": {"family": "B", "summary": "The second.", "config": config, "weights": weights, "metrics": [metric], "notes": []},
    }
    path = write_json(tmp_path / "manifest.json", {"schema_version": 1, "label_sets": {}, "contracts": {}, "models": table, "aliases": {"beta": "beta-y"}})
    monkeypatch.setattr(manifest_module, "manifest_path", lambda: path)
    manifest_module.manifest.cache_clear()
    yield table
    manifest_module.manifest.cache_clear()


def test_light_verbs_import_no_torch(tmp_path: Path) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", [make("walk")])
    path = write_json(tmp_path / "weights_manifest.json", {"schema_version": 1, "label_sets": {}, "contracts": {}, "models": {}, "aliases": {}})
    code = (
        "import sys; from pathlib import Path; import skelzoo.weights.manifest as m; from skelzoo.cli import main\n"
        f"m.manifest_path = lambda: Path({str(path)!r})\n"
        f"for verb in (['--help'], ['list'], ['embed', '--help'], ['read', {str(tmp_path / 'a.npz')!r}]):\n"
        "    assert main(verb, standalone_mode=False) in (None, 0), verb\n"
        "    assert not {'torch', 'sklearn', 'matplotlib', 'scipy'} & set(sys.modules), (verb, sorted(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Skeleton sequences in" in done.stdout and "kinect20" in done.stdout


def test_help_and_version() -> None:
    text = run("--help").output
    assert all(verb in text for verb in ("list", "info", "read", "embed", "classify", "verify", "demo", "pretrain", "finetune", "eval"))
    assert run("--version").output.strip().endswith(skelzoo.__version__)
    assert run("embd").exit_code == 2
    assert run("embed").exit_code == 2


@pytest.mark.usefixtures("models")
def test_list() -> None:
    """Those with weights first, and what may be done with them beside the name."""
    lines = run("list").stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [["name", "weights", "licence"], ["beta-y", "bundled", "CC-BY-4.0"], ["alpha-x", "-", "-"]]
    assert "alpha-x" not in run("list", "b*").stdout
    (row,) = json.loads(run("list", "--pretrained", "--json").stdout)
    assert (row["name"], row["weights"], row["license"], row["commercial_use"]) == ("beta-y", "bundled", "CC-BY-4.0", True)
    nothing = run("list", "zzz*")
    assert (nothing.exit_code, nothing.stdout) == (0, "") and "no model fits" in nothing.stderr


def test_info(models: dict[str, Any]) -> None:
    text = run("info", "beta").stdout
    assert all(word in text for word in ("beta-y", "CC-BY-4.0", "61.5", "3: sit; stand; wave", "1,234 parameters", "skelzoo pretrain beta-y"))
    assert "none published" in run("info", "alpha-x").stdout
    assert json.loads(run("info", "beta", "--json").stdout)["config"] == models["beta-y"]["config"]
    unknown = run("info", "beta-z")
    assert unknown.exit_code == 1 and unknown.stdout == ""
    assert unknown.stderr.startswith("error: no model 'beta-z'. Did you mean beta-y") and unknown.stderr.count("\n") == 1


def test_layouts() -> None:
    rows = [line.split("  ")[0] for line in run("layouts").stdout.splitlines()]
    assert rows == ["name", *skelzoo.list_layouts()] and "Kinect" in run("layouts").stdout
    assert [line.split() for line in run("layouts", "kinect20").stdout.splitlines()][:3] == [
        ["number", "joint", "parent"], ["0", "HipCenter", "-"], ["1", "Spine", "HipCenter"]
    ]  # fmt: skip
    assert "kinect20" in errors(run("layouts", "kinect21"))[0]


def test_read(bad_clips: Path) -> None:
    result = run("read", bad_clips)
    assert result.exit_code == 1
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["name", "persons", "frames", "fps", "layout", "channels", "label", "measured"]
    assert ["walk-0", "1", "90", "30", "kinect20", "3", "walk", "100%", "of", "kinect20"] in rows
    assert any("broken.bvh" in line for line in errors(result)) and any("strange.npz" in line for line in errors(result))


def test_read_measures_2d_files_by_the_layout_of_2d_models(tmp_path: Path) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", skelzoo.Clip(np.full((3, 18, 2), 9.0), "openpose18"))
    assert run("read", tmp_path / "a.npz").stdout.rstrip().endswith("100% of coco17")
    assert "share of the joints" in run("read", "--help").stdout


def test_read_goes_on_past_missing_paths(clips: Path) -> None:
    result = run("read", clips / "none.npz", clips / "*.bvh", clips / "b.npz")
    assert result.exit_code == 1 and "wave-0" in result.stdout
    assert len(errors(result)) == 3
    assert run("read", clips / "none.npz").stdout == ""


def test_read_goes_on_past_what_memory_does_not_hold(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(values: Any, *given: Any) -> Any:
        if np.shape(values)[1] > 80:
            raise MemoryError
        return numbers(values, *given)

    monkeypatch.setattr("skelzoo.skeleton.clip.numbers", small)
    result = run("read", clips)
    assert result.exit_code == 1 and "wave-0" in result.stdout
    assert f"{clips / 'a.npz'}: unpacks to more than memory holds" in errors(result)[0] and len(errors(result)) == 2


@pytest.mark.needs_shared
def test_read_real_files(shared: Path) -> None:
    raw = shared / "data" / "raw"
    result = run("read", raw / "bandai_bvh", raw / "broken" / "truncated.bvh", raw / "cmu_asf" / "*.amc", raw / "nw_ucla" / "a04_s01_e00_v03.json")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1 + 4 + 1 + 1
    assert "walk around" in result.stdout and "cmu29" in result.stdout and "bandai" in result.stdout
    assert "notes" in result.stdout.splitlines()[0] and "from CMU units, bones of 02.asf" in result.stdout
    assert "truncated.bvh" in errors(result)[0] and len(errors(result)) == 2


def test_embed_npz(model: str, clips: Path, tmp_path: Path) -> None:
    result = run("embed", model, clips, clips / "a.npz", "-o", tmp_path / "v.npz", "--batch-size", 2, "--device", "cpu")
    assert result.exit_code == 0 and result.stderr == ""
    encoder = skelzoo.load(model, device="cpu")
    with np.load(tmp_path / "v.npz") as z:
        assert z["names"].tolist() == ["walk-0", "kick-0", "wave-0"]
        assert z["labels"].tolist() == ["walk", "kick", "wave"]
        assert z["files"].tolist() == [str(clips / "a.npz")] * 2 + [str(clips / "b.npz")]
        assert np.allclose(z["embeddings"], encoder.embed([make("walk"), make("kick"), make("wave", frames=40)]), atol=1e-5)
        assert str(z["model"]) == model


def test_embed_goes_on(model: str, bad_clips: Path, tmp_path: Path) -> None:
    result = run("embed", model, bad_clips / "*.npz", bad_clips / "broken.bvh", "-o", tmp_path / "v.npy")
    assert result.exit_code == 1
    named = errors(result)
    for what in ("broken.bvh", "short.npz: squat-1: 1 frame", "three.npz: clip0: 3 persons", "strange.npz", "4 file(s) or clip(s) left out, 4 clip(s) done"):
        assert any(what in line for line in named), (what, named)
    assert len(named) == 5
    assert np.load(tmp_path / "v.npy").shape == (4, 16)
    with (tmp_path / "v.ids.csv").open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["walk-0", "kick-0", "wave-0", "squat-0"]


def test_select_persons(model: str, bad_clips: Path, tmp_path: Path) -> None:
    assert run("embed", model, bad_clips / "three.npz", "-o", tmp_path / "v.npz", "--select-persons").exit_code == 0


def test_nothing_usable_writes_nothing(model: str, bad_clips: Path, tmp_path: Path) -> None:
    before = sorted(os.listdir(tmp_path))
    for verb, name in (("embed", "v.npz"), ("embed", "v.npy"), ("classify", "c.csv")):
        result = run(verb, model, bad_clips / "broken.bvh", bad_clips / "nothing", "-o", tmp_path / "new" / name)
        assert result.exit_code == 1 and result.stdout == "" and len(errors(result)) == 3 and "; nothing was written." in errors(result)[2]
    assert [errors(run(*verb, bad_clips / "broken.bvh"))[-1] for verb in (("read",), ("classify", model))] == ["error: no clip could be used."] * 2
    assert sorted(os.listdir(tmp_path)) == before


def test_output_is_checked_before_any_work(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    for verb, output, problem in (("embed", "v.txt", ".npz or .npy"), ("embed", "folder.npz", "is a folder"), ("classify", "c.npz", ".csv or .jsonl")):
        result = run(verb, "local:nowhere", clips, "-o", tmp_path / output)
        assert result.exit_code == 1 and problem in result.stderr and len(result.stderr.splitlines()) == 1


def test_errors_of_the_model_and_device(model: str, clips: Path, tmp_path: Path) -> None:
    for args, problem in (
        (["local:nowhere", clips], "there is no folder"),
        ([model, clips, "--device", "cuda:77"], "cuda:77"),
        ([model, clips, "--dtype", "int3"], "int3"),
    ):
        result = run("embed", *args, "-o", tmp_path / "v.npz")
        assert result.exit_code == 1 and len(errors(result)) == 1 and problem in result.stderr
    for option in (["--batch-size", "0"], ["--batch-size", "x"], ["--sideways"]):
        assert run("embed", model, clips, "-o", tmp_path / "v.npz", *option).exit_code == 2
    assert run("classify", model, clips, "--top-k", "0").exit_code == 2
    assert sorted(os.listdir(tmp_path)) == ["clips"]


def test_classify(model: str, clips: Path, tmp_path: Path) -> None:
    screen = run("classify", model, clips, "--top-k", 2)
    assert screen.exit_code == 0
    assert [line.split()[0] for line in screen.stdout.splitlines()] == ["clip", "walk-0", "kick-0", "wave-0"]
    expected = skelzoo.load(model, device="cpu").classify([make("walk")], top_k=3)
    assert run("classify", model, clips, "--top-k", 99, "-o", tmp_path / "c.csv").exit_code == 0
    with (tmp_path / "c.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert [row[f"class_{k}"] for k in (1, 2, 3)] == expected.labels[0].tolist()
    assert [float(row[f"score_{k}"]) for k in (1, 2, 3)] == pytest.approx(expected.scores[0].tolist(), abs=1e-5)
    assert run("classify", model, clips, "-o", tmp_path / "c.jsonl").exit_code == 0
    assert len((tmp_path / "c.jsonl").read_text().splitlines()) == 3


def test_classify_without_a_head_reads_no_file(tmp_path: Path) -> None:
    folder = make_encoder(labels=None).save(tmp_path / "headless")
    result = run("classify", f"local:{folder}", tmp_path / "not-there")
    assert result.exit_code == 1 and "no classification head" in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.mark.needs_shared
def test_classify_real_files(model: str, shared: Path) -> None:
    raw = shared / "data" / "raw"
    result = run("classify", model, raw / "nw_ucla", raw / "uiprmd", "--top-k", 1)
    assert result.exit_code == 1 and len(errors(result)) == 2
    assert "a02_s09_e04_v02.json: a02_s09_e04_v02: 1 frame(s)" in errors(result)[0]
    assert len(result.stdout.splitlines()) == 1 + 5 + 4


def test_verify(model: str, tmp_path: Path) -> None:
    good = run("verify", model)
    assert good.exit_code == 0 and good.stdout.startswith("ok ")
    folder = make_encoder().save(tmp_path / "damaged")
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    bad = run("verify", f"local:{folder}")
    assert bad.exit_code == 1 and bad.stdout == "" and "model.safetensors" in bad.stderr
    assert run("verify").exit_code == 2 and run("verify", model, "--all").exit_code == 2


@pytest.mark.usefixtures("models")
def test_verify_all_names_what_fails() -> None:
    result = run("verify", "--all")
    assert result.exit_code == 1 and "FAILED beta-y" in result.stderr and "1 of 1 model(s) failed" in result.stderr


def test_demo(model: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = run("demo", "--model", model, "--picture", tmp_path / "d.png", "--device", "cpu")
    assert result.exit_code == 0 and (tmp_path / "d.png").is_file()
    assert all(word in result.stdout for word in ("walk", "squat", "wave", "kick", "d.png"))


def test_pretrain_passes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = []

    def pretrain(recipe: str, data: str, out: str, device: str, stop_after: int | None, devices: int, nodes: int, compile: bool) -> Path:
        calls.append((recipe, data, out, device, stop_after, devices, nodes, compile))
        return Path(out) if stop_after else Path(out) / "weights"

    monkeypatch.setattr("skelzoo.learn.pretrain.loop.pretrain", pretrain)
    base = ["pretrain", "some-recipe", "--data", tmp_path, "--out", tmp_path / "run"]
    assert "the same command goes on" in run(*base, "--stop-after", 3, "--device", "cpu", "--devices", 2, "--nodes", 4, "--compile").stdout
    assert f"local:{tmp_path / 'run' / 'weights'}" in run(*base).stdout
    given = ("some-recipe", str(tmp_path), str(tmp_path / "run"))
    assert calls == [(*given, "cpu", 3, 2, 4, True), (*given, "auto", None, 1, 1, False)]
    assert all(run(*base, option, 0).exit_code == 2 for option in ("--stop-after", "--devices", "--nodes"))


def test_pretrain_unknown_recipe(tmp_path: Path) -> None:
    result = run("pretrain", "no-such-recipe", "--data", tmp_path, "--out", tmp_path / "run")
    assert result.exit_code == 1 and len(errors(result)) == 1 and "skeattnclr-openskel" in result.stderr
    assert not (tmp_path / "run").exists()


def test_eval_passes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from skelzoo.learn import evaluate as module

    row = module.Row("m", "nwucla", "knn", "all test clips", 61.25, 2.0, (0, 1), 10, 5, 3, "described", "skelzoo eval m", "0123", "cpu")
    calls: list[object] = []
    monkeypatch.setattr(module, "evaluate", lambda *given, done, **more: calls.append((given, more)) or done([row]))
    monkeypatch.setattr(module, "evaluate_all", lambda *given: calls.append(given) or iter([row, row]))
    base, data, table = ["eval", "--data", tmp_path], str(tmp_path), tmp_path / "table.csv"
    line = run(*base, "m", "--on", "nwucla", "--out", table).stdout
    assert "61.2 %, standard deviation 2.0 over 2 seeds" in line and "described" in line and module.read_rows(table) == [row]
    options = ["--protocol", "knn", "--protocol", "linear", "--labels", "10", "--random-weights", "--select-persons", "--device", "cpu", "--json"]
    assert json.loads(run(*base, "m", "--on", "nwucla", *options).stdout) == [{**dataclasses.asdict(row), "seeds": [0, 1]}]
    assert run(*base, "--all", "--out", tmp_path, "--protocol", "finetune").stdout == 2 * line
    assert calls == [
        (("m", "nwucla", data, ()), {"labels": None, "select_persons": False, "random_weights": False, "device": "auto"}),
        (("m", "nwucla", data, ("knn", "linear")), {"labels": 10.0, "select_persons": True, "random_weights": True, "device": "cpu"}),
        (data, data, ("finetune",), "auto"),
    ]


def test_eval_errors(model: str, tmp_path: Path) -> None:
    base = ["eval", "--data", tmp_path]
    assert "no benchmark" in errors(run(*base, model, "--on", "nope"))[0]
    assert "nw_ucla.npz" in errors(run(*base, model, "--on", "nwucla"))[0]
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert "not a table of results" in errors(run(*base, model, "--on", "nwucla", "--out", tmp_path / "other.csv"))[0]
    assert "ending in .csv" in errors(run(*base, model, "--on", "nwucla", "--out", tmp_path / "x.json"))[0]
    for wrong in ([model], ["--on", "nwucla"], ["--all"], ["--all", "--out", tmp_path, model], ["--all", "--out", tmp_path, "--labels", "5"]):
        assert run(*base, *wrong).exit_code == 2


def test_a_name_that_the_code_page_lacks_is_printed_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", [dataclasses.replace(make("walk"), name="歩く")])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "cp1252"))
    main(["read", str(tmp_path / "a.npz")], standalone_mode=False)
    assert b"\\u6b69\\u304f" in sys.stdout.buffer.getvalue()  # type: ignore[attr-defined]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_what_is_printed_does_not_fit_on_the_disk() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "skelzoo", "list", "--json"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr == "error: what is printed cannot be written: No space left on device. Free some space where it goes.\n"
