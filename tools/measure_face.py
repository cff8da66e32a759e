"""Measure what a pose without a face costs: of filmed clips, the share whose first label stays that of the clip with the whole face.

    python tools/measure_face.py --file DATA/uiprmd_kinect.npz --model NAME [NAME ...] [--every 16]

The face is `head`: one joint in the middle of the ears, of a layout that has no other; `nose`: the nose alone, of such a layout; `ears_lost`: eyes and ears
in no frame; `face_lost`: none of it in any frame.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np

import skelzoo
from skelzoo import Clip
from skelzoo.learn.cameras import SEEN, film
from skelzoo.skeleton.io.corpus import read_corpus

COCO = skelzoo.get_layout(SEEN)
FACE, BODY = COCO.joints[:5], COCO.joints[5:]
ONE_POINT = {point: skelzoo.make_layout(f"body and {point}", {point: point, **{j: j for j in BODY}}, [None] * 13) for point in ("head", "nose")}


def one_point(clip: Clip, point: str) -> Clip:
    """The clip with one joint for the whole face."""
    mix = COCO.point(point)
    assert mix is not None
    found = clip.keypoints[:, :, list(mix)].any(-1).all(-1)[..., None]
    place = sum(weight * clip.keypoints[:, :, joint] for joint, weight in mix.items()) * found
    return Clip(
        np.concatenate([place[:, :, None], clip.keypoints[:, :, len(FACE) :]], axis=2), ONE_POINT[point], clip.fps, name=clip.name, image_size=clip.image_size
    )


def without(clip: Clip, lost: slice) -> Clip:
    """The clip with joints that are not found in any frame."""
    keypoints = clip.keypoints.copy()
    keypoints[:, :, lost] = 0
    return clip.replace(keypoints=keypoints, scores=None)


def main() -> None:
    """Print one CSV row for each model and kind of face."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", required=True, help="corpus file of 3-D joints")
    parser.add_argument("--model", nargs="+", required=True, help="models of 2-D joints")
    parser.add_argument("--every", type=int, default=16, help="take every n-th clip")
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    whole = [film(clip, seed) for seed, clip in enumerate(read_corpus(a.file).clips[:: a.every]) if clip.frames > 1]
    faces = {
        **{point: [one_point(clip, point) for clip in whole] for point in ONE_POINT},
        "ears_lost": [without(clip, slice(1, 5)) for clip in whole], "face_lost": [without(clip, slice(0, 5)) for clip in whole],
    }  # fmt: skip
    print("model,file,clips,face,labels_kept")
    for name in a.model:
        encoder = skelzoo.load(name, device="cpu")
        first = encoder.classify(whole).indices[:, 0]
        for face, clips in faces.items():
            print(f"{name},{a.file},{len(clips)},{face},{(encoder.classify(clips).indices[:, 0] == first).mean():.3f}", flush=True)


if __name__ == "__main__":
    main()
