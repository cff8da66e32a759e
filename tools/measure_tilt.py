"""Measure what a tilted camera costs: of clips turned about x, the share whose first label stays that of the level clip, and the share warned of.

    python tools/measure_tilt.py --file DATA/utd_mhad.npz [--model NAME] [--every 8] [--degrees 10 20 30 45]

Each clip is turned by each angle to both sides.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np

import skelzoo
from skelzoo.skeleton.io.corpus import read_corpus
from skelzoo.skeleton.prepare import prepare_doubtfully


def main() -> None:
    """Print one CSV row for each angle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", required=True, help="corpus file of 3-D joints")
    parser.add_argument("--model", default="psp-openskel-ensemble")
    parser.add_argument("--every", type=int, default=8, help="take every n-th clip")
    parser.add_argument("--degrees", type=float, nargs="+", default=[10, 20, 30, 45])
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    clips = [clip for clip in read_corpus(a.file).clips[:: a.every] if clip.frames > 1]
    encoder = skelzoo.load(a.model, device="cpu")
    level = encoder.classify(clips).indices[:, 0]
    print("model,file,clips,degrees,labels_kept,warned")
    for degrees in a.degrees:
        kept, warned = [], []
        for angle in np.radians([degrees, -degrees]):
            cos, sin = np.cos(angle), np.sin(angle)
            turn = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]], np.float32)
            turned = [clip.replace(keypoints=clip.keypoints @ turn) for clip in clips]
            kept += list(encoder.classify(turned).indices[:, 0] == level)
            warned += [any("the spine" in doubt.text for doubt in prepare_doubtfully(clip, encoder.contract)[1]) for clip in turned]
        print(f"{a.model},{a.file},{len(clips)},{degrees:g},{np.mean(kept):.3f},{np.mean(warned):.3f}", flush=True)


if __name__ == "__main__":
    main()
