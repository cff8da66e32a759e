"""A warning names the line of the user's code that called skelzoo, whatever lies between."""

from __future__ import annotations

import linecache
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from benchmark_files import write_benchmarks
from tiny import CONTRACT, OWN, make_clip, make_encoder, write_json
from tqdm import tqdm

import skelzoo
from skelzoo.inference.files import read_files
from skelzoo.learn.benchmarks import standard_clips
from skelzoo.learn.cross_validation import cross_validate
from skelzoo.learn.evaluate import evaluate, evaluate_all
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.held_out import DataOptions
from skelzoo.learn.own_corpus import make_own_corpus
from skelzoo.learn.pretrain.windows import pretraining_array
from skelzoo.learn.recordings import finetune_recordings
from skelzoo.learn.results import Row, merge_rows
from skelzoo.skeleton.procedural import make

ONCE = FinetuneOptions(epochs=1, precision="32-true")
CLIPS = [make_clip(i).replace(label=("a", "b", "B")[i % 3]) for i in range(9)] * 2
PERSONS = [f"person{i // 6}" for i in range(18)]
NUMBERS = Row("b", "nwucla", "knn", "all test clips", 61.25, None, (), 10, 5, 3, "what", "skelzoo eval b", "0123", "cpu")
WHOLE = {"file": "nw_ucla.npz", "title": "mine", "train": {"view": [1, 9]}, "test": {"view": [2]}}


def turned() -> skelzoo.Clip:
    clip = make("squat", frames=20)
    return clip.replace(keypoints=clip.keypoints * np.float32([1, -1, -1]))


def files(folder: Path) -> Path:
    """Benchmarks, a rule with gaps, a table of results, and recordings in class folders of which one cannot be read."""
    write_benchmarks(folder, files=["nw_ucla.npz"])
    write_json(folder / "mine.json", WHOLE)
    merge_rows(folder / "table.csv", [NUMBERS])
    np.save(folder / "coco.npy", np.random.default_rng(0).normal(size=(6, 17, 2)))
    for i in range(4):
        (folder / "takes" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        skelzoo.save_clips(folder / "takes" / "ab"[i % 2] / f"{i}.npz", [turned().replace(label=None, name=f"take{i}")])
    (folder / "takes/a/broken.bvh").write_text("HIERARCHY")
    return folder


CALLS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "prepare": ("spine points down", lambda _: skelzoo.prepare(turned(), CONTRACT)),
    "embed": ("spine points down", lambda _: make_encoder().embed([turned()])),
    "read": ("are read as 'coco17'", lambda here: skelzoo.read(here / "coco.npy")),
    "tqdm": ("are read as 'coco17'", lambda here: list(tqdm(read_files([str(here / "coco.npy")]), disable=True))),
    "make_own_corpus": ("spine points down", lambda here: make_own_corpus(str(here / "takes/*/*.npz"), here / "own.npz")),
    "finetune": ("copies in another part", lambda _: finetune(make_encoder(labels=None), CLIPS, mode="linear", groups=PERSONS, options=ONCE)),
    "cross_validate": ("copies in another part", lambda _: cross_validate(make_encoder(labels=None), CLIPS, groups=PERSONS, folds=2, mode="linear", options=ONCE)),
    "finetune_recordings": ("left out: ", lambda here: finetune_recordings(make_encoder(labels=None), here / "takes", mode="linear", validation=0, options=ONCE)),
    "standard_clips": ("no clip has these values", lambda here: standard_clips(str(here / "mine.json"), here)),
    "evaluate": ("joints", lambda here: evaluate("coordinates", str(here / "mine.json"), here, ["retrieval"])),
    "evaluate_all": ("Benchmarks left out", lambda here: next(evaluate_all(here, here / "out", ["knn"], "cpu"))),
    "merge_rows": ("was 61", lambda here: merge_rows(here / "table.csv", [Row(**{**vars(NUMBERS), "value": 5.0})])),
    "pretraining_array": ("joints", lambda here: pretraining_array(here, DataOptions(["nw_ucla.npz"], held_out={"nw_ucla.npz": {"view": [3, 9]}}), OWN, here)),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_warning_names_the_line_that_called_skelzoo(tmp_path: Path, name: str) -> None:
    text, call = CALLS[name]
    here = files(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(here)
    assert any(text in str(w.message) for w in caught) and {w.filename for w in caught} == {__file__}
    assert all(f"{name}(" in linecache.getline(__file__, w.lineno) for w in caught)


def test_a_loop_is_told_once_and_another_line_again() -> None:
    def caught() -> list[warnings.WarningMessage]:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("default")
            for _ in range(3):
                skelzoo.prepare(turned(), CONTRACT)
            skelzoo.prepare(turned(), CONTRACT)
        return told

    assert [w.lineno - caught.__code__.co_firstlineno for w in caught()] == [4, 5]
