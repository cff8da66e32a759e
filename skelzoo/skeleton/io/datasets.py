"""Files that skeleton data sets pass around in: CTR-GCN's ``.npz``, ST-GCN's ``.npy``, Kinetics-skeleton; and those that are named, with the line that reads them.

=====================  ==================================================================================================
CTR-GCN ``.npz``       ``x_train``, ``x_test`` (N, T, 150), two bodies of 25 joints in metres, zero where nobody is; ``y_train``,
                       ``y_test`` one-hot (N, classes)
ST-GCN ``.npy``        (N, 3, T, 25, 2), metres; its labels are a pickle beside it, which is not read
Kinetics-skeleton      ``{"data": [{"frame_index": 1, "skeleton": [{"pose": [x, y, ...], "score": [...]}]}], "label": ...}``, 18
                       joints of OpenPose as shares of a picture of 340 x 256, 30 pictures a second
PYSKL, mmaction2       a pickle, which is never loaded here: ``annotations`` of clips, a list of them, or one clip
PKU-MMD                text, 150 numbers a frame: two bodies of 25 joints in metres
C3D, TRC, FBX, CSV     markers and bones as motion capture exports them, of Motive and Vicon Nexus as CSV
videos, pictures       in which a pose estimator finds the joints
MSR-Action3D           text, 20 rows of x, y, z and confidence a frame; x and y are real or in pixels of 320 x 240, by the version
=====================  ==================================================================================================
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ReadError
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io import pose_others
from skelzoo.skeleton.io.files import ARRAY_ERRORS, PathLike, array_error, build_clip, check_video, is_json, load_json, load_npz
from skelzoo.skeleton.io.read_options import NO_OPTIONS, ReadOptions
from skelzoo.skeleton.io.tracks import Person, tracks_of

JOINTS, BODIES, FPS = 25, 2, 30.0

PARTS = ("train", "test")
"""Of a file of CTR-GCN's, in the order of its clips."""

PICTURE = (256, 340)
"""Height and width to which the videos of Kinetics-skeleton were brought (Yan et al., AAAI 2018)."""

FARTHEST = 50.0
"""Metres from the camera beyond which no body of NTU RGB+D is; coordinates in pixels go beyond."""

CODES = (60, 120)
"""Numbers of classes of NTU RGB+D, whose class i is action A(i + 1)."""

_OPENPOSE = 18
_PYSKL_MARKS = (b"annotations", b"frame_dir", b"xsub_train")

_PYSKL = (
    "If you trust its source, which could have put any program into it, convert it once: "
    "python -c \"import pickle, skelzoo; d = pickle.load(open('{path}', 'rb')); skelzoo.save_clips('{stem}.npz', [skelzoo.Clip(a['keypoint'], "
    "{{2: 'coco17', 3: 'ntu25'}}[a['keypoint'].shape[-1]], scores=a.get('keypoint_score'), image_size=a.get('img_shape'), label=str(a['label']), "
    "name=a['frame_dir']) for a in (d.get('annotations', [d]) if isinstance(d, dict) else d) if a['keypoint'].any()])\""
)
_PKU = (
    "Read it so, and cut the actions that its label file lists: "
    "clip = skelzoo.Clip(numpy.loadtxt('{path}').reshape(-1, 2, 25, 3).transpose(1, 0, 2, 3), 'ntu25', fps=30)"
)

_MSR = (
    "Read it so, as (frames, 20, 3): x = numpy.loadtxt('{path}')[:, :3].reshape(-1, 20, 3); then, if its x and y are of the real world, "
    "clip = skelzoo.Clip(x, layout), and if they are pixels of 320 x 240, clip = skelzoo.Clip(x[..., :2], layout, image_size=(240, 320)), "
    "with layout = skelzoo.layout_from_names('left_shoulder right_shoulder shoulder_center spine left_hip right_hip hip_center left_elbow right_elbow left_wrist "
    "right_wrist left_hand right_hand left_knee right_knee left_ankle right_ankle left_foot right_foot head'.split())"
)

_MOCAP = (
    "Export the skeleton as BVH, or its joint centres as a table (.csv) with a row per frame and columns such as Head_x, Head_y, Head_z; "
    "`skelzoo docs files` shows one."
)

_VIDEO = "A pose estimator finds the joints in it first, and its files are read: `skelzoo docs cameras` names some."
_NAMED = (
    ("a video", rb"(?s:....)(ftyp|moov)|\x1aE\xdf\xa3|RIFF(?s:....)AVI ", (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv"), _VIDEO),
    ("a picture", rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF(?s:....)WEBP", (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"), _VIDEO),
    ("an FBX file", rb"Kaydara FBX|; FBX", (".fbx",), _MOCAP),
    ("a C3D file", rb"(?!)", (".c3d",), _MOCAP),
    ("a TRC file of markers", rb"PathFileType", (".trc",), _MOCAP),
    ("a CSV file of Motive", rb"(\xef\xbb\xbf)?Format Version,.*,Take Name,", (), _MOCAP),
    ("a CSV file of Vicon Nexus", rb"(\xef\xbb\xbf)?(Trajectories|Model Outputs|Joints|Segments|Devices)[,;\t]*\r?\n", (), _MOCAP),
)
"""What is named by how it begins, or else by its suffix, and what to do with it."""


def recognise(head: bytes, path: Path) -> tuple[str, str] | None:
    """What a file that starts with these bytes is, and the line that reads it, if it is one of those that are not read here."""
    if head.startswith(b"\x80") and any(mark in head for mark in _PYSKL_MARKS):
        return "is a pickle as of PYSKL or mmaction2, which is not loaded for safety", _PYSKL.format(stem=path.stem, path=path)
    by_content, by_suffix = ([row for row in _NAMED if re.match(row[1], head)], [row for row in _NAMED if path.suffix.lower() in row[2]])
    for what, _, _, how in [*by_content, *by_suffix][:1]:
        return f"looks like {what}, which is not read", how
    rows = [line.split() for line in head.split(b"\n")[:5]][:-1]
    widths = {len(row) if all(re.fullmatch(rb"[-+.eE\d]+", word) for word in row) else 0 for row in rows}
    if widths == {4}:
        return "looks like an MSR-Action3D text file (20 rows of x y z confidence a frame), which is not read", _MSR.format(path=path)
    if widths == {BODIES * JOINTS * 3}:
        return f"looks like a PKU-MMD skeleton file ({BODIES * JOINTS * 3} numbers a row), which is not read", _PKU.format(path=path)
    return pose_others.recognise(head, path)


def sniff_ctrgcn(head: bytes) -> bool:
    """Whether an ``.npz`` that starts with these bytes has ``x_train`` or the like first."""
    return re.match(rb"PK\x03\x04.{26}[xy]_(train|test)\.npy", head, re.DOTALL) is not None


def read_ctrgcn(path: PathLike, reading: ReadOptions = NO_OPTIONS) -> list[Clip]:
    """Read both parts of CTR-GCN's ``.npz``, training clips first.

    Args:
        reading: of it ``fill_missing``: fill joints that are NaN.

    Returns:
        Clips (M, T, 25, 3) without the empty frames at the end and bodies that are never there, layout ntu25, metres, y up, 30 fps, named ``FILE[train 0]`` on;
        labels ``A001`` on of 60 or 120 classes, else the number of the class.

    Raises:
        ReadError: cut off, or arrays of other shapes.
        ClipError: NaN, or a clip that is all zero.
    """
    path, clips = Path(path), []
    arrays = load_npz(path, {f"{kind}_{part}" for kind in "xy" for part in PARTS})
    for part in PARTS:
        x, y = arrays.pop(f"x_{part}", None), arrays.pop(f"y_{part}", None)
        if x is None and y is None:
            continue
        if x is None or y is None or not is_ctrgcn(x.shape, x.dtype, y):
            shapes = f"x_{part} {None if x is None else x.shape} and y_{part} {None if y is None else y.shape}"
            raise ReadError(path, f"has {shapes}, not (N, T, 150) and one-hot (N, classes) as CTR-GCN's files",
                            "Save other arrays as np.savez(path, keypoints=x, layout='ntu25', axes='n t v c').")  # fmt: skip
        clips += [ctrgcn_clip(one, hot, f"{path.stem}[{part} {i}]", reading.fill_missing) for i, (one, hot) in enumerate(zip(x, y, strict=True))]
    if not clips:
        raise ReadError(path, "holds no clips", "Copy or download the file again.")
    return clips


def is_ctrgcn(shape: Sequence[int], dtype: np.dtype[Any], y: NDArray[Any]) -> bool:
    """Whether joints of that shape and type, and the classes ``y``, are a part of CTR-GCN's file."""
    return len(shape) == 3 and shape[2] == BODIES * JOINTS * 3 and dtype.kind == "f" and _is_one_hot(y, shape[0])


def ctrgcn_clip(row: NDArray[Any], hot: NDArray[Any], name: str, fill: bool) -> Clip:
    """The clip of a row (T, 150) with the class that is hot (classes,); errors as ``read_ctrgcn``."""
    label = f"A{hot.argmax() + 1:03}" if len(hot) in CODES else str(hot.argmax())
    return _clip(row.reshape(len(row), BODIES, JOINTS, 3).transpose(1, 0, 2, 3), name, label, fill)


def _is_one_hot(y: NDArray[Any], count: int) -> bool:
    return y.ndim == 2 and len(y) == count and y.dtype.kind in "fiub" and bool(((y == 0) | (y == 1)).all() and (y.sum(1) == 1).all())


def sniff_stgcn(head: bytes) -> bool:
    """Whether a ``.npy`` that starts with these bytes has the shape (N, 3, T, 25, 2)."""
    return head.startswith(b"\x93NUMPY") and re.search(rb"'shape': \(\d+, 3, \d+, 25, 2\)", head[:512]) is not None


def read_stgcn(path: PathLike, reading: ReadOptions = NO_OPTIONS) -> list[Clip]:
    """Read ST-GCN's data array of NTU RGB+D, without its labels.

    Args:
        reading: of it ``fill_missing``: fill joints that are NaN.

    Returns:
        Clips as of ``read_ctrgcn``, named ``FILE[0]`` on, without labels.

    Raises:
        ReadError: cut off, no clips, or coordinates that are no metres.
        ClipError: NaN, or a clip that is all zero.
    """
    path = Path(path)
    return [stgcn_clip(one, f"{path.stem}[{i}]", reading.fill_missing) for i, one in enumerate(stgcn_array(path))]


def stgcn_array(path: Path) -> NDArray[Any]:
    """ST-GCN's array (N, 3, T, 25, 2) as it lies on disk; errors as ``read_stgcn``."""
    try:
        data: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ARRAY_ERRORS as error:
        raise array_error(path, error) from None
    if not data.size:
        raise ReadError(path, f"holds no clips (shape {data.shape})", "Copy or download the file again.")
    if data.dtype.kind != "f" or any((np.abs(one) > FARTHEST).any() for one in data):
        raise ReadError(path, f"has the shape {data.shape} of ST-GCN's files, but not their coordinates in metres",
                        "Save it as np.savez(path, keypoints=x, layout=NAME, axes='n c t v m'), or with other axes.")  # fmt: skip
    return data


def stgcn_clip(row: NDArray[Any], name: str, fill: bool) -> Clip:
    """The clip of a row (3, T, 25, 2); errors as ``read_stgcn``."""
    return _clip(row.transpose(3, 1, 2, 0), name, None, fill)


def _clip(bodies: NDArray[Any], name: str, label: str | None, fill: bool) -> Clip:
    """Bodies (M, T, 25, 3) without those who are never there and the empty frames at the end; copied, so that the array of all clips can go."""
    there: NDArray[np.bool_] = np.any(bodies, axis=(2, 3))
    persons, frames = there.any(1), np.flatnonzero(there.any(0))
    if len(frames):
        bodies = bodies[persons, : frames[-1] + 1]
    return build_clip(np.array(bodies, np.float32), "ntu25", fps=FPS, label=label, name=name, fill=fill)


def sniff_kinetics(head: bytes) -> bool:
    """Whether JSON that starts with these bytes looks like Kinetics-skeleton."""
    return is_json(head) and b'"frame_index"' in head and b'"skeleton"' in head


def read_kinetics(path: PathLike) -> list[Clip]:
    """Read a video of Kinetics-skeleton. Persons are told apart by where they were in the frames before.

    Returns:
        One clip (M, T, 18, 2) with scores, layout openpose18, in pixels of a picture of 340 x 256, y down, 30 fps; joints that were not found are 0.

    Raises:
        ReadError: not such JSON, cut off, joints that are not 18 or no shares of a picture, a frame twice, frames too far apart
            for a video, nobody in any frame.
        ClipError: NaN.
    """
    path = Path(path)
    data = load_json(path)
    rows = list(_frames(data, path))
    frames = dict(rows)
    if len(frames) < len(rows):
        twice = Counter(number for number, _ in rows).most_common(1)[0][0]
        raise ReadError(path, f"has frame {twice} twice", "Save each video to a file of its own.")
    if not any(frames.values()):
        raise ReadError(path, f"nobody was found in it ({len(frames)} frames)", "Leave this recording out.")
    first, length = min(frames), max(frames) - min(frames) + 1
    check_video(path, len(frames), length, f"pictures have numbers from {first} to {max(frames)}")
    tracks = tracks_of(frames, path)
    shape = (len(tracks), length, _OPENPOSE)
    keypoints, scores = np.zeros((*shape, 2), np.float32), np.zeros(shape, np.float32)
    for m, track in enumerate(tracks):
        for number, person in track.items():
            keypoints[m, number - first], scores[m, number - first] = person.joints, person.scores
    label = data.get("label")
    return [build_clip(keypoints, "openpose18", fps=FPS, label=label if isinstance(label, str) else None, scores=scores, name=path.stem, image_size=PICTURE)]


def _frames(data: Any, path: Path) -> Iterator[tuple[int, list[Person]]]:
    """Number of each frame and the people in it, in pixels."""
    try:
        for row in data["data"]:
            yield int(row["frame_index"]), [person for one in row["skeleton"] if (person := _person(one)).joints.any()]
    except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
        problem = f"is not as Kinetics-skeleton's files are ({type(error).__name__}: {str(error)[:80]})"
        raise ReadError(path, problem, "It must hold data: frame_index and skeleton, pose and score of each person.") from None


def _person(row: Any) -> Person:
    joints, scores = np.asarray(row["pose"], np.float64).reshape(_OPENPOSE, 2), np.asarray(row["score"], np.float64).reshape(_OPENPOSE)
    if np.abs(joints).max() > 2:
        raise ValueError("coordinates are no shares of the picture")
    return Person((joints * PICTURE[::-1]).astype(np.float32), scores.astype(np.float32), None)
