"""Write docs/errors.md from what skelzoo really says, as errors and as warnings: python docs/make_errors.py."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import torch

import skelzoo
from skelzoo import Clip, Contract
from skelzoo.errors import DoubtWarning, SkelzooError
from skelzoo.inference.bulk import Job, embed_store
from skelzoo.inference.export import export
from skelzoo.learn.cameras import film
from skelzoo.learn.finetune import finetune
from skelzoo.publishing import publish
from skelzoo.skeleton.procedural import make

HEAD = """# Errors and warnings

Written by `python docs/make_errors.py`, which does each of these things and notes what skelzoo says; do not edit.

Every error of skelzoo is a `skelzoo.errors.SkelzooError`; most are a `ValueError` or `LookupError` too. Each says what is wrong, where, and what to do
next. On the command line the same text stands on one line of stderr, files are gone through to the end, and the exit code is 1.

| what was done | error | what it says |
| --- | --- | --- |
"""
WARNED = """
## Warnings

What is odd and may be right all the same is taken, and warned of once a call or command, with the first clip it is about and how many there are.
People lie and bend too: of 20 clips or more other axes are told only where a fifth says something of them, 15 % say the same, or three quarters of a file's 20 or more do.
Each says when all is well. Their category is `skelzoo.errors.DoubtWarning`: a service, where every request would warn anew, silences them with
`warnings.filterwarnings("ignore", category=skelzoo.errors.DoubtWarning)`.

| what was given | what it says |
| --- | --- |
"""
CONTRACT = Contract("kinect20", channels=3, persons=1, frames=32, steps=({"step": "scale_torso"}, {"step": "resample", "frames": 32}))
RNG = np.random.default_rng(0)


def body(*shape: int) -> np.ndarray:
    """Joints anywhere."""
    return RNG.normal(size=shape)


def with_nan() -> np.ndarray:
    """Frame 12 lacks joint 7."""
    x = body(1, 30, 20, 3)
    x[0, 12, 7] = np.nan
    return x


def torso_less() -> np.ndarray:
    """Hips and shoulders at one place."""
    x = body(30, 20, 3)
    x[:, 2] = x[:, 0]
    return x


def file(name: str, data: bytes) -> str:
    """A file in the present folder."""
    Path(name).write_bytes(data)
    return name


def saved(change: Callable[[Path], object]) -> str:
    """A small weights folder, then changed."""
    from skelzoo.inference.encoder import Encoder
    from skelzoo.weights.manifest import ModelConfig

    options = {"hidden_channels": 2, "hidden_dim": 4, "feature_dim": 2, "heads": 1}
    net = skelzoo.create("skeattnclr-stgcn", layout="kinect20", options=options)
    folder = Encoder(net, ModelConfig("skeattnclr-stgcn", options, CONTRACT), device="cpu").save("mine")
    change(folder)
    return f"local:{folder}"


def flip(path: Path) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def checkpoint(name: str) -> str:
    """Some tensors of an authors' network."""
    torch.save({"encoder_q.backbone.fc.bias": torch.zeros(2), "encoder_q.backbone.proj.bias": torch.zeros(2)}, name)
    return name


def encoder(dtype: str = "float32") -> skelzoo.Encoder:
    """An encoder without a head."""
    return skelzoo.load(saved(lambda folder: None), device="cpu", dtype=dtype)


def bodies() -> list[Clip]:
    """Two clips without labels."""
    return [Clip(body(30, 20, 3), "kinect20", name=name) for name in ("take 1", "take 2")]


def read_without_pyarrow() -> None:
    """Parquet on the core install."""
    with mock.patch.dict(sys.modules, {"pyarrow": None}):
        skelzoo.read(file("clips.parquet", b"PAR1"))


CASES: dict[str, Callable[[], object]] = {
    "a name that is no layout": lambda: Clip(body(30, 20, 3), "kinect"),
    "25 joints said to be kinect20": lambda: Clip(body(30, 25, 3), "kinect20", name="take 3"),
    "joints of no known layout": lambda: Clip(body(30, 19, 3), "kinect20", name="take 3"),
    "coordinates before frames and joints": lambda: Clip(body(3, 30, 20), "kinect20", name="take 3"),
    "frames for persons": lambda: skelzoo.prepare(Clip(body(30, 1, 20, 3), "kinect20", name="take 3"), CONTRACT),
    "an array of other axes than said": lambda: skelzoo.clips_from_array(body(8, 30, 20, 3), "kinect20", axes="n c t v"),
    "axes that are not understood": lambda: skelzoo.clips_from_array(body(8, 3, 30, 20), "kinect20", axes="b c t v"),
    "a joint that is NaN": lambda: Clip(with_nan(), "kinect20", name="take 3"),
    "nothing but zeros": lambda: Clip(np.zeros((30, 20, 3)), "kinect20", name="take 3"),
    "no persons": lambda: Clip(body(0, 30, 20, 3), "kinect20", name="take 3"),
    "confidences as a coordinate": lambda: Clip(body(30, 17, 4), "coco17", name="take 3"),
    "one frame": lambda: skelzoo.prepare(Clip(body(1, 20, 3), "kinect20", name="take 3"), CONTRACT),
    "three persons for an encoder of one": lambda: skelzoo.prepare(Clip(body(3, 30, 20, 3), "kinect20", name="take 3"), CONTRACT),
    "a 2-D clip for a 3-D encoder": lambda: skelzoo.prepare(Clip(body(30, 17, 2), "coco17", name="take 3"), CONTRACT),
    "pixels without the size of their picture": lambda: skelzoo.prepare(Clip(body(30, 17, 2), "coco17", name="take 3"), Contract("coco17", 2, 1, 30, ({"step": "normalize_image"},))),
    "a layout that lacks too much": lambda: skelzoo.prepare(Clip(body(30, 3, 3), skelzoo.make_layout("three", {"hip": "hip_center", "chest": "shoulder_center", "top": "head"}, [None, "hip", "chest"]), name="take 3"), CONTRACT),
    "shoulders at the hips": lambda: skelzoo.prepare(Clip(torso_less(), "kinect20", name="take 3"), CONTRACT),
    "filling a joint that is never there": lambda: skelzoo.fill_missing(np.full((30, 20, 3), np.nan)),
    "a file that is not there": lambda: skelzoo.read("nowhere.bvh"),
    "an empty file": lambda: skelzoo.read(file("empty.bvh", b"")),
    "a BVH file cut short": lambda: skelzoo.read(file("cut.bvh", b"HIERARCHY\nROOT Hips\n{\n  OFFSET 0 0 0\n")),
    "a video": lambda: skelzoo.read(file("take.mp4", b"\x00\x00\x00 ftypisom" + bytes(64))),
    "a model name that is none": lambda: skelzoo.load("skeattnclr-openskul"),
    "a model without weights": lambda: skelzoo.load("skeattnclr-ntu60"),
    "a branch instead of a commit, offline": lambda: skelzoo.load("hf:owner/repo@main", local_files_only=True, cache_dir="cache", endpoint="https://huggingface.co"),
    "a model of the Hub that is not cached, offline": lambda: skelzoo.load(f"hf:owner/repo@{'0123456789' * 4}", local_files_only=True, cache_dir="cache", endpoint="https://huggingface.co"),
    "a weights file with one flipped bit": lambda: skelzoo.load(saved(lambda folder: flip(folder / "model.safetensors"))),
    "a folder that holds no weights": lambda: skelzoo.load(f"local:{Path('.')}"),
    "classes of an encoder without a head": lambda: encoder().classify(Clip(body(30, 20, 3), "kinect20")),
    "features that are not there": lambda: encoder().features(Clip(body(30, 20, 3), "kinect20"), at=["block12"]),
    "a list of arrays": lambda: encoder().embed([body(30, 20, 3)]),
    "a checkpoint of another network than said": lambda: skelzoo.convert(checkpoint("model.pt"), arch="psp", to="converted"),
    "an architecture that is none": lambda: skelzoo.create("skeattnclr", layout="kinect20"),
    "options an architecture does not take": lambda: skelzoo.create("skeattnclr-stgcn", layout="kinect20", options={"depth": 3}),
    "saving over a folder of something else": lambda: encoder().save("notes"),
    "a result below a file": lambda: skelzoo.save_clips("notes/mine.txt/clips.npz", bodies()),
    "embedding into a folder of something else": lambda: embed_store(Job("skeattnclr-openskel"), ["notes"], "notes"),
    "exporting an encoder in bfloat16": lambda: export(encoder("bfloat16"), "encoder.onnx"),
    "a number format that encoders do not run in": lambda: skelzoo.load("skeattnclr-openskel", device="cpu", dtype="int8"),
    "fine-tuning on clips without labels": lambda: finetune(encoder(), bodies()),
    "publishing weights without saying their licence": lambda: publish(saved(lambda folder: None).removeprefix("local:"), "owner/mine", dry_run=True),
    "a parquet file without the package that reads it": read_without_pyarrow,
}  # fmt: skip


def walk(change: Callable[[np.ndarray], np.ndarray] = lambda x: x, layout: str = "kinect20", frames: int = 60, size: tuple[int, int] | None = None) -> None:
    """Prepare a made-up walk whose joints (T, V, 3) were changed."""
    clip = make("walk", frames)
    encoder_of = Contract("coco17", 2, 1, 32, ({"step": "fill_gaps"}, {"step": "center"}, {"step": "scale_torso"}, {"step": "resample", "frames": 32}))
    contract = encoder_of if layout == "coco17" else CONTRACT.replace(steps=({"step": "drop_empty_frames"}, {"step": "center"}, *CONTRACT.steps))
    joints = clip.keypoints[0] if layout == "kinect20" else film(clip, 0).keypoints[0]
    skelzoo.prepare(Clip(change(joints.copy()), layout, fps=30, name="take 3", image_size=size), contract)


def put(x: np.ndarray, where: object, value: object) -> np.ndarray:
    """The array with a part of it replaced."""
    x[where] = value
    return x


def guess() -> None:
    """Prepare a filmed walk with wrists that are guessed in every third frame."""
    clip = film(make("walk", 60), 0)
    clip.keypoints[:, ::3, 9], clip.scores[:, ::3, 9:11] = 500, 0
    clip.keypoints[:, ::3, 10] = 400
    skelzoo.prepare(clip.replace(name="take 3"), Contract("coco17", 2, 1, 32, ({"step": "fill_gaps"}, {"step": "resample", "frames": 32})))


def legs() -> None:
    """Prepare a filmed walk whose knees and ankles score low."""
    clip = film(make("walk", 60), 0).replace(name="take 3")
    clip.scores[:, :, 13:] *= 0.2
    skelzoo.prepare(clip, Contract("coco17", 2, 1, 32, ({"step": "fill_gaps"}, {"step": "resample", "frames": 32})))


def swap() -> None:
    """Choose one of two persons who stand in every fifth frame in the other's place."""
    clip = make("walk", 60)
    both = np.repeat(clip.keypoints, 2, axis=0) + np.array([0, 1])[:, None, None, None] * [1, 0, 0]
    both[:, ::5] = both[::-1, ::5]
    skelzoo.select_persons(Clip(both, "kinect20", name="take 3"))


ODD: dict[str, Callable[[], object]] = {
    "y that points down": lambda: walk(lambda x: x * [1, -1, -1]),
    "z that points up": lambda: walk(lambda x: x[..., [0, 2, 1]] * [1, -1, 1]),
    "left and right exchanged": lambda: walk(lambda x: x * [-1, 1, 1]),
    "left and right exchanged in the legs": lambda: walk(lambda x: x[:, [*range(12), *range(16, 20), *range(12, 16)]]),
    "left and right exchanged in every fifth frame": lambda: walk(lambda x: put(x, slice(None, None, 5), x[::5][:, list(skelzoo.get_layout("kinect20").mirror_permutation)])),
    "joints in another order": lambda: walk(lambda x: x[:, ::-1]),
    "2-D joints with a third coordinate of 0": lambda: walk(lambda x: x * [1, 1, 0]),
    "z in millimetres, x and y in metres": lambda: walk(lambda x: x * [1, 1, 1000]),
    "geographic coordinates in metres": lambda: walk(lambda x: np.add(x, [500_000, 0, 4_500_000])),
    "joints lost at the origin": lambda: walk(lambda x: put(x, (slice(20, 25), slice(4, 8)), 0)),
    "joints that are never tracked": lambda: walk(lambda x: put(x, (slice(None), slice(9, 12)), 0)),
    "joints that are not found at -9999": lambda: walk(lambda x: put(x, (slice(20, 25), 7), -9999)),
    "the hips taken off in every frame": lambda: walk(lambda x: x - x[:, :1]),
    "a clip padded by its last frame": lambda: walk(lambda x: put(x, slice(30, None), x[30])),
    "a clip that begins with the same frame over and over": lambda: walk(lambda x: put(x, slice(30), x[29])),
    "a clip padded by itself": lambda: walk(lambda x: np.concatenate([x[:40], x[:40]])),
    "one pose throughout": lambda: walk(lambda x: np.repeat(x[:1], 30, axis=0)),
    "frames with nobody in between": lambda: walk(lambda x: put(x, slice(20, 35), 0)),
    "two persons in the order of detections": swap,
    "five frames": lambda: walk(frames=5),
    "a recording of two minutes": lambda: walk(frames=3600),
    "pixels beside a depth": lambda: walk(lambda x: np.stack([320 + 200 * x[..., 0], 400 - 200 * x[..., 1], 2500 + 1000 * x[..., 2]], axis=-1)),
    "shares of a picture": lambda: walk(lambda x: x / [1920, 1080], "coco17"),
    "shares of a picture with a depth": lambda: walk(lambda x: np.dstack([x / [1920, 1080], x[..., :1] / 1920 - 0.5]), "coco17"),
    "a picture of another size": lambda: walk(layout="coco17", size=(640, 480)),
    "2-D joints at (-1, -1)": lambda: walk(lambda x: put(x, (slice(10, 30), 9), -1), "coco17"),
    "guesses with a score of 0": guess,
    "legs outside of the picture": legs,
    "a poster found in place of the person": lambda: walk(lambda x: put(x, slice(30, 33), x[30] / 2), "coco17"),
    "y of a picture that points up": lambda: walk(lambda x: [0, 1080] + x * [1, -1], "coco17"),
    "scores of a head that nobody trained": lambda: skelzoo.load(saved(lambda folder: None), num_classes=3, device="cpu").classify(make("walk", 60)),
    "an array that does not say its layout": lambda: (np.save("take.npy", body(30, 25, 3)), skelzoo.read("take.npy")),
}  # fmt: skip


def escaped(text: str) -> str:
    """As a cell of a table, in which ``x[a][b]`` is no reference to b."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", "<br>").replace("][", "]\\[")


def warned(title: str, act: Callable[[], object]) -> str:
    """What was given, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
    assert caught and {w.category for w in caught} == {DoubtWarning}, f"{title}: no warning, or of another category"
    return f"| {title} | {'<br>'.join(escaped(str(w.message)) for w in caught)} |"


def row(title: str, act: Callable[[], object]) -> str:
    """What was done, and what skelzoo said."""
    try:
        act()
    except SkelzooError as error:
        return f"| {title} | `{type(error).__name__}` | {escaped(str(error))} |"
    raise AssertionError(f"{title}: no error")


def text() -> str:
    """The whole page."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            Path("notes").mkdir()
            file("notes/mine.txt", b"mine")
            rows = [row(title, act) for title, act in CASES.items()]
            odd = [warned(title, act) for title, act in ODD.items()]
        finally:
            os.chdir(before)
    page = (HEAD + "\n".join(rows) + "\n" + WARNED + "\n".join(odd) + "\n").replace(f"{folder}/", "").replace(folder, ".")
    return re.sub(r"[0-9a-f]{16}\.\.\.", "(16 hex digits)...", page)


if __name__ == "__main__":
    Path(__file__).with_name("errors.md").write_text(text(), encoding="utf-8")
