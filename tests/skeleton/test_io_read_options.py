"""What is said of files that leave open their layout, axes or frame rate: on the command line, in Python, and for stores and corpus files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from skeleton_samples import PERSON, write_bvh
from tiny import CONTRACT, make_clip, make_encoder

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import AxesError, ClipError, DoubtWarning, LayoutError, ReadError, SkelzooError
from skelzoo.learn.cameras import film
from skelzoo.skeleton.clip import FloatArray
from skelzoo.skeleton.io.corpus import read_corpus
from skelzoo.skeleton.io.one_by_one import open_reader
from skelzoo.skeleton.io.read_options import ReadOptions
from skelzoo.skeleton.procedural import make

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
        ({"layout": "smpl24", "fps": 30}, {"fps": 29.9}, ClipError, "30 fps, and you say 29.9"),
        ({}, {"layout": "smpl"}, LayoutError, r"no layout 'smpl'.*skelzoo\.save_clips"),
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


@pytest.mark.parametrize(("own", "said"), [(59.944, 59.94), (59.9398, 59.94), (30000 / 1001, 30.0), (30.0, 29.97)])
def test_a_rate_that_is_nearly_that_of_the_file_is_taken(tmp_path: Path, own: float, said: float) -> None:
    np.savez(tmp_path / "take.npz", keypoints=JOINTS, layout="smpl24", fps=own)
    assert [clip.fps for clip in skelzoo.read(tmp_path / "take.npz", fps=said)] == [said]


def test_other_formats_keep_their_own_layout(tmp_path: Path) -> None:
    skelzoo.save_clips(tmp_path / "clips.npz", [make_clip(0, frames=9), make_clip(1, frames=12)])
    assert len(skelzoo.read(tmp_path / "clips.npz", layout="kinect20", axes="t v c")) == 2
    with pytest.raises(ReadError, match="'kinect20', and you say 'ntu25'"):
        skelzoo.read(tmp_path / "clips.npz", layout="ntu25")


def test_what_is_said_of_arrays_in_a_mixed_folder_is_not_said_of_others(bare: Path) -> None:
    write_bvh(bare / "c.bvh", {joint: joint for joint in PERSON})
    columns = ",".join(f"{joint}_{c}" for joint in skelzoo.get_layout("ntu25").joints for c in "xyz")
    np.savetxt(bare / "d.csv", np.random.default_rng(0).normal(size=(3, 75)), delimiter=",", header=columns, comments="")
    told = run("read", bare, *SAID[:-2])
    assert told.exit_code == 0 and told.stderr == "" and [line.split()[4][:3] for line in told.stdout.splitlines()[1:]] == ["rig", "ntu", "kin", "kin"]


@pytest.mark.parametrize(("width", "channels", "layout"), [(60, 3, "kinect20"), (132, 4, "mediapipe33"), (165, 5, "mediapipe33")])
@pytest.mark.parametrize("said", [False, True])
def test_files_of_flat_rows_are_told_how_they_become_joints(tmp_path: Path, width: int, channels: int, layout: str, said: bool) -> None:
    np.save(tmp_path / "a.npy", np.ones((9, width)))
    with pytest.raises(ReadError, match=rf"shape \(9, {width}\).*[Ss]ave keypoints\.reshape\(len\(keypoints\), -1, {channels}\)(?i:.*layout)") as error:
        skelzoo.read(tmp_path / "a.npy", layout=layout if said else None)
    assert "Transpose" not in str(error.value) and layout in str(error.value)


@pytest.mark.parametrize("told", [{}, {"layout": "mediapipe33"}])
def test_arrays_of_landmarks_have_their_visibility_as_scores(tmp_path: Path, told: dict[str, str]) -> None:
    landmarks = np.random.default_rng(0).uniform(0.2, 0.8, size=(9, 33, 4)).astype(np.float32)
    np.savez(tmp_path / "a.npz", keypoints=landmarks, **told)
    (clip,) = skelzoo.read(tmp_path / "a.npz", image_size="1280x720")
    right = skelzoo.Clip(landmarks[..., :2] * np.float32([1280, 720]), "mediapipe33", scores=landmarks[..., 3], image_size=(720, 1280))
    assert clip.layout == right.layout and np.array_equal(clip.keypoints, right.keypoints) and np.array_equal(clip.scores, right.scores)


@pytest.mark.parametrize(("axes", "persons"), [("t v c", 1), ("c t v", 1), ("n t v c", 1), ("n c t v m", 2)])
def test_landmarks_in_any_order_of_axes_have_their_visibility_as_scores(tmp_path: Path, axes: str, persons: int) -> None:
    samples = np.random.default_rng(0).uniform(0.2, 0.8, size=(12 if "n" in axes else 1, persons, 9, 33, 4)).astype(np.float32)
    np.save(tmp_path / "a.npy", np.einsum(f"nmtvc->{axes.replace(' ', '')}", samples))
    clips = skelzoo.read(tmp_path / "a.npy", layout="mediapipe33", axes=axes)
    assert np.array_equal([c.keypoints for c in clips], samples[..., :3]) and np.array_equal([c.scores for c in clips], samples[..., 3])


@pytest.mark.parametrize(
    ("shape", "said", "told"),
    [
        ((20, 9, 33, 4), {}, r"shape \(20, 9, 33, 4\).*--axes 'n t v c'"),
        ((20, 9, 33, 4), {"axes": "n t v c"}, "--layout mediapipe33"),
        ((4, 9, 33), {"layout": "mediapipe33"}, "'c t v' would fit"),
        ((4, 9, 25), {"layout": "ntu25", "axes": "c t v"}, r"4 coordinates \(shape \(4, 9, 25\)\).*scores=x\[\.\.\., 3\].*n m t v c"),
        ((9, 33, 5), {}, r"5 coordinates .*visibility and presence, save without the last: x\[\.\.\., :4\]"),
        ((5, 9, 33), {"layout": "mediapipe33", "axes": "c t v"}, "visibility and presence"),
        ((33, 4), {}, r"shape \(33, 4\)\. If this is one frame, .* save keypoints\[None\]\. Say the layout: with --layout mediapipe33"),
        ((33, 4), {"layout": "mediapipe33"}, r"shape \(33, 4\) .*If this is one frame"),
        ((20, 3), {"layout": "kinect20"}, "If this is one frame"),
    ],
)
def test_arrays_of_landmarks_and_frames_are_told_what_to_say(tmp_path: Path, shape: tuple[int, ...], said: dict[str, str], told: str) -> None:
    np.save(tmp_path / "a.npy", np.full(shape, 0.5))
    with pytest.raises(ReadError, match=told) as error:
        skelzoo.read(tmp_path / "a.npy", **said)
    assert "Transpose" not in str(error.value)


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
    assert read_corpus(tmp_path / "mine.npz").origin.endswith("where they do not say it: layout kinect20, axes c t v, fps 20.0")


@pytest.mark.parametrize("up", ["y", "z", "x", "-y", "-z", "-x"])
def test_the_axis_that_points_up_becomes_y_by_a_rotation(tmp_path: Path, up: str) -> None:
    joints = np.stack([JOINTS[:, :20], JOINTS[:, 4:]])[:, None]
    np.savez(tmp_path / "a.npz", keypoints=joints, layout="kinect20")
    clips, reader = skelzoo.read(tmp_path / "a.npz", up=up), open_reader(tmp_path / "a.npz", ReadOptions(up=up))
    assert reader is not None
    assert all(np.array_equal(a.keypoints, b.keypoints) for a, b in zip(clips, reader.clips(0, 2), strict=True))  # type: ignore[union-attr]
    reader.close()
    for clip, given in zip(clips, joints, strict=True):
        assert np.array_equal(clip.keypoints[..., 1], given[..., "xyz".index(up[-1])] * (-1 if up[0] == "-" else 1))
        assert np.allclose(np.linalg.det(clip.keypoints[:, :, 5:8]), np.linalg.det(given[:, :, 5:8]), rtol=1e-4)  # of a mirror it is the negative


def test_a_rig_that_is_turned_by_itself_is_turned_once(tmp_path: Path) -> None:
    path = write_bvh(tmp_path / "a.bvh", {joint: joint for joint in PERSON}, z_up=True)
    own, (told,), (as_it_is,) = skelzoo.read(path)[0].keypoints, skelzoo.read(path, up="z"), skelzoo.read(path, up="y")
    assert np.array_equal(told.keypoints, own) and np.allclose(as_it_is.keypoints[..., [0, 2, 1]] * [1, 1, -1], own, atol=1e-6)


@pytest.mark.parametrize("said", ["z", "x", "-y", "-z", "-x"])
def test_where_another_axis_was_said_the_warning_names_that_of_the_file(tmp_path: Path, said: str) -> None:
    upright = make("wave", frames=30)
    for axis, keypoints in (("y", upright.keypoints), ("x", upright.keypoints[..., [1, 0, 2]] * [1, -1, 1])):
        np.savez(tmp_path / "a.npz", keypoints=keypoints, layout=upright.layout.name)
        if said != axis:
            with pytest.warns(DoubtWarning, match=rf"If {axis} points up in your data, read the file with --up {axis} "):
                skelzoo.prepare(skelzoo.read(tmp_path / "a.npz", up=said)[0], CONTRACT)


@pytest.mark.filterwarnings("default")
def test_other_axes_are_warned_of_and_mended_as_the_warning_says(tmp_path: Path) -> None:
    model, upright = f"local:{make_encoder().save(tmp_path / 'tiny')}", skelzoo.remap(make("wave", frames=30), "kinect20")
    for name, keypoints in (("y", upright.keypoints), ("x", upright.keypoints[..., [1, 0, 2]] * [1, -1, 1])):
        np.savez(tmp_path / f"{name}.npz", keypoints=keypoints, layout="kinect20")
    told = run("embed", model, tmp_path / "x.npz", "-o", tmp_path / "x.npy")
    assert "read the file with --up x (up='x' in skelzoo.read)" in told.stderr
    assert run("embed", model, tmp_path / "x.npz", "--up", "x", "-o", tmp_path / "x.npy").stderr == ""
    assert run("embed", model, tmp_path / "x.npz", "--out", tmp_path / "store", "--up", "x").exit_code == 0
    run("embed", model, tmp_path / "y.npz", "-o", tmp_path / "y.npy")
    assert np.array_equal(np.load(tmp_path / "x.npy"), np.load(tmp_path / "y.npy"))
    assert np.allclose(np.load(tmp_path / "store/embeddings.npy"), np.load(tmp_path / "y.npy"), atol=1e-5)
    assert 'its up is "x", now it is null' in run("embed", model, tmp_path / "x.npz", "--out", tmp_path / "store").stderr
    assert run("corpus", "make", tmp_path / "x.npz", "--to", tmp_path / "mine.npz", "--up", "x").exit_code == 0
    (made,) = skelzoo.read(tmp_path / "mine.npz")
    assert np.allclose(made.keypoints, upright.keypoints, atol=1e-3) and read_corpus(tmp_path / "mine.npz").origin.endswith("; turned from x up")


@pytest.mark.parametrize(
    ("keypoints", "up", "error", "message"),
    [(JOINTS[:, :17, :2], "z", ClipError, "its joints are 2-D"), (JOINTS[:, :20], "Z", AxesError, "up is 'Z'.*y, z, x, -y, -z, -x")],
)
def test_no_axis_of_joints_points_up_so(tmp_path: Path, keypoints: FloatArray, up: str, error: type[SkelzooError], message: str) -> None:
    np.save(tmp_path / "a.npy", keypoints)
    with pytest.raises(error, match=message):
        skelzoo.read(tmp_path / "a.npy", layout="kinect20" if keypoints.shape[-1] == 3 else "coco17", up=up)


@pytest.mark.filterwarnings("default")
def test_shares_of_a_picture_become_pixels_of_the_size_that_is_said(tmp_path: Path) -> None:
    """With a depth beside them and without; pixels stay as they are."""
    model, clip = "skeletonmae-openskel-2d", film(make("wave", frames=30), 0).replace(scores=None)
    size, (height, width) = "1920x1080", clip.image_size or (0, 0)
    shares = clip.keypoints[0] / [width, height]
    noted = {"px": f"taken as pixels of a picture of {size}"} | dict.fromkeys(("xy", "xyz"), f"shares of a picture of {size}")
    for name, places in (("px", clip.keypoints[0]), ("xy", shares), ("xyz", np.dstack([shares, shares.mean(2) / 9 - 0.05]))):
        header = [f"{joint.upper()}_{axis}" for joint in clip.layout.joints for axis in "xyz"[: places.shape[2]]]
        np.savetxt(tmp_path / f"{name}.csv", places.reshape(30, -1), delimiter=",", header=",".join(header), comments="")
        (read,) = skelzoo.read(tmp_path / f"{name}.csv", image_size=size)
        assert np.allclose(read.keypoints, clip.keypoints, atol=1e-2) and (read.image_size, read.notes) == ((1080, 1920), (noted[name],))
        assert ("--image-size 1280x720" in run("embed", model, tmp_path / f"{name}.csv", "-o", tmp_path / "v.npy").stderr) == (name != "px")
        assert run("embed", model, tmp_path / f"{name}.csv", "-o", tmp_path / f"{name}.npy", "--image-size", size).stderr == ""
        assert np.allclose(np.load(tmp_path / f"{name}.npy"), np.load(tmp_path / "px.npy"), atol=1e-3)
    store = ("embed", model, tmp_path / "xyz.csv", "--out", tmp_path / "store")
    assert run(*store, "--image-size", size).exit_code == 0 and 'its image_size is "1920x1080", now it is null' in run(*store).stderr


@pytest.mark.parametrize("depth", [False, True])
def test_shares_become_pixels_though_a_joint_is_far_outside_and_some_are_not_found(tmp_path: Path, depth: bool) -> None:
    clip = film(make("wave", frames=30), 0)
    pixels = clip.keypoints.copy()
    pixels[0, 5, 16, 1] = 2.02 * 1080
    shares = pixels / np.float32([1920, 1080])
    pixels[0, 10:14], shares[0, 10:14], pixels[0, 20:, 9], shares[0, 20:, 9] = 0, -1, 0, -1
    np.savez(tmp_path / "a.npz", keypoints=np.concatenate([shares, np.full((1, 30, 17, 1), -0.1)], -1) if depth else shares, layout="coco17")
    (read,) = skelzoo.read(tmp_path / "a.npz", image_size="1920x1080")
    assert np.allclose(read.keypoints, pixels, atol=1e-2) and read.notes == ("shares of a picture of 1920x1080", "joints at (-1, -1) not found")


@pytest.mark.parametrize(("joints", "size", "message"), [
    (make_clip(frames=30), "1280x720", "its joints are 3-D and no shares of a picture"), (film(make_clip(frames=30), 0), "1280x720", "a picture of 1920x1080"),
    (film(make_clip(frames=30), 0), "1280 x 720", "image_size is '1280 x 720'.*such as '1280x720'[.]$"), (film(make_clip(frames=30), 0), (720, 1280), r"image_size is \(720, 1280\).*'1280x720'.*\(height, width\)"),
])  # fmt: skip
def test_no_picture_is_of_that_size(tmp_path: Path, joints: skelzoo.Clip, size: str, message: str) -> None:
    skelzoo.save_clips(tmp_path / "a.npz", joints)
    with pytest.raises(ClipError, match=message):
        skelzoo.read(tmp_path / "a.npz", image_size=size)


def with_gap(frames: int = 30, seed: int = 0) -> FloatArray:
    """A clip (1, T, V, C) of whose third joint a few frames are not known."""
    keypoints = make_clip(seed, frames=frames).keypoints.copy()
    keypoints[0, 5:9, 2] = np.nan
    return keypoints


@pytest.mark.parametrize("kind", ["npy", "npz", "parquet"])
def test_missing_joints_are_filled_where_that_is_asked_for(tmp_path: Path, kind: str) -> None:
    keypoints, path = np.stack([with_gap(seed=0), with_gap(seed=1)]), tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, keypoints)
    elif kind == "npz":
        np.savez(path, keypoints=keypoints.reshape(-1, 20, 3), shapes=[[1, 30], [1, 30]], layout="kinect20")
    else:
        rows = {"keypoints": [k.ravel().tolist() for k in keypoints], "layout": ["kinect20"] * 2, "frames": [30, 30]}
        pytest.importorskip("pyarrow.parquet").write_table(pytest.importorskip("pyarrow").table(rows), path)
    said = {"layout": "kinect20"} if kind == "npy" else {}
    filled = [skelzoo.fill_missing(k) for k in keypoints]
    assert all(np.array_equal(clip.keypoints, k) for clip, k in zip(skelzoo.read(path, **said, fill_missing=True), filled, strict=True))
    with pytest.raises(ClipError, match=r"NaN or infinite.*--fill-missing"):
        skelzoo.read(path, **said)
    reader = open_reader(path, ReadOptions(**said, fill_missing=True))
    assert reader is not None
    assert all(isinstance(clip, skelzoo.Clip) and np.array_equal(clip.keypoints, k) for clip, k in zip(reader.clips(0, 2), filled, strict=True))
    reader.close()


def test_a_joint_that_is_never_known_is_refused_with_the_name_of_its_clip(tmp_path: Path) -> None:
    keypoints = with_gap()
    keypoints[:, :, 2] = np.nan
    np.savez(tmp_path / "a.npz", keypoints=keypoints, layout="kinect20")
    with pytest.raises(ClipError, match=r"^a: joint 2 of person 0 is known in no frame"):
        skelzoo.read(tmp_path / "a.npz", fill_missing=True)


def test_every_verb_fills_missing_joints_and_a_store_keeps_it(tmp_path: Path) -> None:
    model = f"local:{make_encoder().save(tmp_path / 'tiny')}"
    for label in ("walk", "wave"):
        (tmp_path / "own" / label).mkdir(parents=True)
        np.savez(tmp_path / f"own/{label}/{label}.npz", keypoints=with_gap(), layout="kinect20", fps=30)
    for verb, *rest in (
        ("read",),
        ("classify", "--window", 10),
        ("embed", "-o", tmp_path / "v.npy", "--window", 10),
        ("embed", "--out", tmp_path / "store", "--window", 10),
    ):
        words = [verb, *([] if verb == "read" else [model]), tmp_path / "own", *rest]
        assert run(*words).exit_code == 1
        if "--out" in rest:
            other = run(*words, "--fill-missing")
            assert other.exit_code == 1 and "its fill_missing is false, now it is true" in other.stderr
            words[words.index(tmp_path / "store")] = tmp_path / "filled"
        assert run(*words, "--fill-missing").exit_code == 0
    assert np.allclose(np.load(tmp_path / "filled/embeddings.npy"), np.load(tmp_path / "v.npy"), atol=1e-5)
    assert json.loads((tmp_path / "filled/store.json").read_text())["fill_missing"] is True
    for words in (
        ["finetune", model, tmp_path / "own", "--out", tmp_path / "tuned", "--epochs", 1, "--validation", 0],
        ["corpus", "make", tmp_path / "own", "--to", tmp_path / "mine.npz"],
    ):
        assert run(*words).exit_code == 1
        assert run(*words, "--fill-missing").exit_code == 0
    assert read_corpus(tmp_path / "mine.npz").origin.endswith("; missing joints filled over time")
