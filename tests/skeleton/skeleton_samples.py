"""Files written by the facts of their formats, for tests of formats or rigs of which no real file is at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

# A standing person in centimetres, x to the person's left, y up, z forward: body point -> (parent, place).
PERSON = {
    "hips": (None, (0, 95, 0)), "spine": ("hips", (0, 110, 0)), "chest": ("spine", (0, 128, 0)), "neck": ("chest", (0, 148, 0)), "head": ("neck", (0, 160, 0)),
    "l_collar": ("chest", (4, 142, 0)), "l_shoulder": ("l_collar", (18, 142, 0)), "l_elbow": ("l_shoulder", (45, 142, 0)),
    "l_wrist": ("l_elbow", (70, 142, 0)), "l_mid1": ("l_wrist", (78, 142, 0)),
    "r_collar": ("chest", (-4, 142, 0)), "r_shoulder": ("r_collar", (-18, 142, 0)), "r_elbow": ("r_shoulder", (-45, 142, 0)),
    "r_wrist": ("r_elbow", (-70, 142, 0)), "r_mid1": ("r_wrist", (-78, 142, 0)),
    "l_hip": ("hips", (9, 90, 0)), "l_knee": ("l_hip", (9, 50, 0)), "l_ankle": ("l_knee", (9, 9, 0)), "l_toe": ("l_ankle", (9, 2, 14)),
    "r_hip": ("hips", (-9, 90, 0)), "r_knee": ("r_hip", (-9, 50, 0)), "r_ankle": ("r_knee", (-9, 9, 0)), "r_toe": ("r_ankle", (-9, 2, 14)),
}  # fmt: skip


def write_bvh(path: Path, names: Mapping[str, str], scale: float = 1.0, z_up: bool = False, frames: int = 3) -> Path:
    """PERSON at rest as BVH, under other joint names."""
    lines = ["HIERARCHY"]

    def place(joint: str) -> np.ndarray:
        x, y, z = PERSON[joint][1]
        return scale * np.array((x, -z, y) if z_up else (x, y, z), float)

    def add(joint: str, parent: str | None) -> None:
        at = np.zeros(3) if parent is None else place(joint) - place(parent)
        channels = "CHANNELS 3 Zrotation Xrotation Yrotation" if parent else "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
        lines.extend([f"{'JOINT' if parent else 'ROOT'} {names[joint]}", "{", "OFFSET {:.4f} {:.4f} {:.4f}".format(*at), channels])
        children = [j for j, (p, _) in PERSON.items() if p == joint]
        for child in children:
            add(child, joint)
        if not children:
            lines.extend(["End Site", "{", "OFFSET 0 1 0", "}"])
        lines.append("}")

    add("hips", None)
    row = " ".join(["{:.4f} {:.4f} {:.4f}".format(*place("hips")), *["0"] * (3 * len(PERSON))])
    path.write_text("\n".join([*lines, "MOTION", f"Frames: {frames}", "Frame Time: 0.0333333", *[row] * frames]) + "\n")
    return path


def write_ntu(path: Path, frames: Sequence[Mapping[str, np.ndarray]], states: int = 2) -> Path:
    """NTU RGB+D text: per frame body id -> (25, 3) metres."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for body, joints in bodies.items():
            lines += [f"{body} 0 1 1 1 1 0 0.02 -0.16 2", "25"]
            lines += [f"{x:.7f} {y:.7f} {z:.7f} 277.4 191.2 1036.2 519.1 -0.21 0.03 0.98 -0.01 {states}" for x, y, z in joints]
    path.write_text("\n".join(lines) + "\n")
    return path


def ntu_frames(seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Six frames: two bodies whose ids agree in 16 of 17 digits, nobody in frame 2, a third body in the last frame."""
    rng = np.random.default_rng(seed)
    one, two, three = "72057594037931101", "72057594037931102", "72057594037931103"
    return [{b: rng.normal(size=(25, 3)) for b in ids} for ids in ([two], [one, two], [], [one, two], [one], [one, three])]


def write_of_a_data_set(path: Path) -> None:
    """Of a form that its name tells: poses.json, kinetics.json, azure.json, stgcn.npy, ctrgcn.npz or clips.parquet."""
    rng = np.random.default_rng(0)
    if path.name == "poses.json":
        rows = [{"image_id": f"{t}.jpg", "keypoints": rng.uniform(1, 99, 51).round(2).tolist(), "score": 2.5, "idx": 1} for t in range(6)]
        path.write_text(json.dumps(rows))
    elif path.name == "kinetics.json":
        poses = [{"pose": rng.uniform(0.1, 0.9, 36).round(3).tolist(), "score": [0.5] * 18} for _ in range(6)]
        path.write_text(json.dumps({"data": [{"frame_index": t + 1, "skeleton": [p]} for t, p in enumerate(poses)], "label": "x", "label_index": 0}))
    elif path.name == "azure.json":
        bodies = [{"body_id": 3, "joint_positions": rng.normal(0, 500, size=(32, 3)).round(2).tolist()} for _ in range(6)]
        frames = [{"bodies": [body], "frame_id": t, "num_bodies": 1, "timestamp_usec": 33333 * t} for t, body in enumerate(bodies)]
        path.write_text(json.dumps({"bone_list": [["PELVIS", "SPINE_NAVEL"]], "frames": frames, "joint_names": ["PELVIS"]}))
    elif path.name == "stgcn.npy":
        np.save(path, rng.normal(size=(2, 3, 6, 25, 2)).astype(np.float32))
    elif path.name == "ctrgcn.npz":
        np.savez(path, x_train=rng.normal(size=(2, 6, 150)).astype(np.float32), y_train=np.eye(60)[:2])
    else:
        columns = {"keypoints": [rng.normal(size=6 * 60).tolist()], "layout": ["kinect20"], "frames": [6]}
        pytest.importorskip("pyarrow.parquet").write_table(pytest.importorskip("pyarrow").table(columns), path)
