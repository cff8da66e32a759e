"""Options of the pretraining methods: which values they take, and what is said of others."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

import skelzoo
from skelzoo.errors import TrainingError
from skelzoo.learn.pretrain.methods import build_method, operations
from skelzoo.learn.pretrain.psp import PSPOptions
from skelzoo.learn.pretrain.skeattnclr import SkeAttnCLROptions
from skelzoo.learn.pretrain.skeletonmae import SkeletonMAEOptions
from skelzoo.learn.recipe import load_recipe, shipped_recipes
from skelzoo.weights.checkpoint import Shapes, build_net
from skelzoo.weights.manifest import ModelConfig

PAIR = "two whole numbers of at least 1, the fewest and the most"


@pytest.mark.parametrize(("kind", "name", "values", "wanted"), [
    (SkeAttnCLROptions, "queue", [0, -8, 16.0, "16", True], "a whole number of at least 1"),
    (SkeAttnCLROptions, "momentum", [1.01, -0.1, "0.9", None], "a number of at least 0 and at most 1"),
    (SkeAttnCLROptions, "temperature", [0, -0.1, "0.1", math.nan, math.inf], "a number above 0"),
    (SkeAttnCLROptions, "mu", [2, -0.1, [0.5]], "a number of at least 0 and at most 1"),
    (SkeAttnCLROptions, "part_range", [3, [3], [0, 2], [4, 3], [1, 2.5], "34"], PAIR),
    (SkeAttnCLROptions, "span_range", [None, [1, 2, 3], [-1, 2], [2, 1]], PAIR),
    (PSPOptions, "temperature", [0, "0.1"], "a number above 0"),
    (PSPOptions, "apart", ["false", 1], "true or false"),
    (SkeletonMAEOptions, "ratio", [0, 1, "0.5"], "a number above 0 and below 1"),
    (SkeletonMAEOptions, "beta", [0.5, "2"], "a number of at least 1"),
    (SkeletonMAEOptions, "noise", [-1, "0"], "a number of at least 0"),
    (SkeletonMAEOptions, "graphs", [-1, 10.5], "a whole number of at least 0"),
    (SkeletonMAEOptions, "temporal_share", [1.5, "1"], "a number of at least 0 and at most 1"),
    (SkeletonMAEOptions, "temperature", [0, "0.1"], "a number above 0"),
    (SkeletonMAEOptions, "remask", ["no"], "true or false"),
    (SkeletonMAEOptions, "literal", [0], "true or false"),
    (SkeletonMAEOptions, "target", ["pixels", 1], "one of embedding, embedding_frozen, embedding_literal, coords"),
])  # fmt: skip
def test_values_of_another_kind_or_out_of_range(kind: Any, name: str, values: list[Any], wanted: str) -> None:
    for value in values:
        with pytest.raises(TrainingError, match=rf"^method_options\.{name} is {re.escape(repr(value))}\. Give {wanted}\.$"):
            kind(**{name: value})


def test_values_at_the_ends_of_their_ranges() -> None:
    SkeAttnCLROptions(queue=1, momentum=0, temperature=1e-3, mu=1, part_range=(1, 1), span_range=(2, 2))
    SkeletonMAEOptions(beta=1, graphs=0, noise=0, temporal_share=1)


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_keep_to_the_ranges(name: str) -> None:
    recipe, plain = load_recipe(name), name in ("psp-ntu60", "skeletonmae-ntu60")  # the papers name no augmentations
    with Shapes():
        build_method(build_net(ModelConfig(recipe.arch, recipe.options, recipe.contract)), recipe)
    assert all(bool(ops) != plain for ops in operations(recipe))


FILL, CENTER, SCALE = {"step": "fill_gaps"}, {"step": "center", "reference": "mean"}, {"step": "scale_torso"}
TIME = ({"step": "drop_empty_frames"}, {"step": "resample", "frames": 16})


@pytest.mark.parametrize(("steps", "fits"), [
    ((TIME[0], FILL, CENTER, SCALE, TIME[1]), True),
    ((FILL, {**CENTER, "point": "hip_center"}, {**SCALE, "length": 1}, TIME[1], {"step": "streams"}), True),
    ((TIME[0], {"step": "normalize_image"}, TIME[1]), False),
    (TIME, False),
    ((FILL, {"step": "center"}, SCALE, TIME[1]), False),
    ((FILL, {**CENTER, "point": "nose"}, SCALE, TIME[1]), False),
    ((FILL, SCALE, CENTER, TIME[1]), False),
    ((FILL, CENTER, {**SCALE, "length": 2.0}, TIME[1]), False),
    ((FILL, CENTER, SCALE, {"step": "median_filter"}, TIME[1]), False),
])  # fmt: skip
def test_film_joints_goes_with_contracts_that_leave_joints_as_it_does(steps: tuple[dict[str, Any], ...], fits: bool) -> None:
    recipe = load_recipe("skeletonmae-openskel-2d")
    recipe = dataclasses.replace(recipe, contract=recipe.contract.replace(frames=16, steps=steps), options={"dim": 8, "hidden_dim": 8, "num_frames": 16})
    net = skelzoo.create(recipe.arch, layout="coco17", in_channels=recipe.contract.input_channels, options=recipe.options)
    if fits:
        assert build_method(net, recipe).net is net
        return
    with pytest.raises(TrainingError, match=r"otherwise than film_joints leaves them.*\"step\": \"center\""):
        build_method(net, recipe)
