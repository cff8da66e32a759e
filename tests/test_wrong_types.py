"""Arguments of another type than those wanted: the error says what to give instead."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CONTRACT, SMALL, make_clip, make_config, make_encoder

import skelzoo
from skelzoo.errors import CheckpointError, SkelzooError
from skelzoo.learn.evaluate import evaluate
from skelzoo.learn.pretrain.loop import pretrain
from skelzoo.learn.recipe import Recipe, load_recipe
from skelzoo.nets.archs import ARCHS
from skelzoo.weights.checkpoint import build_net

CLIP, RECIPE = make_clip(), "skeattnclr-openskel"
ONE = r"takes one skelzoo\.Clip, found (list|ndarray)\. Give the clips of a list one by one; of an array make"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: skelzoo.prepare([CLIP], CONTRACT), ONE),  # type: ignore[arg-type]
        (lambda: skelzoo.prepare(CLIP.keypoints, CONTRACT), ONE),  # type: ignore[arg-type]
        (lambda: skelzoo.windows([CLIP], 5), ONE),  # type: ignore[arg-type]
        (lambda: skelzoo.select_persons([CLIP]), ONE),  # type: ignore[arg-type]
        (lambda: skelzoo.remap(CLIP.keypoints, "ntu25"), ONE),  # type: ignore[arg-type]
        (lambda: skelzoo.prepare(CLIP, make_encoder()), r"found Encoder\. Give encoder\.contract"),  # type: ignore[arg-type]
        (lambda: skelzoo.read(["a.npz"]), r"Give one path; of several: \[clip for path in paths"),  # type: ignore[arg-type]
        (lambda: skelzoo.read("a.npz", fps="30"), r"fps is '30'\. Give frames per second"),  # type: ignore[arg-type]
        (lambda: skelzoo.read("a.npz", up=["z"]), r"up is \['z'\]\. Give the axis of the file that points up: y, z"),  # type: ignore[arg-type]
        (lambda: skelzoo.select_persons(CLIP, "a"), r"clip0: 'a' persons cannot be chosen\. Give a whole number"),  # type: ignore[arg-type]
        (lambda: skelzoo.select_persons(CLIP, 0), "0 persons cannot be chosen"),
        (lambda: CLIP.replace(notes=None), r"clip0: notes are None\. Give a list of texts"),
        (lambda: CLIP.replace(notes="abc"), "notes are 'abc'"),
        (lambda: CLIP.replace(notes=[5]), "notes are .*5.*Give a list of texts"),
        (lambda: CLIP.replace(first=-1), r"clip0: first is -1\. Give the number of its first frame"),
        (lambda: CLIP.replace(first="1"), "first is '1'"),
        (lambda: CLIP.replace(name=5), r"a clip's name is 5\. Give a text or a path"),
        (lambda: CLIP.take(persons=9), r"clip0: persons=9 and frames=None cannot be taken of 1 and \d+"),
        (lambda: skelzoo.create(None, layout="kinect20"), "no architecture 'None'.*Known: "),  # type: ignore[arg-type]
        (lambda: skelzoo.info(Path("stgcn")), "no model 'stgcn'"),  # type: ignore[arg-type]
        (lambda: skelzoo.info(None), "no model 'None'"),  # type: ignore[arg-type]
        (lambda: skelzoo.find_files(None), r"None: is no path\. Give paths"),  # type: ignore[arg-type]
        (lambda: skelzoo.find_files([None]), r"None: is no path"),  # type: ignore[list-item]
        (lambda: skelzoo.layout_from_names(None), r"names are \(None,\)\. Give a list of texts"),  # type: ignore[arg-type]
        (lambda: skelzoo.layout_from_names([1, 2]), r"names are \(1, 2\)\."),  # type: ignore[list-item]
        (lambda: skelzoo.list_models(True), r"pattern is True\. Give a text such as 'psp\*'; pretrained=True"),  # type: ignore[arg-type]
        (lambda: skelzoo.make_layout("mine", ["hip_center"], None), r"'mine': parents are of type NoneType\. Give a list"),  # type: ignore[arg-type]
        (lambda: skelzoo.make_layout("mine", ["hip_center"], {"hip_center": None}), r"parents are of type dict\. Give a list"),  # type: ignore[arg-type]
        (lambda: skelzoo.make_layout("mine", ["a", "b"], [None, 0], mirror=zip("a", "b", strict=True)), r"mirror are of type zip\. Give a list"),  # type: ignore[arg-type]
        (lambda: skelzoo.make_layout("mine", ["a", "b"], [None, 0], mirror=[0, 1]), r"0 among mirror and links is no pair"),  # type: ignore[list-item]
        (lambda: skelzoo.make_layout("mine", [0, 1], [None, 0]), r"0 among joints is no text\. Give their names"),  # type: ignore[list-item]
        (lambda: skelzoo.make_layout("mine", ["a"], [None], parts=[["a"]]), r"parts are of type list\. Give a dict"),  # type: ignore[arg-type]
        (lambda: skelzoo.get_layout("ntu25").index(3), r"'ntu25' has no joint 3\. Its joints: "),  # type: ignore[arg-type]
        (lambda: skelzoo.register_arch(None, ARCHS["stgcn"]), "None: an architecture is skelzoo.Arch"),  # type: ignore[arg-type]
        (lambda: skelzoo.create("stgcn", layout="kinect20", num_classes=True), "a net of True classes cannot be built"),
        (lambda: skelzoo.convert("a.pt", to="out", arch="skeattnclr-stgcn", register=True), "registered as True: it is not a name"),  # type: ignore[arg-type]
        (lambda: make_encoder().save("out", Path("card.md")), r"card is of type \w+Path\. Give its text, such as path\.read_text\(\)"),  # type: ignore[arg-type]
        (lambda: setattr(make_encoder(), "labels", None), r"labels are None\. Give a list of texts"),
        (lambda: CONTRACT.replace(steps=None), "contract's steps must be a list, not None"),
        (lambda: CONTRACT.replace(streams="joint"), "contract's streams must be a list, not 'joint'"),
        (lambda: type(CONTRACT).from_dict(CONTRACT), r"made of a dict, not of Contract\. Give what contract\.to_dict\(\) gives"),  # type: ignore[arg-type]
        (lambda: make_encoder().features(CLIP, at=[1]), "has no features 1"),  # type: ignore[list-item]
        (lambda: skelzoo.load(RECIPE, dtype=[]), r"dtype \[\] is not supported"),  # type: ignore[arg-type]
        (lambda: load_recipe(functools.reduce(lambda row, _: {"data": row}, range(100_000), {})), "nested too deeply|maximum recursion"),
        (lambda: skelzoo.save_clips([CLIP], "a.npz"), "Give the path first, then the clips"),  # type: ignore[arg-type]
        (lambda: make_encoder().embed(CLIP.keypoints, axes=("m", "t", "v", "c")), r"axes \('m', 't', 'v', 'c'\) are not understood.* e\.g\. 'n c t v m'"),  # type: ignore[arg-type]
        (lambda: make_encoder().embed([[CLIP], [CLIP]]), "found list. Give lists of clips, as a DataLoader makes them, one at a time; else use skelzoo.read"),  # type: ignore[list-item]
        (lambda: make_encoder().embed(torch.ones(1, 3, 9, 20, 1, dtype=torch.complex64)), "of type complex64 are not numbers"),
        (lambda: make_encoder().embed(np.ones((1, 3, 9, 20, 1), complex)), "of type complex128 are not numbers"),
        (lambda: skelzoo.create("stgcn", layout="kinect20", options=[1]), r"options are of type list\. Give a dict"),  # type: ignore[arg-type]
        (lambda: skelzoo.load(RECIPE, num_classes=True), r"True classes cannot be built\. Give their number"),
        (lambda: evaluate(make_encoder(), "nwucla", "data"), "Give a name as skelzoo.load takes it; save an encoder of your own, and give 'local:FOLDER'"),  # type: ignore[arg-type]
        (lambda: Recipe(**load_recipe(RECIPE).to_dict()), r"contract, data, optimiser of a recipe cannot be dicts here\..*load_recipe"),
        (lambda: load_recipe({"name": "mine"}), r"the dict: not a recipe .*Copy a shipped one"),
        (lambda: load_recipe([{"name": "mine"}]), r"no recipe .*or its dict"),  # type: ignore[arg-type]
        (lambda: load_recipe(json.dumps(load_recipe(RECIPE).to_dict())), r"no recipe '\{\"name\".{,80}\. Recipes that ship: .* or its dict"),
        (lambda: load_recipe(Path("nowhere.json")), r"no recipe 'nowhere\.json'\. Recipes that ship"),
        (
            lambda: skelzoo.Encoder(torch.nn.Sequential(torch.nn.Flatten()), make_config()),  # type: ignore[arg-type]
            r"net is of type Sequential, which has no forward_features.*Give what skelzoo\.create makes.*skelzoo\.nets\.net\.Net",
        ),
        (lambda: skelzoo.Encoder(build_net(make_config()), CONTRACT), r"config is of type Contract\. Give skelzoo\.weights\.manifest\.ModelConfig"),  # type: ignore[arg-type]
        (
            lambda: skelzoo.Encoder(build_net(make_config()), make_config(contract=CONTRACT.replace(layout="ntu25"))),
            r"reads 3 channels of 20 joints, its config gives it 3 of 25 \(ntu25; joint\)",
        ),
    ],
)
def test_what_to_give_instead_is_said(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(SkelzooError, match=says):
        call()


@pytest.mark.parametrize("arch", ["skeletonmae-strl", "skeattnclr-bigru"])
def test_persons_that_the_net_has_no_room_for_or_misses_are_said_before_any_clip(arch: str) -> None:
    net, config = skelzoo.create(arch, layout="kinect20", in_channels=3, options=SMALL[arch]), replace(make_config(), arch=arch, options=SMALL[arch])
    skelzoo.Encoder(net, config)
    with pytest.raises(CheckpointError, match=rf"{arch}: the net was built for 2 persons, its contract gives it 3\..*num_persons=3"):
        skelzoo.Encoder(net, replace(config, contract=CONTRACT.replace(persons=3)))
    fewer = replace(config, contract=CONTRACT.replace(persons=1))
    if arch == "skeletonmae-strl":
        assert skelzoo.Encoder(net, fewer).embed(make_clip()).shape[0] == 1
    else:  # read side by side, as one vector
        with pytest.raises(
            CheckpointError, match=rf"{arch}: the net was built for 2 persons, its contract gives it 1\. Set the contract's persons to 2, or .*num_persons=1"
        ):
            skelzoo.Encoder(net, fewer)


def test_a_recipe_is_a_name_a_path_or_a_dict(tmp_path: Path) -> None:
    recipe, path = load_recipe(RECIPE), tmp_path / "mine.json"
    path.write_text(json.dumps(recipe.to_dict()))
    assert load_recipe(path) == load_recipe(str(path)) == load_recipe(recipe.to_dict()) == recipe
    for given in (path, recipe.to_dict()):
        with pytest.raises(SkelzooError, match="no corpus file"):
            pretrain(given, tmp_path, tmp_path / "run")
