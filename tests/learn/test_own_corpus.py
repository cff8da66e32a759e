"""Corpus files of recordings of one's own, and pretraining on them."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from tiny import make_clip, write_json

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import TrainingError, WriteError
from skelzoo.learn.benchmarks import joints_hash
from skelzoo.learn.held_out import held_out
from skelzoo.learn.own_corpus import make_own_corpus
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.corpus import Corpus, read_corpus, save_corpus
from skelzoo.skeleton.procedural import make

DOCS = Path(__file__).resolve().parents[2] / "docs"


def run(*args: object) -> Result:
    result = CliRunner().invoke(main, list(map(str, args)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def save(path: Path, clip: Clip) -> Clip:
    path.parent.mkdir(parents=True, exist_ok=True)
    skelzoo.save_clips(path, [clip])
    return clip


@pytest.fixture
def takes(tmp_path: Path) -> Path:
    """walk and wave by persons 1, 2 and 12, the recordings of one person under one name."""
    for label in ("walk", "wave"):
        for person in (1, 2, 12):
            save(tmp_path / f"takes/{label}/person{person}/take.npz", make(label, frames=40, seed=person).replace(label=None, name="take"))
    return tmp_path / "takes"


def table_of(path: Path, **options: object) -> Corpus:
    make_own_corpus(str(path), path.parent / "data/mine.npz", overwrite=True, **options)  # type: ignore[arg-type]
    return read_corpus(path.parent / "data/mine.npz")


def test_every_column_is_filled(takes: Path) -> None:
    table = table_of(takes, subject=r"person(\d+)", label_from="folder", licence="mine alone")
    assert table.clip_names == tuple(f"{label}/person{p}/take.npz/take" for label in ("walk", "wave") for p in (1, 12, 2))
    assert table.subject.tolist() == [1, 12, 2] * 2 and [c.label for c in table.clips] == ["walk"] * 3 + ["wave"] * 3
    assert (table.licence, table.layout.name, table.flags.tolist(), table.split.tolist()) == ("mine alone", "kinect20", [0] * 6, [-1] * 6)
    for clip, step in zip(table.clips, table.max_step, strict=True):
        label, person = clip.name.split("/")[0], int(re.findall(r"\d+", clip.name)[0])
        np.testing.assert_allclose(clip.keypoints, make(label, frames=40, seed=person).keypoints, atol=6e-4)
        assert step == pytest.approx(np.linalg.norm(np.diff(clip.keypoints, axis=1), axis=-1).max(), abs=2e-3) and 0 < step < 1
    assert held_out(table, {"subjects": [2, 12]}).tolist() == [False, True, True] * 2


def test_labels_are_not_needed_and_names_become_subjects(takes: Path) -> None:
    named = save(takes / "wave/person1/own.npz", make("wave", frames=30, seed=7).replace(label="hello", name="own"))
    report = make_own_corpus(str(takes), takes / "mine.npz", subject="^[a-z]+")
    assert report.labels == {"": 6, "hello": 1} and report.subjects == {0: "walk", 1: "wave"} and not report.refused
    table = read_corpus(takes / "mine.npz")
    assert table.label.tolist() == [-1, -1, -1, 0, -1, -1, -1] and table.clip_names[3] == named.name and table.subject.tolist() == [0] * 3 + [1] * 4
    assert make_own_corpus(str(takes), takes / "mine.npz", overwrite=True).clips == 7  # not of what it wrote
    assert [str(r).rpartition(" has ")[2][:8] for r in make_own_corpus(str(takes), takes / "b.npz", label_from="file").refused[:6]] == ["no label"] * 6


def test_clips_are_brought_to_one_layout_rate_and_person(tmp_path: Path) -> None:
    kinect = skelzoo.get_layout("kinect20")
    own = skelzoo.make_layout("own", {f"my {joint}": kinect.own.get(joint) for joint in kinect.joints}, kinect.parents)
    walk = make("walk", frames=40, seed=0)
    fast = np.insert(np.repeat(walk.keypoints, 2, axis=1), [6, 6, 6], 0, axis=1)
    gaps = np.concatenate([np.zeros_like(walk.keypoints[:, :3]), walk.keypoints], axis=1)
    for name, clip in {
        "a": Clip(walk.keypoints, own, 30), "b": Clip(fast, "kinect20", 59.94), "c": Clip(gaps, "kinect20"), "d": Clip(np.concatenate([walk.keypoints, 0 * walk.keypoints]), "kinect20", 30),
        "e": Clip(np.concatenate([walk.keypoints * 0.1, walk.keypoints]), "kinect20", 30),
    }.items():  # fmt: skip
        save(tmp_path / f"takes/{name}.npz", clip.replace(name=name))
    report = make_own_corpus(str(tmp_path / "takes"), tmp_path / "mine.npz", select_persons=True)
    assert report.converted == {"own": 1} and report.rate_unknown == 1 and not report.refused
    for clip in read_corpus(tmp_path / "mine.npz").clips:
        assert (clip.layout.name, clip.fps, clip.persons) == ("kinect20", 30, 1)
        np.testing.assert_allclose(clip.keypoints, walk.keypoints, atol=6e-4)


@pytest.mark.parametrize(("reach", "parts"), [(3, 9), (8, 3), (15, 1), (31.9, 1)])
def test_joints_are_held_as_finely_as_int16_can(tmp_path: Path, reach: float, parts: int) -> None:
    """And a clip has the hash of the recording and of its copy in millimetres."""
    clip = make("walk", frames=40, seed=0)
    clip.keypoints[..., 0] += reach - clip.keypoints[..., 0].max()
    save(tmp_path / "takes/a.npz", clip)
    table = table_of(tmp_path / "takes")
    step = np.load(tmp_path / "data/mine.npz")["scale"]
    assert step == pytest.approx(0.001 / parts)
    np.testing.assert_allclose(table.clips[0].keypoints, clip.keypoints, atol=0.51 * step)
    save_corpus(tmp_path / "mm.npz", replace(table, clips=(clip,)))
    (coarse,) = read_corpus(tmp_path / "mm.npz").clips
    assert np.load(tmp_path / "mm.npz")["scale"] == np.float32(0.001)
    assert joints_hash(coarse) == joints_hash(table.clips[0]) == joints_hash(clip) == sha256(coarse.keypoints.tobytes()).hexdigest()


@pytest.mark.needs_shared
def test_motion_survives_the_file(shared: Path, tmp_path: Path) -> None:
    """The motion stream of PSP, computed at the native rate, of recordings and of their corpus file."""
    recordings = str(shared / "data/raw/utd_mhad/*.mat")
    make_own_corpus(recordings, tmp_path / "mine.npz")
    contract, errors = skelzoo.load("psp-nwucla", pretrained=False, device="cpu").contract, []
    given = {c.name: c for file in skelzoo.find_files([recordings]) for c in skelzoo.read(file)}
    for clip in read_corpus(tmp_path / "mine.npz").clips:
        held, motion = (skelzoo.prepare(c, contract)[3:] for c in (clip, given[clip.name.rpartition("/")[2]]))
        errors.append(np.median(np.sqrt(((held - motion) ** 2).mean((0, 1, 3)) / (motion**2).mean((0, 1, 3)))))
    assert len(errors) == 4 and max(errors) < 0.03


def test_bodies_that_are_never_there_together_are_one_person_and_frames_lost_are_told(tmp_path: Path) -> None:
    walk = make("walk", frames=40, seed=0)
    halves = np.repeat(walk.keypoints, 2, axis=0)
    halves[0, 15:] = halves[1, :15] = 0
    third = np.concatenate([halves, 0 * walk.keypoints])
    third[2, 10:20] = walk.keypoints[0, 10:20] + 1
    for name, keypoints in {"changes": halves, "third": third}.items():
        save(tmp_path / f"takes/{name}.npz", Clip(keypoints, "kinect20", 30, name=name))
    report = make_own_corpus(str(tmp_path / "takes"), tmp_path / "mine.npz")
    assert (report.clips, report.joined, report.shortened) == (1, 1, {}) and "third: has 3 persons" in str(report.refused[0])
    np.testing.assert_allclose(read_corpus(tmp_path / "mine.npz").clips[0].keypoints, walk.keypoints, atol=6e-4)
    result = run("corpus", "make", tmp_path / "takes", "--to", tmp_path / "mine.npz", "--select-persons", "--overwrite")
    assert "in 1 clips there are several bodies, never two at a time" in result.stdout
    assert "third.npz/third: 25 of 40 frames were kept; in" in result.stdout and read_corpus(tmp_path / "mine.npz").clips[1].frames == 25
    third[2] = walk.keypoints[0] + 1
    save(tmp_path / "takes/third.npz", Clip(third, "kinect20", 30, name="third"))
    report = make_own_corpus(str(tmp_path / "takes"), tmp_path / "mine.npz", persons=2, select_persons=True, overwrite=True)
    assert report.shortened == {"third.npz/third": (65, 80)} and "65 of 80 frames were kept, counted for each person; in" in str(report)


def test_in_pictures_scores_are_of_who_is_there_and_joints_outside_are_left_out(tmp_path: Path) -> None:
    flat = make_clip(1, 40, layout="coco17", channels=2).keypoints[0] * 50 + 500
    halves = np.stack([flat, flat])
    halves[0, 15:] = halves[1, :15] = 0
    scores = np.random.default_rng(0).uniform(0.2, 0.8, halves.shape[:3])
    save(tmp_path / "takes/changes.npz", Clip(halves, "coco17", 30, scores, name="changes"))
    save(tmp_path / "takes/outside.npz", Clip(flat[None] * 40, "coco17", 30, name="outside"))
    report = make_own_corpus(str(tmp_path / "takes"), tmp_path / "mine.npz")
    (clip,) = read_corpus(tmp_path / "mine.npz").clips
    assert clip.scores is not None and report.joined == 1 and "outside: has joints at" in str(report.refused[0])
    np.testing.assert_allclose(clip.scores[0], np.concatenate([scores[0, :15], scores[1, 15:]]), atol=1e-6)


def test_what_is_left_out_is_named(takes: Path) -> None:
    save(takes / "two.npz", make_clip(1, persons=2))
    save(takes / "flat.npz", make_clip(2, channels=2))
    save(takes / "slow.npz", make_clip(3).replace(fps=31))
    save(takes / "legs.npz", Clip(make_clip(5).keypoints[:, :, :3], skelzoo.make_layout("legs", ["a", "b", "c"], [-1, 0, 1]), 30))
    save(takes / "millimetres.npz", make_clip(4).replace(keypoints=make_clip(4).keypoints * 1000))
    (takes / "broken.bvh").write_text("HIERARCHY")
    (takes / "notes.txt").write_text("read me")
    result = run("corpus", "make", takes, "--to", takes.parent / "mine.npz", "--label-from", "file")
    assert result.exit_code == 1 and "nothing was written" in result.stderr and not (takes.parent / "mine.npz").exists()
    result = run("corpus", "make", takes, "--to", takes.parent / "mine.npz")
    said = {"two.npz": "has 2 persons.*--select-persons", "flat.npz": "joints are 2-D", "slow.npz": "at 31 fps, which is no multiple.*--fps"}
    said |= {"legs.npz": "too few joints", "millimetres.npz": "Check that its unit is the metre", "broken.bvh": ""}
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ") and "left out" not in line]
    assert result.exit_code == 1 and len(errors) == len(said)
    assert all(any(re.search(f"{file}.*{text}", line) for line in errors) for file, text in said.items())
    assert "1 files are of no format that is read: 1 .txt" in result.stderr and "mine.npz: 6 clips, kinect20, 30 fps" in result.stdout


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("verb", [["read"], ["corpus", "make", "--to", "FILE"]], ids=" ".join)
def test_axes_and_a_t_pose_before_the_motion_are_warned_of_once_as_files_are_read(tmp_path: Path, verb: list[str]) -> None:
    for seed in range(2):
        clip = make("walk", seed=seed)
        clip.keypoints[:, 0, 4:12, 1] += 1  # the arms
        save(tmp_path / f"takes/{seed}.npz", clip.replace(keypoints=clip.keypoints[..., [0, 2, 1]] * np.float32([1, -1, 1])))
    result = run(*(str(tmp_path / "a.npz") if word == "FILE" else word for word in verb), tmp_path / "takes")
    warned = [line for line in result.stderr.splitlines() if line.startswith(f"warning: {tmp_path / 'takes/0.npz'} walk-0 and 1 more clip: ")]
    assert result.exit_code == 0 and len(warned) == 2 and "the spine points along z" in warned[0] and "the first frame is far from" in warned[1]


def test_jumps_are_counted(takes: Path) -> None:
    clip = make("walk", frames=40, seed=0)
    keypoints = clip.keypoints.copy()
    keypoints[0, 20] += 3
    save(takes / "jump.npz", clip.replace(keypoints=keypoints))
    report = make_own_corpus(str(takes), takes.parent / "mine.npz")
    assert report.jumping == 1 and "in 1 clips a joint moves more than 1 m" in str(report)


def test_what_cannot_be_made(takes: Path) -> None:
    make_own_corpus(str(takes), takes.parent / "mine.npz")
    for to, error, says in ((takes.parent / "mine.npz", WriteError, "is there already.*--overwrite"), (takes.parent / "mine.csv", WriteError, r"is no \.npz")):
        with pytest.raises(error, match=says):
            make_own_corpus(str(takes), to)
    with pytest.raises(TrainingError, match=r"Give one of --label, .*table= in Python"):
        make_own_corpus(str(takes), takes.parent / "new.npz", table="t.csv", label="x")
    with pytest.raises(TrainingError, match="Give one of --label"):
        make_own_corpus(str(takes), takes.parent / "new.npz", label_from="file", label="x")
    with pytest.raises(TrainingError, match=r"no clip could be used.*no such file"):
        make_own_corpus(str(takes / "nowhere"), takes.parent / "new.npz")
    with pytest.raises(TrainingError, match="frames per second"):
        make_own_corpus(str(takes), takes.parent / "new.npz", fps=0)


def test_the_recipe_of_the_page_runs(takes: Path) -> None:
    (block,) = re.findall(r"^```json\n(\{\n.*?)^```", (DOCS / "corpora.md").read_text(encoding="utf-8"), re.M | re.S)
    for label, (person, number) in itertools.product(("walk", "wave"), ((1, 7), (2, 8))):
        (takes / f"{label}/person{person}").rename(takes / f"{label}/person{number}")
    recipe = write_json(takes.parent / "mine-recipe.json", {**json.loads(block), "steps": 1, "batch_size": 2, "precision": "32-true"})
    assert run("corpus", "make", takes, "--to", takes.parent / "data/mine.npz", "--subject", r"person(\d+)").exit_code == 0
    result = run("pretrain", recipe, "--data", takes.parent / "data", "--out", takes.parent / "run", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert np.load(next((takes.parent / "run").glob("windows-*.npy"))).shape[0] == 2  # of person 12
    assert skelzoo.load(f"local:{takes.parent}/run/weights", device="cpu").embed([make("walk", frames=40, seed=0)]).shape[0] == 1
