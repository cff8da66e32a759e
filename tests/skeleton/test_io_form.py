"""What is said of files that leave open their layout, axes or frame rate: on the command line, in Python, and for stores and corpus files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from tiny import make_clip, make_encoder

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import AxesError, ClipError, LayoutError, ReadError, SkelzooError
from skelzoo.skeleton.io.corpus import read_table

JOINTS = np.concatenate([make_clip(frames=30).keypoints[0], np.ones((30, 4, 3), np.float32)], axis=1)  # 24, as SMPL has


def run(*args: object) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder of bare arrays, coordinates first; the walk and its mirror image."""
    x = skelzoo.remap(make_clip(frames=30), "kinect20").keypoints[0]
    (tmp_path / "bare/walk").mkdir(parents=True)
    for name, sign in (("a", 1), ("b", -1)):
        np.save(tmp_path / f"bare/walk/{name}.npy", (x * [sign, 1, 1]).transpose(2, 0, 1))
    return tmp_path / "bare"


SAID = ("--layout", "kinect20", "--axes", "c t v", "--fps", "20")


def test_a_bare_array_is_what_the_caller_says(bare: Path) -> None:
    (clip,) = skelzoo.read(bare / "walk/a.npy", layout="kinect20", axes="c t v", fps=20)
    assert np.array_equal(clip.keypoints[0], np.load(bare / "walk/a.npy").transpose(1, 2, 0)) and (clip.layout.name, clip.fps) == ("kinect20", 20)
    told = run("read", bare, *SAID)
    assert told.exit_code == 0 and "kinect20" in told.stdout.splitlines()[1] and " 20 " in told.stdout
    assert run("read", bare).exit_code == 1


def test_the_caller_fills_in_and_a_guess_from_the_joints_gives_way(tmp_path: Path) -> None:
    np.save(tmp_path / "h36m.npy", np.random.default_rng(0).normal(size=(5, 17, 2)))
    np.savez(tmp_path / "rates.npz", keypoints=np.ones((2, 1, 5, 25, 3)), layout="ntu25", fps=[np.nan, 30])
    assert [skelzoo.read(tmp_path / "h36m.npy", layout=name)[0].layout.name for name in (None, "h36m17")] == ["coco17", "h36m17"]
    assert [c.fps for c in skelzoo.read(tmp_path / "rates.npz", layout="ntu25", fps=30)] == [30, 30]


@pytest.mark.parametrize(
    ("own", "said", "error", "message"),
    [
        ({"layout": "smpl24"}, {"layout": "ntu25"}, ReadError, "'smpl24', and you say 'ntu25'"),
        ({"layout": "smpl24", "axes": "t v c"}, {"axes": "c t v"}, ReadError, "'t v c', and you say 'c t v'"),
        ({"layout": "smpl24", "fps": 25}, {"fps": 30.0}, ClipError, "25 fps, and you say 30"),
        ({}, {"layout": "smpl"}, LayoutError, "no layout 'smpl'"),
        ({}, {"layout": "smpl24", "axes": "tvc"}, AxesError, "'tvc'"),
        ({}, {"layout": "smpl24", "axes": "c t v"}, ReadError, "'t v c'"),
        ({}, {"layout": "smpl24", "fps": -1.0}, ClipError, "fps is -1"),
        ({}, {}, ReadError, r"could be .*smpl24.*--layout \S+ on the command line"),
    ],
)
def test_a_file_is_not_contradicted(tmp_path: Path, own: dict[str, object], said: dict[str, str], error: type[SkelzooError], message: str) -> None:
    np.savez(tmp_path / "take.npz", keypoints=JOINTS, **own)  # type: ignore[arg-type]
    with pytest.raises(error, match=message):
        skelzoo.read(tmp_path / "take.npz", **said)  # type: ignore[arg-type]


def test_other_formats_keep_their_own_layout(tmp_path: Path) -> None:
    skelzoo.save_clips(tmp_path / "clips.npz", [make_clip(0, frames=9), make_clip(1, frames=12)])
    assert len(skelzoo.read(tmp_path / "clips.npz", layout="kinect20", axes="t v c")) == 2
    with pytest.raises(ReadError, match="'kinect20', and you say 'ntu25'"):
        skelzoo.read(tmp_path / "clips.npz", layout="ntu25")


def test_parameters_of_amass_are_no_joints(tmp_path: Path) -> None:
    np.savez(tmp_path / "amass.npz", poses=np.zeros((9, 156)), trans=np.zeros((9, 3)), betas=np.zeros(16))
    with pytest.raises(ReadError, match=r"AMASS.*axis-angle.*Compute the joints"):
        skelzoo.read(tmp_path / "amass.npz")


def test_every_verb_takes_it_and_a_store_keeps_it(bare: Path, tmp_path: Path) -> None:
    model = f"local:{make_encoder().save(tmp_path / 'tiny')}"
    (bare / "wave").mkdir()
    np.save(bare / "wave/a.npy", np.load(bare / "walk/a.npy"))
    np.save(tmp_path / "many.npy", np.stack([np.load(bare / f"walk/{name}.npy") for name in "ab"])[..., None])
    for axes, path, count in (("c t v", bare / "walk", 2), ("n c t v m", tmp_path / "many.npy", 2)):
        said = ("--layout", "kinect20", "--axes", axes)
        assert run("classify", model, path, *said).exit_code == 0
        assert run("embed", model, path, *said, "-o", tmp_path / "v.npy").exit_code == 0
        assert run("embed", model, path, *said, "--out", tmp_path / f"store{len(axes)}").exit_code == 0
        stored = np.load(tmp_path / f"store{len(axes)}/embeddings.npy")
        assert stored.shape[0] == count and np.allclose(stored, np.load(tmp_path / "v.npy"), atol=1e-5)
    tuned = run("finetune", model, bare, "--out", tmp_path / "tuned", "--layout", "kinect20", "--axes", "c t v", "--epochs", 1, "--validation", 0)
    assert tuned.exit_code == 0 and "--axes 'c t v'" in (tmp_path / "tuned/README.md").read_text(), tuned.output
    row = json.loads((tmp_path / "store5/store.json").read_text())
    assert (row["array_layout"], row["array_axes"], row["array_fps"]) == ("kinect20", "c t v", None)
    other = run("embed", model, bare / "walk", "--layout", "kinect20", "--axes", "c t v", "--fps", "20", "--out", tmp_path / "store5")
    assert other.exit_code == 1 and "its array_fps is null, now it is 20" in other.stderr


def test_corpus_files_say_what_they_were_taken_for(bare: Path, tmp_path: Path) -> None:
    made = run("corpus", "make", bare, "--to", tmp_path / "mine.npz", "--label-from", "folder", *(w.replace("--", "--from-") for w in SAID), "--fps", "20")
    assert made.exit_code == 0, made.output
    assert read_table(tmp_path / "mine.npz").origin.endswith("where they do not say it: layout kinect20, axes c t v, fps 20.0")
