"""Optimisers and schedules of recipes, and the recipes at the papers' settings."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import SMALL, make_clip
from torch import nn

import skelzoo
from skelzoo.errors import TrainingError
from skelzoo.learn.benchmarks import find_benchmark
from skelzoo.learn.held_out import held_out
from skelzoo.learn.optimiser import Optimiser
from skelzoo.learn.own_corpus import make_own_corpus
from skelzoo.learn.pretrain.loop import pretrain
from skelzoo.learn.recipe import Recipe, load_recipe
from skelzoo.learn.training import warmup_cosine
from skelzoo.skeleton.io.corpus import read_corpus
from skelzoo.weights.manifest import manifest

PAPERS = ("skeattnclr-ntu60", "skeletonmae-ntu60", "psp-ntu60")
CLIPS = 40


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for file, layout, channels in (("ntu60.npz", "ntu25", 3), ("ntu60_hrnet.npz", "coco17", 2)):
        clips = [make_clip(i, 20 + i, 1, layout, channels).replace(name=f"S001C001P{i + 1:03}R001A001") for i in range(CLIPS)]
        # The second person moves as much as the first, so that no step leaves them out.
        clips = [c.replace(keypoints=np.concatenate([c.keypoints, c.keypoints[:, ::-1] + 0.7][: 1 + i % 2])) for i, c in enumerate(clips)]
        if channels == 2:
            clips = [c.replace(keypoints=900 + 60 * c.keypoints, image_size=(1080, 1920)) for c in clips]
        skelzoo.save_clips(folder / f"given-{file}", clips)
        make_own_corpus(str(folder / f"given-{file}"), folder / file, subject=r"P(\d{3})", persons=2)
    return folder


def small(name: str, **optimiser: Any) -> Recipe:
    """The recipe with a small net and a short run."""
    recipe, options = load_recipe(name), dict(SMALL[load_recipe(name).arch])
    options |= {key: recipe.options[key] for key in ("num_frames", "num_persons") if key in recipe.options}
    method = {**recipe.method_options, **({"queue": 16} if "queue" in recipe.method_options else {})}
    changed = dataclasses.replace(recipe.optimiser, milestones=[1] if recipe.optimiser.milestones else [], **optimiser)
    return dataclasses.replace(recipe, options=options, method_options=method, optimiser=changed, steps=2, batch_size=8, precision="32-true")


@pytest.mark.parametrize("name", PAPERS)
def test_a_recipe_of_a_paper_trains(name: str, data: Path, tmp_path: Path) -> None:
    recipe = small(name)
    pretrain(recipe, data, tmp_path / "run", device="cpu")
    with (tmp_path / "run/log.csv").open() as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    full = recipe.optimiser.learning_rate
    assert rates == pytest.approx([full, 0.1 * full] if recipe.optimiser.milestones else [full, full])
    windows = np.load(next((tmp_path / "run").glob("windows-*.npy")))
    (file,) = recipe.data.files
    corpus = read_corpus(data / file)
    clips = [corpus.clips[i] for i in np.flatnonzero(~held_out(corpus, recipe.data.held_out[file]))]
    assert windows[..., 1].any(axis=(1, 2, 3)).tolist() == [clip.persons == 2 for clip in clips]
    if recipe.native_rate:
        assert windows.any(axis=(1, 3, 4)).sum(axis=1).tolist() == [clip.frames for clip in clips]


@pytest.mark.parametrize("name", PAPERS)
def test_a_recipe_of_a_paper_holds_out_the_test_subjects(name: str, data: Path) -> None:
    recipe, config = load_recipe(name), manifest().find(name).config
    (file,) = recipe.data.files
    corpus = read_corpus(data / file)
    assert (held_out(corpus, recipe.data.held_out[file]) == find_benchmark("ntu60-xsub").test(corpus)).all()
    assert (recipe.arch, recipe.options, recipe.contract) == (config.arch, config.options, config.contract)


def test_recipes_of_papers_compute_in_float32() -> None:
    """On a GPU too, where ``auto`` is bf16."""
    assert {load_recipe(name).precision for name in PAPERS} == {"32-true"}


@pytest.mark.parametrize(("name", "expected"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimiser_is_the_one_named(name: str, expected: type) -> None:
    momentum = {"momentum": 0.8, "nesterov": True} if name == "sgd" else {}
    (group,) = (made := Optimiser(0.3, 0.02, name=name, **momentum).of(nn.Linear(2, 2).parameters())).param_groups
    assert type(made) is expected and (group["lr"], group["weight_decay"]) == (0.3, 0.02)
    assert momentum.items() <= group.items()


def test_rates_over_a_run() -> None:
    steps = Optimiser(1.0, warmup=0.2, schedule="step", milestones=[6, 8], gamma=0.5)
    assert [steps.rate(s, 10) for s in range(10)] == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25])
    assert {Optimiser(1.0, warmup=0.0, schedule="step").rate(s, 10) for s in range(10)} == {1.0}
    cosine = Optimiser(1.0, warmup=0.2)
    assert [cosine.rate(s, 10) for s in (0, 1, 2, 6, 9)] == pytest.approx([0.5, 1, 1, 0.5, 0.5 + 0.5 * np.cos(np.pi * 7 / 8)])
    assert [Optimiser().rate(s, 40) for s in range(40)] == [2e-3 * warmup_cosine(s, 40, 0.05) for s in range(40)]


def test_clipping_can_be_turned_off(data: Path, tmp_path: Path) -> None:
    """SGD goes as far as the gradient is long, so a tiny ``clip_norm`` leaves weights where they are."""
    moved = {}
    for clip in (1e-12, None):
        recipe = small("psp-ntu60", clip_norm=clip, momentum=0.0, nesterov=False, weight_decay=0.0, learning_rate=0.1)
        pretrain(recipe, data, tmp_path / str(clip), device="cpu")
        moved[clip] = torch.load(tmp_path / str(clip) / "checkpoint.pt", weights_only=True)["method"]
    far = [float((moved[None][k] - moved[1e-12][k]).abs().max()) for k in moved[None] if k.endswith("weight")]
    assert max(far) > 1e-4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "lion"}, "optimiser.name is 'lion'. Give one of adamw, adam, sgd"),
        ({"schedule": "linear"}, "optimiser.schedule is 'linear'. Give one of cosine, step"),
        ({"momentum": 0.9}, "are of sgd, and name is adamw"),
        ({"name": "sgd", "nesterov": True}, "goes with momentum"),
        ({"name": "sgd", "nesterov": 1, "momentum": 0.9}, "Give true or false"),
        ({"name": "sgd", "momentum": 1}, "optimiser.momentum is 1. Give a number of at least 0 and at most 0.9999"),
        ({"clip_norm": 0}, "optimiser.clip_norm is 0. Give a number above 0, or null for no clipping"),
        ({"learning_rate": 10**400}, "Give a number of at least 0"),
        ({"learning_rate": None}, "optimiser.learning_rate is None. Give a number of at least 0"),
        ({"milestones": [3]}, "are of schedule step, and schedule is cosine"),
        ({"schedule": "step", "milestones": [5, 3]}, "that rise"),
        ({"schedule": "step", "milestones": [5, 5]}, "that rise"),
        ({"schedule": "step", "milestones": [0, 5]}, "whole numbers of at least 1"),
        ({"schedule": "step", "milestones": 5}, "optimiser.milestones is 5. Give steps"),
        ({"schedule": "step", "gamma": 0}, "optimiser.gamma is 0. Give a number above 0 and at most 1"),
    ],
)
def test_optimisers_that_are_none(given: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError) as caught:
        Optimiser(**given)
    assert message in str(caught.value)


@pytest.mark.parametrize("steps", [100, 78250])
def test_milestones_lie_inside_the_run(steps: int) -> None:
    with pytest.raises(TrainingError, match=rf"milestones are \[78250\], and the run has {steps} steps"):
        dataclasses.replace(load_recipe("skeattnclr-ntu60"), steps=steps)
