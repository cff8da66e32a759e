"""Pretraining methods by the name they have in a recipe."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from torch import nn

from skelzoo.errors import TrainingError
from skelzoo.learn.augment import KEEP_FRAMES
from skelzoo.learn.cameras import FILMED, SEEN, is_filmed, stored_contract
from skelzoo.learn.pretrain.method import Method
from skelzoo.learn.pretrain.psp import PSPEnsemblePretraining, PSPOptions, PSPPretraining
from skelzoo.learn.pretrain.skeattnclr import SkeAttnCLROptions, SkeAttnCLRPretraining
from skelzoo.learn.pretrain.skeletonmae import SkeletonMAEOptions, SkeletonMAEPretraining
from skelzoo.learn.recipe import Recipe
from skelzoo.nets.ensemble import Ensemble
from skelzoo.nets.psp import PSP
from skelzoo.nets.skeattnclr import SkeAttnCLR
from skelzoo.nets.strl import STRL
from skelzoo.skeleton.contract import STREAMS_HERE, Contract
from skelzoo.skeleton.layouts import get_layout

T = TypeVar("T")


def _options(kind: Callable[..., T], recipe: Recipe) -> T:
    try:
        return kind(**recipe.method_options)
    except TypeError as error:
        raise TrainingError(f"{recipe.name}: method options do not fit {recipe.method} ({error}).") from error


def _of_family(net: nn.Module, family: type[T], recipe: Recipe) -> T:
    if not isinstance(net, family):
        raise TrainingError(f"{recipe.name}: method {recipe.method} does not train {recipe.arch}. Choose an arch of the method's family.")
    return net


def _skeattnclr(net: nn.Module, recipe: Recipe) -> Method:
    layout, options = get_layout(recipe.contract.layout), _options(SkeAttnCLROptions, recipe)
    if options.queue % recipe.batch_size:
        raise TrainingError(f"{recipe.name}: queue {options.queue} is not a multiple of the batch size {recipe.batch_size}.")
    return SkeAttnCLRPretraining(_of_family(net, SkeAttnCLR, recipe), layout.parents, layout.part_indices, options, recipe.contract.streams)


def _skeletonmae(net: nn.Module, recipe: Recipe) -> Method:
    return SkeletonMAEPretraining(_of_family(net, STRL, recipe), _options(SkeletonMAEOptions, recipe), recipe.contract.streams)


def _psp(net: nn.Module, recipe: Recipe) -> PSPPretraining:
    net = _of_family(net, PSP, recipe)
    if tuple(recipe.contract.streams) != ("joint", "motion") or net.streams != 2 or net.pyramid is None:
        raise TrainingError(
            f"{recipe.name}: method {recipe.method} contrasts joint with motion. Give the contract these two streams, and a net of both and a pyramid."
        )
    return PSPPretraining(net, recipe.contract.frames, _options(PSPOptions, recipe), recipe.native_rate)


def _psp_ensemble(net: nn.Module, recipe: Recipe) -> Method:
    net, ways = _of_family(net, Ensemble, recipe), members_options(recipe)
    if len(ways) != len(net.members):
        raise TrainingError(f"{recipe.name}: {len(ways)} rows of method_options.members for {len(net.members)} members of the net. Give one for each.")
    methods = [_psp(member, replace(recipe, method_options=way)) for member, way in zip(net.members.values(), ways, strict=True)]
    return PSPEnsemblePretraining(net, methods)


METHODS: Mapping[str, Callable[[Any, Recipe], Method]] = {"skeattnclr": _skeattnclr, "skeletonmae": _skeletonmae, "psp": _psp, "psp-ensemble": _psp_ensemble}


def members_options(recipe: Recipe) -> list[dict[str, Any]]:
    """Options of the method for each member of an ensemble: the common ones, and over them its own row of ``members``; else the options alone.

    Raises:
        TrainingError: ``members`` is no list of such rows.
    """
    rows = recipe.method_options.get("members", [{}])
    if not isinstance(rows, Sequence) or not all(isinstance(row, Mapping) for row in rows):
        raise TrainingError(f"{recipe.name}: method_options.members is {rows!r}. Give a list with a row of options for each member.")
    common = {name: value for name, value in recipe.method_options.items() if name != "members"}
    return [{**common, **own} for own in rows]


def operations(recipe: Recipe) -> list[list[str]]:
    """Names of the augmentations, of each member of an ensemble or of the one net."""
    return [[str(row.get("op")) for row in way.get("augmentations", ())] for way in members_options(recipe)]


def stored(recipe: Recipe) -> Contract:
    """How the recipe keeps its windows, see ``stored_contract``."""
    filmed = any(ops[:1] == ["film_joints"] for ops in operations(recipe))
    return stored_contract(recipe.contract, recipe.stored_frames, filmed, recipe.native_rate)


def build_method(net: nn.Module, recipe: Recipe) -> Method:
    """The recipe's method around a net.

    Raises:
        TrainingError: no such method, options it does not take, a net it does not train, joints filmed for no contract of pictures or in some members
            only, a contract that prepares clips otherwise than ``film_joints`` leaves them, ``native_rate`` where frames do not stay as they are, or motion
            that ``embed`` computes at another rate.
    """
    if recipe.method not in METHODS:
        raise TrainingError(f"{recipe.name}: no pretraining method {recipe.method!r}. Known: {', '.join(METHODS)}.")
    method, ways = METHODS[recipe.method](net, recipe), operations(recipe)
    filmed = {ops[:1] == ["film_joints"] for ops in ways}
    if len(filmed) > 1 or (True in filmed and recipe.contract.layout != SEEN) or any("film_joints" in ops[1:] for ops in ways):
        raise TrainingError(
            f"{recipe.name}: film_joints makes {SEEN} joints of 3-D clips. Let it be the first augmentation with that layout, and leave it out with others."
        )
    if True in filmed and not is_filmed(recipe.contract):
        raise TrainingError(
            f"{recipe.name}: the contract prepares clips otherwise than film_joints leaves them, so the net would be trained on other joints than it reads later. "
            f"Let its steps, but for those of time, be {json.dumps(FILMED)}, as in the shipped recipes of names that end in -2d."
        )
    if recipe.native_rate:
        moved = [op for ops in ways for op in ops if op not in KEEP_FRAMES]
        if not recipe.method.startswith("psp") or not recipe.contract.streams_of_recording or moved:
            raise TrainingError(
                f"{recipe.name}: native_rate is for method psp, a contract with the step streams and no resample before it, and the augmentations "
                f"{', '.join(KEEP_FRAMES)}. Leave it out{' or ' * bool(moved)}{', '.join(moved)}."
            )
    _check_motion(recipe)
    return method


def _check_motion(recipe: Recipe) -> None:
    """Raise TrainingError where the net would be trained on motion between other frames than ``embed`` takes it between."""
    steps, stored = recipe.contract.steps, recipe.stored_frames
    before = steps[: steps.index(STREAMS_HERE)] if STREAMS_HERE in steps else steps
    if "motion" not in recipe.contract.streams or recipe.native_rate:
        return
    if not recipe.method.startswith("psp"):
        if len(before) + 1 < len(steps):
            raise TrainingError(
                f"{recipe.name}: method {recipe.method} computes motion between the frames that the net reads, the contract before it resamples to these, so the net "
                "would be trained on motion at another rate than it reads later. Take the step streams out of the contract."
            )
        return
    frames = next((step["frames"] for step in reversed(before) if step["step"] == "resample"), stored)
    if frames != stored:
        raise TrainingError(
            f"{recipe.name}: the contract computes motion between {frames} frames, the method between the {stored} of stored_frames, so the net would be trained on "
            f"motion at another rate than it reads later. Set stored_frames to {frames}."
        )
