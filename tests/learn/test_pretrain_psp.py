"""PSP's contrast by hand, its views, and a run of the training loop."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import SMALL, make_clip, randomise, write_corpus
from torch import Tensor

import skelzoo
from skelzoo import Contract, create
from skelzoo.errors import TrainingError
from skelzoo.learn.held_out import DataOptions
from skelzoo.learn.losses import Losses, coarse_to_fine, contrast, semi_supervised_losses
from skelzoo.learn.pretrain.loop import pretrain
from skelzoo.learn.pretrain.methods import build_method
from skelzoo.learn.pretrain.psp import PSPOptions, PSPPretraining
from skelzoo.learn.recipe import Optimiser, Recipe
from skelzoo.nets.psp import PSP

STEPS = ({"step": "drop_empty_frames"}, {"step": "center"}, {"step": "streams"}, {"step": "resample", "frames": 16, "method": "floor_index"})
RECIPE = Recipe(
    name="tiny-psp", method="psp", arch="psp", options={**SMALL["psp"], "num_frames": 16}, contract=Contract("kinect20", 3, 1, 16, STEPS, ("joint", "motion")),
    data=DataOptions(["a.npz"], window=30, hop=20, shortest=5, max_step=100.0), stored_frames=20, optimiser=Optimiser(learning_rate=1e-2), steps=12, batch_size=8,
    checkpoint_every=6, precision="32-true",
)  # fmt: skip


def make_net(**options: Any) -> PSP:
    torch.manual_seed(0)
    net = randomise(create("psp", layout="kinect20", num_classes=4, in_channels=6, options={**SMALL["psp"], **options}))
    assert isinstance(net, PSP)
    return net


def clips(count: int = 4, frames: int = 24, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, frames, 20, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_contrast_by_its_definition(temperature: float) -> None:
    a, b = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).unbind()
    rows = [[float(v) for v in r] for r in torch.cat([3 * a, b])]
    unit = [[v / math.sqrt(sum(w * w for w in r)) for v in r] for r in rows]
    losses = []
    for i in range(10):
        scores = {j: math.exp(sum(x * y for x, y in zip(unit[i], unit[j], strict=True)) / temperature) for j in range(10) if j != i}
        losses.append(-math.log(scores[(i + 5) % 10] / sum(scores.values())))
    assert contrast(3 * a, b, temperature).item() == pytest.approx(sum(losses) / 10, rel=1e-4)


def test_contrast_falls_when_views_agree_and_rows_can_be_told_apart() -> None:
    a = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    assert contrast(a, 2 * a) < 0.01 < contrast(a, a.roll(1, 0)) and contrast(torch.ones(6, 2), torch.ones(6, 2)).item() == pytest.approx(
        math.log(11), rel=1e-5
    )
    with pytest.raises(TrainingError, match=r"got 1\..*at least 2"):
        contrast(a[:1], a[:1])


def test_contrast_is_taken_in_float32_whatever_the_net_runs_in() -> None:
    a, b = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16).unbind()
    with torch.autocast("cpu", torch.bfloat16):
        low = contrast(a, b)
    assert low.dtype == torch.float32 and torch.equal(low, contrast(a.float(), b.float()))


def test_the_weight_and_the_temperature_reach_the_objective() -> None:
    net, x, labels = make_net().eval(), clips(channels=6), torch.tensor([0, 1, 2, 3])
    with torch.no_grad():
        losses = semi_supervised_losses(net, x, labels, x.flip(2), temperature=0.3, weight=0.7)
        levels = coarse_to_fine(net, net.maps(x.flip(2))[0], 2, temperature=0.3)
        torch.testing.assert_close(losses.total, losses.classification + 0.7 * (levels.joint + levels.part + levels.body))
        torch.testing.assert_close(losses.classification, torch.nn.functional.cross_entropy(net(x), labels))
        assert (coarse_to_fine(net, net.maps(x.flip(2))[0], 2).total - levels.total).abs() > 0.1
    with pytest.raises(TrainingError, match="no head"):
        semi_supervised_losses(create("psp", layout="kinect20", in_channels=6, options=SMALL["psp"]), x, labels, x)


def seen_by(net: PSP, joints: Tensor, options: PSPOptions | None = None) -> Tensor:
    """What the backbone is given in one step: rows joint, then motion."""
    rows: list[Tensor] = []
    hook = net.backbone.register_forward_pre_hook(lambda _, inputs: rows.append(inputs[0]))
    method = PSPPretraining(net, 16, options or PSPOptions())
    method(*method.own_views(joints))
    hook.remove()
    return rows[0]


def test_views_are_drawn_apart_and_motion_is_that_of_the_stored_rate() -> None:
    """Frame t of the clip is t*t everywhere, so that a joint value tells its frame, and a motion value 2t+1 too."""
    torch.manual_seed(0)
    joints = torch.arange(24.0).square()[None, None, :, None, None].expand(6, 3, 24, 20, 1)
    joint, motion = seen_by(make_net(), joints)[:, 0, :, 0, 0].chunk(2)
    of_joint = joint.sqrt()
    of_motion = torch.where(motion == 0, 23, (motion - 1) / 2)
    for frames in (*of_joint.tolist(), *of_motion.tolist()):
        assert len(frames) == 16 and frames == sorted(set(frames)) and set(frames) <= set(range(24))
    drawn = [tuple(f) for f in (*of_joint.tolist(), *of_motion.tolist())]
    assert len(set(drawn)) == 12


def test_augmentations_come_before_the_streams() -> None:
    torch.manual_seed(0)
    joints = clips(frames=16)
    assert torch.equal(seen_by(make_net(), joints).chunk(2)[0], joints), "16 of 16 frames in order: the clip itself"
    joint, motion = seen_by(make_net(), joints, PSPOptions(augmentations=[{"op": "scale", "amplitude": 0.5}])).chunk(2)
    factor = joint / joints
    torch.testing.assert_close(factor, factor[:, :, :1, :1, :1].expand_as(factor))
    torch.testing.assert_close(motion[:, :, :-1], joint.diff(dim=2), atol=1e-5, rtol=1e-4)
    assert (factor - 1).abs().max() > 0.1 and not motion[:, :, -1].any()
    with pytest.raises(TrainingError, match="no augmentation 'spin'"):
        PSPPretraining(make_net(), 16, PSPOptions(augmentations=[{"op": "spin"}]))


def test_augmentations_of_the_streams_apart() -> None:
    torch.manual_seed(0)
    joints, options = clips(frames=16), {"augmentations": [{"op": "scale", "amplitude": 0.5}]}
    for apart in (False, True):
        joint, motion = seen_by(make_net(), joints, PSPOptions(**options, apart=apart)).chunk(2)
        factor = joint[:, :, :1, :1, :1] / joints[:, :, :1, :1, :1]
        others = motion[:, :, :-1] / joints.diff(dim=2)
        torch.testing.assert_close(others, others[:, :, :1, :1, :1].expand_as(others), atol=1e-3, rtol=1e-3)
        assert torch.allclose(others[:, :, 0, 0, 0], factor[:, :, 0, 0, 0], atol=1e-3) == (not apart)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_corpus(folder / "a.npz", [make_clip(i, frames=16 + i) for i in range(24)])
    return folder


def test_views_are_made_in_float32_whatever_the_net_runs_in(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    views, losses = PSPPretraining.views, PSPPretraining.losses

    def see_views(self: PSPPretraining, clips: Tensor) -> tuple[Tensor]:
        seen.append(clips.dtype)
        made = views(self, clips)
        seen.append(made[0].dtype)
        return made

    def see_losses(self: PSPPretraining, both: Tensor) -> Losses:
        seen.append(both.dtype)
        return losses(self, both)

    monkeypatch.setattr(PSPPretraining, "views", see_views)
    monkeypatch.setattr(PSPPretraining, "losses", see_losses)
    pretrain(dataclasses.replace(RECIPE, precision="bf16-mixed"), data, tmp_path / "run", device="cpu", stop_after=1)
    assert seen[-3:] == [torch.float32, torch.float32, torch.bfloat16]


def test_a_run_of_the_loop(data: Path, tmp_path: Path) -> None:
    weights = pretrain(RECIPE, data, tmp_path / "run", device="cpu")
    with (tmp_path / "run/log.csv").open() as f:
        rows = [{k: float(r[k]) for k in ("loss", "loss_joint", "loss_part", "loss_body")} for r in csv.DictReader(f)]
    assert len(rows) == 12
    for r in rows:
        assert r["loss"] == pytest.approx(r["loss_joint"] + r["loss_part"] + r["loss_body"], rel=1e-5)
    assert np.mean([r["loss"] for r in rows[-4:]]) < np.mean([r["loss"] for r in rows[:4]])
    encoder = skelzoo.load(f"local:{weights}", device="cpu")
    assert encoder.contract == RECIPE.contract and encoder.embed(make_clip()).shape == (1, 32)
    assert skelzoo.verify(f"local:{weights}", device="cpu").ok


ENSEMBLE = dataclasses.replace(
    RECIPE, name="tiny-ensemble", method="psp-ensemble", arch="psp-ensemble",
    method_options={"temperature": 0.2, "members": [{}, {"apart": True, "augmentations": [{"op": "scale", "amplitude": 0.5}]}]},
)  # fmt: skip


def test_members_of_an_ensemble_are_trained_each_in_its_own_way(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = create("psp-ensemble", layout="kinect20", in_channels=6, options={**SMALL["psp"], "num_frames": 16})
    method, joints = build_method(net, ENSEMBLE), clips(frames=16)
    plain, apart = method.own_views(joints)
    assert torch.equal(plain[:, :3], joints) and not torch.allclose(apart[:, :3], joints, atol=0.1)
    ours = method(plain, apart)
    alone = [coarse_to_fine(m, m.maps(x)[0], 2, temperature=0.2) for m, x in zip(net.members.values(), (plain, apart), strict=True)]
    torch.testing.assert_close(torch.stack(ours), torch.stack(alone[0]) + torch.stack(alone[1]))

    weights = pretrain(ENSEMBLE, data, tmp_path / "run", device="cpu")
    encoder = skelzoo.load(f"local:{weights}", device="cpu")
    assert encoder.embed(make_clip()).shape == (1, 64) and skelzoo.verify(f"local:{weights}", device="cpu").ok
    torch.manual_seed(RECIPE.seed)
    start = create("psp-ensemble", layout="kinect20", in_channels=6, options=dict(ENSEMBLE.options))
    for (name, before), after in zip(start.named_parameters(), encoder.net.parameters(), strict=True):
        assert not torch.equal(before, after), name


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"contract": RECIPE.contract.replace(streams=("motion", "joint"))}, "contrasts joint with motion"),
        ({"contract": RECIPE.contract.replace(streams=("joint",)), "options": {**RECIPE.options, "streams": 1}}, "contrasts joint with motion"),
        ({"options": {**RECIPE.options, "pyramid": False}}, "and a pyramid"),
        ({"method_options": {"queue": 4}}, "method options do not fit psp"),
        ({"batch_size": 1}, "at least 2"),
        ({"method": "skeattnclr"}, "does not train psp"),
        ({"method": "psp-ensemble"}, "does not train psp"),
        ({"arch": "psp-ensemble"}, "does not train psp-ensemble"),
        ({"arch": "psp-ensemble", "method": "psp-ensemble"}, "1 rows of method_options.members for 2 members"),
        ({"arch": "psp-ensemble", "method": "psp-ensemble", "method_options": {"members": 2}}, "members is 2. Give a list"),
        ({"arch": "psp-ensemble", "method": "psp-ensemble", "method_options": {"members": [{}, "apart"]}}, "Give a list with a row of options"),
        ({"arch": "psp-ensemble", "method": "psp-ensemble", "method_options": {"members": [{}, {"queue": 4}]}}, "method options do not fit psp"),
    ],
)
def test_recipes_that_do_not_fit(data: Path, tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        pretrain(dataclasses.replace(RECIPE, **changes), data, tmp_path / "run", device="cpu")
