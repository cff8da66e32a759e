"""Recipes that ship, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from skelzoo.errors import TrainingError
from skelzoo.learn.recipe import Recipe, load_recipe


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
