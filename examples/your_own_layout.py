"""Joints that no shipped layout has: describe them once, and every encoder reads them. python examples/your_own_layout.py [MODEL]."""

from __future__ import annotations

import sys

import numpy as np

import skelzoo

SIDES = ("left", "right")
# Joint -> the body point it is. The order is that of the joints in your arrays. For names in common use skelzoo.layout_from_names(names) tells this and the
# parents by itself, and its report() shows how.
JOINTS = {
    "pelvis": "hip_center", "neck": "shoulder_center", "head": "head",
    **{f"{side}_{joint}": f"{side}_{joint}" for side in SIDES for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")},
}  # fmt: skip
PARENT = {"neck": "pelvis", "head": "neck"}
for side in SIDES:
    PARENT |= {f"{side}_shoulder": "neck", f"{side}_elbow": f"{side}_shoulder", f"{side}_wrist": f"{side}_elbow"}
    PARENT |= {f"{side}_hip": "pelvis", f"{side}_knee": f"{side}_hip", f"{side}_ankle": f"{side}_knee"}

LAYOUT = skelzoo.make_layout(
    "mine",
    JOINTS,
    parents=[PARENT.get(joint) for joint in JOINTS],
    points={"spine_low": {"pelvis": 0.75, "neck": 0.25}},  # a body point between two joints
)


def wave(frames: int = 60) -> np.ndarray:
    """A person who waves with the right hand: (frames, joints, 3), metres, y up, x to the person's left."""
    rest = {"pelvis": (0, 0.95), "neck": (0, 1.42), "head": (0, 1.6)}
    for side, x in (("left", 1), ("right", -1)):
        rest |= {f"{side}_shoulder": (0.18 * x, 1.4), f"{side}_elbow": (0.22 * x, 1.15), f"{side}_wrist": (0.24 * x, 0.9)}
        rest |= {f"{side}_hip": (0.1 * x, 0.92), f"{side}_knee": (0.11 * x, 0.5), f"{side}_ankle": (0.11 * x, 0.08)}
    keypoints = np.zeros((frames, len(JOINTS), 3))
    keypoints[:, :, :2] = [rest[joint] for joint in JOINTS]
    phase = np.linspace(0, 6 * np.pi, frames)
    names = list(JOINTS)
    keypoints[:, names.index("right_elbow")] = [-0.4, 1.35, 0.1]
    keypoints[:, names.index("right_wrist"), 0] = -0.4 + 0.15 * np.sin(phase)
    keypoints[:, names.index("right_wrist"), 1] = 1.6
    keypoints[..., 0] += 0.01 * np.sin(phase / 3)[:, None]  # nobody stands quite still
    return keypoints


def main(model: str = "skeattnclr-openskel") -> None:
    """Show where the encoder's joints come from, and embed a clip."""
    encoder = skelzoo.load(model)
    print(skelzoo.coverage(LAYOUT, encoder.contract.layout))
    clip = skelzoo.Clip(wave(), LAYOUT, fps=30, name="wave")
    print(f"{clip} -> a vector of {encoder.embed(clip).shape[1]} numbers")
    if encoder.labels:
        result = encoder.classify(clip, top_k=3)
        print(", ".join(f"{label} {score:.0%}" for label, score in zip(result.labels[0], result.scores[0], strict=True)))


if __name__ == "__main__":
    main(*sys.argv[1:])
