"""What is odd about files that are read all the same. A reader says it in the notes of their clips, so that one warning tells it of many files."""

from __future__ import annotations

from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.doubts import Doubt

UNSURE_Z, UNSURE_Y = "turned from z up, unsure", "rests along z, left y up, unsure"
UNSURE_UNIT = "of unusual height"
T_POSE = "starts in a T-pose"
"""Told by the frames of the clip, which may have been cut off since."""
WINDOW = "cut out of a longer clip"
"""Nobody padded it, and nobody can cut it."""
LATER = "begins within a recording"

_ALONG_Z = (
    "a BVH skeleton rests along z, and its motion does not tell for sure which axis points up, as where somebody lies, bends or stands still; {} was taken"
)
_SAY_SO = "If {0} does, say so with --up {0} (up={0!r} in skelzoo.read)."

_TEXTS = {
    UNSURE_Z: f"{_ALONG_Z.format('z')}. {_SAY_SO.format('y')}",
    UNSURE_Y: f"{_ALONG_Z.format('y')}. {_SAY_SO.format('z')}",
    UNSURE_UNIT: (
        "a BVH skeleton is of human size in no metric unit, and in inches or CMU units it is less than 1.4 or more than 2.1 m tall, "
        "so that its unit, which the notes name, may be another. Models whose contract has scale_torso do not mind; for others give clip.replace(keypoints=clip.keypoints * factor), "
        "or scale its OFFSETs and position channels to centimetres; if the person is so tall, all is well."
    ),
}


def odd_notes(clip: Clip) -> tuple[Doubt, ...]:
    """What a reader noted that is odd about a clip's file."""
    return tuple(Doubt(_TEXTS[note]) for note in clip.notes if note in _TEXTS)
