"""What enters pretraining and what is held out; recipes."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CONTRACT, make_clip, write_corpus

from skelzoo.errors import TrainingError
from skelzoo.learn.benchmarks import find_benchmark, joints_hash
from skelzoo.learn.pretrain import data as module
from skelzoo.learn.pretrain.batches import Batches
from skelzoo.learn.pretrain.data import DataOptions, held_out, pretraining_array, windows_of
from skelzoo.learn.pretrain.recipe import Recipe, load_recipe
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.corpus import read_corpus
from skelzoo.skeleton.prepare import prepare, prepare_doubtfully

OWN = CONTRACT.replace(persons=1)


@pytest.fixture
def clips() -> list[Clip]:
    return [make_clip(i, frames=20 + 3 * i) for i in range(12)]


def rows_of(clips: list[Clip]) -> set[bytes]:
    return {prepare(c, OWN).tobytes() for c in clips}


def array_of(folder: Path, **options: Any) -> np.ndarray:
    return pretraining_array(folder, DataOptions(**{"files": ["a.npz"], "max_step": 100.0, **options}), OWN, folder / "run")


def found(folder: Path, **options: Any) -> set[bytes]:
    array = array_of(folder, **options)
    assert array.dtype == np.float32 and array.shape[1:] == OWN.shape
    return {row.tobytes() for row in array}


def test_the_corpus_files_of_the_tests_are_read_back(tmp_path: Path, clips: list[Clip]) -> None:
    table = read_corpus(write_corpus(tmp_path / "a.npz", clips, subject=np.arange(12, dtype=np.int32)))
    for read, written in zip(table.clips, clips, strict=True):
        np.testing.assert_allclose(read.keypoints, written.keypoints, atol=6e-4)
        assert read.name == written.name and read.layout is written.layout


def test_held_out_subjects_are_never_in_the_array(tmp_path: Path, clips: list[Clip]) -> None:
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
    write_corpus(tmp_path / "a.npz", clips, style=np.zeros(12, np.int32))
    with pytest.raises(TrainingError, match=r"no column 'subject' to hold clips out by. There are: share, name, subjects, split, view, style"):
        found(tmp_path, held_out={"a.npz": {"subject": [1]}})


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


@pytest.mark.parametrize(("frames", "expected"), [(14, [(0, 14)]), (20, [(0, 10), (6, 16), (12, 20)]), (15, [(0, 10), (6, 15)]), (16, [(0, 10), (6, 16)])])
def test_windows(frames: int, expected: list[tuple[int, int]]) -> None:
    clip = make_clip(frames=frames)
    cut = windows_of(clip, DataOptions(["a.npz"], window=10, hop=6))
    assert len(cut) == len(expected)
    for window, (start, stop) in zip(cut, expected, strict=True):
        assert np.array_equal(window.keypoints, clip.keypoints[:, start:stop])
    assert cut[-1].name == ("clip0" if len(expected) == 1 else f"clip0@{expected[-1][0]}")


def test_windows_without_anybody_are_left_out() -> None:
    clip = make_clip(frames=40)
    clip.keypoints[:, 9:31] = 0
    assert [w.name for w in windows_of(clip, DataOptions(["a.npz"], window=10, hop=10))] == ["clip0@0", "clip0@30"]


def test_windows_short_clips_and_jumps(tmp_path: Path) -> None:
    long, short, jumping = make_clip(0, frames=40), make_clip(1, frames=5), make_clip(2, frames=20)
    jumping.keypoints[0, 10, 3] += 5
    table = read_corpus(write_corpus(tmp_path / "a.npz", [long, short, jumping]))
    options = DataOptions(["a.npz"], window=16, hop=8)
    expected = rows_of([w for w in windows_of(table.clips[0], options)])
    assert found(tmp_path, window=16, hop=8, shortest=6, max_step=4.0) == expected and len(expected) > 2
    assert found(tmp_path, window=16, hop=8, shortest=5, max_step=4.0) == expected | rows_of([table.clips[1]])
    assert len(found(tmp_path, window=16, hop=8, shortest=6, max_step=9.0)) == len(expected) + 1


def test_files_without_max_step_are_kept(tmp_path: Path, clips: list[Clip]) -> None:
    write_corpus(tmp_path / "a.npz", clips, max_step=np.full(12, np.nan, np.float32))
    assert len(found(tmp_path, max_step=1.0)) == 12


def test_missing_data(tmp_path: Path, clips: list[Clip]) -> None:
    with pytest.raises(TrainingError, match=r"no corpus file .*a\.npz.*--data"):
        found(tmp_path)
    write_corpus(tmp_path / "a.npz", clips)
    with pytest.raises(TrainingError, match="no training window is left"):
        found(tmp_path, shortest=1000)


def test_the_array_is_mapped_from_disk_in_the_order_of_the_files(tmp_path: Path, clips: list[Clip]) -> None:
    tables = [read_corpus(write_corpus(tmp_path / f"{n}.npz", part)) for n, part in (("a", clips[:7]), ("b", clips[7:]))]
    array = array_of(tmp_path, files=["b.npz", "a.npz"], window=16, hop=8, shortest=4)
    expected = np.stack([prepare(w, OWN) for t in tables[::-1] for c in t.clips for w in windows_of(c, DataOptions(["a.npz"], window=16, hop=8))])
    assert isinstance(array, np.memmap) and not array.flags.writeable and len(array) > 12
    assert array.tobytes() == expected.tobytes() and array.shape == expected.shape


def test_the_array_is_prepared_once_and_anew_when_anything_changes(tmp_path: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "a.npz", clips)
    files = {"first": array_of(tmp_path).filename}
    with monkeypatch.context() as patched:
        patched.setattr(module, "prepare_doubtfully", lambda *_: pytest.fail("prepared again"))
        assert array_of(tmp_path).filename == files["first"]
    files["options"] = array_of(tmp_path, shortest=30).filename
    files["contract"] = pretraining_array(tmp_path, DataOptions(["a.npz"], max_step=100.0), OWN.replace(min_frames=3), tmp_path / "run").filename
    with monkeypatch.context() as patched:
        patched.setattr(module, "__version__", "another")
        files["version"] = array_of(tmp_path).filename
    write_corpus(tmp_path / "nw_ucla.npz", clips[:1], split=[1])
    files["benchmark"] = array_of(tmp_path).filename
    write_corpus(tmp_path / "a.npz", clips[1:])
    array = array_of(tmp_path)
    assert len(array) == 11 and len({*files.values(), array.filename}) == 6
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == sorted(Path(f).name for f in {*files.values(), array.filename})


def test_a_preparation_that_fails_leaves_no_array(tmp_path: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "a.npz", clips)
    done = []

    def fail_at_the_fifth(*arguments: Any) -> Any:
        done.append(arguments)
        return prepare_doubtfully(*arguments) if len(done) < 5 else pytest.fail("killed")

    with monkeypatch.context() as patched, pytest.raises(pytest.fail.Exception, match="killed"):
        patched.setattr(module, "prepare_doubtfully", fail_at_the_fifth)
        array_of(tmp_path)
    assert list((tmp_path / "run").iterdir()) == [] and len(array_of(tmp_path)) == 12


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    long = make_clip(frames=400)
    files = [f"{i}.npz" for i in range(8)]
    for i, file in enumerate(files):
        write_corpus(tmp_path / file, [long.replace(keypoints=long.keypoints + i)])

    def peak(files: list[str]) -> tuple[int, int]:
        tracemalloc.start()
        array = array_of(tmp_path, files=files, window=16, hop=4)
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high, array.nbytes

    peak(files[:1])  # imports and caches
    (few, small), (many, size) = peak(files[:2]), peak(files)
    assert many - few < (size - small) / 8 and many < size / 2  # each file's names and numbers stay, its windows do not


def test_batches_are_the_rows_asked_for_in_that_order(tmp_path: Path, clips: list[Clip]) -> None:
    write_corpus(tmp_path / "a.npz", clips)
    array = array_of(tmp_path)
    batches = Batches(array, torch.device("cpu"))
    indices = torch.tensor([7, 2, 11, 2, 0])
    assert len(batches) == 12 and batches.device.type == "cpu"
    assert batches[indices].dtype == torch.float32 and torch.equal(batches[indices], torch.from_numpy(np.array(array))[indices])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_holds_a_copy_when_it_has_room(tmp_path: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "a.npz", clips)
    array, gpu, indices = array_of(tmp_path), torch.device("cuda", 0), torch.tensor([7, 2, 11])
    copied = Batches(array, gpu)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 * array.nbytes, 0))
    mapped = Batches(array, gpu)
    assert copied.device == gpu and mapped.device.type == "cpu"
    for batches in (copied, mapped):
        batch = batches[indices.to(batches.device)]
        assert batch.device == gpu and torch.equal(batch.cpu(), torch.from_numpy(np.array(array))[indices])


def test_the_shipped_recipe_is_a_recipe(tmp_path: Path) -> None:
    recipe = load_recipe("skeattnclr-openskel")
    (tmp_path / "mine.json").write_text(json.dumps(recipe.to_dict()))
    assert load_recipe(str(tmp_path / "mine.json")) == recipe and isinstance(recipe, Recipe)
    assert recipe.contract.shape[2] == 20 and set(recipe.data.held_out) <= set(recipe.data.files)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r.pop("contract"), "contract"),
        (lambda r: r.update(colour="red"), "the recipe has no entry colour; known: name, method"),
        (lambda r: r["contract"].update(frames=0), "frames is 0"),
        (lambda r: r["data"].update(colour="red"), "data has no entry colour; known: files, window"),
        (lambda r: r["data"]["held_out"].update({"other.npz": {"share": 0.1}}), "other.npz"),
        (lambda r: r["optimiser"].update(colour="red"), "optimiser has no entry colour; known: learning_rate, weight_decay, warmup, clip_norm, name, momentum"),
        (lambda r: r.update(data=[]), "not a recipe"),
        (lambda r: r.update(precision="float32"), "precision is 'float32', one of auto, 32-true"),
        (lambda r: r.update(batch_size=0), "batch_size is 0"),
        (lambda r: r.update(batch_size="32"), "batch_size is '32'"),
        (lambda r: r.update(seed=-1), "seed is -1"),
        (lambda r: r.update(checkpoint_every=0), "checkpoint_every is 0"),
        (lambda r: r.update(optimiser={"learning_rate": "x"}), "optimiser.learning_rate is 'x'"),
        (lambda r: r.update(optimiser={"weight_decay": -1}), "optimiser.weight_decay is -1"),
        (lambda r: r.update(optimiser={"warmup": 1.5}), "optimiser.warmup is 1.5. Give a number of at least 0 and at most 0.99"),
        (lambda r: r.update(optimiser={"clip_norm": 0}), "optimiser.clip_norm is 0. Give a number above 0"),
        (lambda r: r.update(name=5), "name is 5"),
        (lambda r: r["data"].update(max_step="1"), "data.max_step is '1'"),
        (lambda r: r["data"].update(max_step=0), "data.max_step is 0"),
        (lambda r: r["data"].update(files=["bandai_namco.npz"] * 2, held_out={}), "each once"),
        (lambda r: r["data"].update(files=["../other/nw_ucla.npz"], held_out={}), "names of files in the data folder"),
        (lambda r: r["data"].update(files=[3], held_out={}), "names of files in the data folder"),
        (lambda r: r["data"].update(files=[], held_out={}), "data.files is []"),
        (lambda r: r.update(head={"labels": ["bandai_namco.npz"]}), "head.labels is ['bandai_namco.npz']"),
        (lambda r: r.update(head={"labels": {"bandai_namco.npz": 3}}), "Give a table corpus file"),
        (lambda r: r.update(head={"labels": {"nofile.npz": "*"}}), "labels for nofile.npz, and none of these is among data.files"),
        (lambda r: r.update(method_options=[]), "method_options is a table"),
        (lambda r: r.update(monitor="nwucal"), "no benchmark 'nwucal'"),
        (lambda r: r["data"].update(hop=0), "data.hop is 0"),
        (lambda r: (r.clear(), r.update(file="mine.npz", test={"view": [1]})), "has no 'data'; it looks like a benchmark for `skelzoo eval --on`"),
    ],
)
def test_recipes_that_are_none(tmp_path: Path, change: Any, says: str) -> None:
    row = load_recipe("skeattnclr-openskel").to_dict()
    row = json.loads(json.dumps(row))
    change(row)
    (tmp_path / "mine.json").write_text(json.dumps(row))
    with pytest.raises(TrainingError) as caught:
        load_recipe(str(tmp_path / "mine.json"))
    assert says in str(caught.value) and "mine.json: not a recipe" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "3", "{"])
def test_files_that_are_no_recipe(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(TrainingError, match="not a recipe"):
        load_recipe(str(tmp_path / "mine.json"))


def test_unknown_recipes() -> None:
    for name in ("skeattnclr", "nowhere.json"):
        with pytest.raises(TrainingError, match=r"no recipe .*Recipes that ship: .*skeattnclr-openskel"):
            load_recipe(name)
