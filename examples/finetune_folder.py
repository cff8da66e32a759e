"""Teach an encoder your own classes: python examples/finetune_folder.py [FOLDER [OUT [MODEL]]].

FOLDER has one folder of recordings per class, named after it, in any format `skelzoo read` knows. Without one, a folder
of made-up motions is written and used, so that this runs at once and offline.
"""

from __future__ import annotations

import sys
from pathlib import Path

import skelzoo
from skelzoo.inference.files import Refusal
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.recordings import labelled_files
from skelzoo.skeleton.procedural import make, motions

FEW = 10
"""Clips per class up to which only the head is trained, which takes seconds."""


def make_recordings(folder: Path) -> None:
    """Eight performances of each made-up motion: FOLDER/CLASS/CLASS-SEED.npz."""
    for name in motions():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for seed in range(8):
            skelzoo.save_clips(folder / name / f"{name}-{seed}.npz", [make(name, seed=seed)])


def main(folder: str = "made-up-recordings", out: str = "my-model", model: str = "skeattnclr-openskel") -> None:
    """Fine-tune, say how well it does on the clips held out, save, and use what was saved."""
    if not Path(folder).exists():
        make_recordings(Path(folder))
    encoder = skelzoo.load(model)
    clips = []
    for item in labelled_files(folder, encoder.contract, select_persons=True):
        if isinstance(item, Refusal):
            print(f"left out: {item}", file=sys.stderr)
        else:
            clips.append(item.clip)
    if not clips:
        sys.exit(f"{folder}: no recording that {model} takes.")
    classes = {clip.label for clip in clips}
    mode = "linear" if len(clips) <= FEW * len(classes) else "full"
    result = finetune(encoder, clips, mode=mode, options=FinetuneOptions(seed=0))
    print(f"{mode}: {len(clips)} clips of {len(classes)} classes, {result.accuracy:.0f} % of the held-out ones right after epoch {result.best_epoch}")
    for name, right in result.per_class.items():
        print(f"  {name}: {right:.0f} %")

    result.encoder.save(out)
    mine = skelzoo.load(f"local:{out}")
    print(f"local:{out} takes {clips[0].name} for: {mine.classify(clips[:1], top_k=1).labels[0, 0]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
