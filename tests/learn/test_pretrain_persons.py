"""Clips of two persons, and the 2-D joints of pose estimators: corpus file, pretraining of each method, benchmark."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import SMALL, make_clip

import skelzoo
from skelzoo.errors import ClipError, TrainingError
from skelzoo.learn.augment import random_frames_of
from skelzoo.learn.benchmarks import Benchmark, standard_clips
from skelzoo.learn.evaluate import evaluate
from skelzoo.learn.held_out import DataOptions
from skelzoo.learn.own_corpus import make_own_corpus
from skelzoo.learn.pretrain.loop import Run, pretrain
from skelzoo.learn.recipe import Recipe
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.contract import STREAMS_HERE, Contract
from skelzoo.skeleton.io.corpus import read_corpus
from skelzoo.skeleton.io.one_by_one import open_reader
from skelzoo.skeleton.prepare import prepare
from skelzoo.weights.manifest import manifest

COUNT, SIZE = 8, (1080, 1920)
NTU, PSP, COCO = (manifest().find(name).config.contract for name in ("skeattnclr-ntu60", "psp-ntu60", "skeletonmae-ntu60"))


def person_clips(layout: str = "ntu25", channels: int = 3) -> list[Clip]:
    """Clips of one person and of two by turns; of the two the second comes late and goes early."""
    clips = []
    for i in range(COUNT):
        clip = make_clip(i, 26 + 3 * i, 1, layout, channels)
        clip = clip.replace(keypoints=np.concatenate([clip.keypoints, clip.keypoints[:, ::-1] + 0.7][: 1 + i % 2]))
        keypoints = 0.2 * clip.keypoints if channels == 3 else 900 + 60 * clip.keypoints
        keypoints[1:, : 2 + i] = keypoints[1:, -3:] = 0
        scores = None
        if channels == 2:
            keypoints[0, 4:9, 3] = 0
            scores = np.random.default_rng(i).uniform(0.1, 1.1, keypoints.shape[:3]) * keypoints.any(-1)
        clips.append(clip.replace(keypoints=keypoints, scores=scores, label=f"class{i // 2 % 2}", image_size=SIZE if channels == 2 else None))
    return clips


def corpus_of(folder: Path, clips: list[Clip], name: str = "mine.npz", **options: Any) -> Path:
    for clip in clips:
        (folder / f"takes-{name}").mkdir(parents=True, exist_ok=True)
        skelzoo.save_clips(folder / f"takes-{name}/{clip.name}.npz", [clip])
    report = make_own_corpus(str(folder / f"takes-{name}"), folder / name, label_from="file", **{"persons": 2, **options})
    assert (report.clips, report.together) == (COUNT, COUNT // 2) and not report.refused
    return folder / name


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    corpus_of(folder, person_clips())
    corpus_of(folder, person_clips("coco17", 2), "flat.npz")
    return folder


@pytest.mark.parametrize(("file", "given", "miss"), [("mine.npz", person_clips(), 6e-4), ("flat.npz", person_clips("coco17", 2), 0.03)])
def test_a_corpus_file_holds_the_persons_and_scores_of_its_clips(data: Path, file: str, given: list[Clip], miss: float) -> None:
    table, reader = read_corpus(data / file), open_reader(data / file)
    assert reader is not None
    with np.load(data / file) as arrays:
        assert arrays["joints_delta"].ndim == 4 and set(table.extra) == {"zero_frames"}
        assert (arrays["flags"] & 32).any() == (file == "flat.npz"), "who is absent is at no origin; joints that were not found are"
    for written, read, alone in zip(given, table.clips, reader.clips(0, COUNT), strict=True):
        np.testing.assert_allclose(read.keypoints, written.keypoints, atol=miss)
        assert np.array_equal(read.keypoints.any(-1), written.keypoints.any(-1)), "who or what is not there is exactly zero"
        assert isinstance(alone, Clip) and (read.image_size, read.channels) == (written.image_size, written.channels)
        for clip in (read, alone):
            assert np.array_equal(clip.keypoints, read.keypoints) and (clip.scores is None) == (written.scores is None) and clip.image_size == read.image_size
            assert written.scores is None or np.array_equal(clip.scores, written.scores)
    ways = [max(np.linalg.norm(np.diff(k[k.any((1, 2))], axis=0), axis=-1).max() for k in c.keypoints) for c in given]
    np.testing.assert_allclose(table.max_step, ways if file == "mine.npz" else np.full(COUNT, np.nan), atol=2e-3, err_msg="coming is no jump")


def test_far_away_absent_persons_stay_absent(tmp_path: Path) -> None:
    far = [c.replace(keypoints=np.where(c.keypoints.any((2, 3), keepdims=True), c.keypoints + np.float32([500, 0, 0]), 0)) for c in person_clips()]
    for read, written in zip(read_corpus(corpus_of(tmp_path, far)).clips, far, strict=True):
        np.testing.assert_allclose(read.keypoints, written.keypoints, atol=6e-4)
        assert np.array_equal(read.keypoints.any((2, 3)), written.keypoints.any((2, 3)))


def test_persons_are_kept_as_asked(data: Path, tmp_path: Path) -> None:
    takes = str(data / "takes-mine.npz")
    report = make_own_corpus(takes, tmp_path / "a.npz")
    assert len(report.refused) == COUNT // 2 and "has 2 persons, and a clip of the file has 1. Keep them with --persons 2, or" in str(report.refused[0])
    make_own_corpus(takes, tmp_path / "b.npz", select_persons=True)
    with np.load(tmp_path / "b.npz") as arrays:
        assert arrays["joints_delta"].ndim == 3 and not {"persons", "image_size", "scores"} & set(arrays), "as before there were several"
    with pytest.raises(TrainingError, match="persons is 0"):
        make_own_corpus(takes, tmp_path / "c.npz", persons=0)
    (tmp_path / "both").mkdir()
    for i, clip in enumerate([*person_clips()[:2], *person_clips("coco17", 2)[:2]]):
        skelzoo.save_clips(tmp_path / f"both/{i}.npz", [clip])
    assert [
        str(r).count("its joints are 2-D, and those of the file 3-D") for r in make_own_corpus(str(tmp_path / "both"), tmp_path / "d.npz", persons=2).refused
    ] == [1, 1]


def recipe_of(method: str, contract: Contract, file: str = "mine.npz", **changes: Any) -> Recipe:
    arch = {"skeattnclr": "skeattnclr-stgcn", "skeletonmae": "skeletonmae-strl", "psp": "psp"}[method]
    options: dict[str, Any] = {**SMALL[arch], **({"num_frames": contract.frames} if "num_frames" in SMALL[arch] else {})}
    options |= {"num_persons": 2} if method == "skeletonmae" else {}
    given = {"method_options": {"queue": 16} if method == "skeattnclr" else {}, "stored_frames": contract.frames, **changes}
    return Recipe(
        "tiny", method, arch, options, contract, DataOptions([file], window=40, hop=30, max_step=100.0), steps=2, batch_size=4, precision="32-true", **given
    )


def whole(file: Path) -> list[Clip]:
    return list(read_corpus(file).clips)  # of at most one and a half windows


def array_of(run: Path) -> np.ndarray:
    return np.load(next(run.glob("windows-*.npy")))


@pytest.mark.parametrize(("method", "contract", "file"), [("skeattnclr", NTU, "mine.npz"), ("psp", PSP, "mine.npz"), ("skeletonmae", COCO, "flat.npz")])
def test_each_method_is_pretrained_on_two_persons_and_measured(data: Path, tmp_path: Path, method: str, contract: Contract, file: str) -> None:  # fmt: skip
    recipe = recipe_of(method, contract, file)
    encoder = skelzoo.load(f"local:{pretrain(recipe, data, tmp_path / 'run', device='cpu')}", device="cpu")
    array, clips = array_of(tmp_path / "run"), whole(data / file)
    assert array.shape == (COUNT, *contract.replace(streams=("joint",)).shape) and encoder.contract == contract
    for row, clip in zip(array, clips, strict=True):
        np.testing.assert_array_equal(row, prepare(clip, contract)[: contract.channels])
        assert row[..., 1].any() == (clip.persons == 2)
    alone = clips[1].replace(keypoints=clips[1].keypoints[:1], scores=None)
    assert np.abs(encoder.embed([clips[1]]) - encoder.embed([alone])).max() > 1e-5, "the second person counts"

    def part(*numbers: int) -> Any:
        return lambda corpus: np.isin(np.arange(len(corpus)) % 8, numbers)

    parts = part(0, 1, 2, 3), part(4, 5, 6, 7)
    pairs = Benchmark("pairs", file, "pairs", *parts, dimension=contract.channels)
    split = standard_clips(pairs, data)
    assert split.persons == 2 and [c.persons for c in split.test] == [1, 2, 1, 2]
    for model in ("coordinates", "statistics"):
        assert evaluate(model, pairs, data)[0].test_clips == 4
    with pytest.raises(TrainingError, match="4 of the 4 test clips"):
        evaluate(f"local:{tmp_path}/run/weights", pairs, data, device="cpu")
    encoder.pretrained_on = ()
    encoder.save(tmp_path / "other")
    assert evaluate(f"local:{tmp_path}/other", pairs, data, device="cpu")[0].test_clips == 4
    with pytest.raises(TrainingError, match=f"its clips are {contract.channels}-D. Say so with Benchmark"):
        standard_clips(dataclasses.replace(pairs, dimension=5 - contract.channels), data)


def test_windows_of_a_long_clip_hold_who_is_there(data: Path, tmp_path: Path) -> None:
    clip = make_clip(0, 100, 2, "ntu25")
    clip.keypoints[0, 55:] = clip.keypoints[1, :50] = 0
    skelzoo.save_clips(tmp_path / "long.npz", [clip, make_clip(1, 30, 2, "ntu25")])
    make_own_corpus(str(tmp_path / "long.npz"), tmp_path / "data/mine.npz", persons=2)
    recipe = dataclasses.replace(recipe_of("skeattnclr", NTU), batch_size=3, method_options={"queue": 3})
    pretrain(recipe, tmp_path / "data", tmp_path / "run", device="cpu", stop_after=1)
    array = array_of(tmp_path / "run")
    assert array[..., 0].any(axis=(1, 2, 3)).all() and array[..., 1].any(axis=(1, 2, 3)).tolist() == [False, True, False, True]


def test_motion_at_the_rate_of_the_recording(data: Path, tmp_path: Path) -> None:
    moving = [{"op": "freeze_joints", "probability": 0.5}, {"op": "jitter"}]
    with pytest.warns(UserWarning, match="half of the windows have at most 36 frames and are stretched to the 60 of stored_frames"):
        pretrain(recipe_of("psp", PSP, stored_frames=60), data, tmp_path / "stretched", device="cpu", stop_after=1)
    recipe = recipe_of("psp", PSP, stored_frames=60, native_rate=True)
    run = Run(recipe, tmp_path / "run", data, "cpu")
    array, method = torch.from_numpy(array_of(tmp_path / "run")), run.method.module
    assert array.shape[2] == 60
    (views,) = method.views(array)
    for kept, view, clip in zip(array.numpy(), views.numpy(), whole(data / "mine.npz"), strict=True):
        steps = (*PSP.steps[: PSP.steps.index(STREAMS_HERE)], STREAMS_HERE)
        native = prepare(clip, PSP.replace(steps=steps, frames=clip.frames))
        np.testing.assert_array_equal(kept[:, : clip.frames], native[:3])
        assert not kept[:, clip.frames :].any()
        for stream, whole_stream in ((view[:3], native[:3]), (view[3:], native[3:])):
            index = [next(t for t in range(clip.frames) if np.array_equal(stream[:, i], whole_stream[:, t])) for i in range(50)]
            assert index == sorted(index) and max(map(index.count, index)) <= -(-50 // clip.frames)
    assert pretrain(dataclasses.replace(recipe, method_options={"augmentations": moving}), data, tmp_path / "moved", device="cpu").is_dir()
    with pytest.raises(ClipError, match="clip5: has 41 frames, and at most 40 are kept"):
        pretrain(dataclasses.replace(recipe, stored_frames=40), data, tmp_path / "short", device="cpu")


def test_frames_are_drawn_from_the_length_of_each_clip() -> None:
    lengths = torch.tensor([3, 9, 24])
    x = torch.arange(24.0)[None, None, :, None, None].expand(3, 1, 24, 1, 1)
    for seed in range(20):
        torch.manual_seed(seed)
        drawn = random_frames_of(x, lengths, 9)[:, 0, :, 0, 0].long().tolist()
        assert drawn[0] == sorted([0, 1, 2] * 3) and drawn[1] == list(range(9)) and drawn[2] == sorted(set(drawn[2])) and max(drawn[2]) < 24


TO_60 = {"step": "resample", "frames": 60}


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (recipe_of("skeletonmae", COCO), r"mine\.npz holds 3-D joints, and the contract is of those of pictures\. Let film_joints"),
        (recipe_of("skeattnclr", NTU, "flat.npz"), r"flat\.npz holds 2-D joints, and 3-D ones are kept"),
        (dataclasses.replace(recipe_of("skeletonmae", COCO), data=DataOptions(["flat.npz", "mine.npz"])), r"flat\.npz holds 2-D joints and mine\.npz 3-D ones"),
        (recipe_of("skeattnclr", NTU, native_rate=True), "native_rate is for method psp"),
        (recipe_of("psp", PSP, native_rate=True, method_options={"augmentations": [{"op": "reverse"}]}), "Leave it out or reverse"),
        (recipe_of("psp", PSP.replace(steps=({"step": "resample", "frames": 50}, STREAMS_HERE)), native_rate=True), "no resample before it"),
        (
            recipe_of("psp", PSP.replace(steps=(TO_60, *PSP.steps)), stored_frames=96),
            r"between 60 frames, the method between the 96 .*Set stored_frames to 60\.",
        ),
        (recipe_of("psp", PSP.replace(steps=(PSP.steps[-1],)), stored_frames=96), r"Set stored_frames to 50\."),
        (
            recipe_of("skeattnclr", NTU.replace(steps=(STREAMS_HERE, {**TO_60, "frames": NTU.frames}), streams=PSP.streams)),
            r"Take the step streams out of the contract\.",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(data: Path, tmp_path: Path, recipe: Recipe, says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        pretrain(recipe, data, tmp_path / "run", device="cpu")
