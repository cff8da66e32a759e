"""Teach an encoder your own classes: python examples/finetune_folder.py [FOLDER [OUT [MODEL [MODE]]]].

FOLDER has one folder of recordings per class, named after it, in any format `skelzoo read` knows. Without one, a folder
of made-up motions is written and used, so that this runs at once and offline. MODE is `linear`, which trains the head alone in
seconds, or `full`, which is better with more than some 10 clips per class.
"""

from __future__ import annotations

import sys
from pathlib import Path

import skelzoo
from skelzoo.errors import SkelzooError
from skelzoo.learn.finetune import FinetuneOptions
from skelzoo.learn.recordings import finetune_recordings
from skelzoo.skeleton.procedural import make, motions


def make_recordings(folder: Path) -> None:
    """Eight performances of each made-up motion: FOLDER/CLASS/CLASS-SEED.npz."""
    for name in motions():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for seed in range(8):
            skelzoo.save_clips(folder / name / f"{name}-{seed}.npz", [make(name, seed=seed)])


def main(folder: str = "made-up-recordings", out: str = "my-model", model: str = "skeattnclr-openskel", mode: str = "linear") -> None:
    """Fine-tune, say how well it does on the clips held out, save, and use what was saved."""
    if not Path(folder).exists():
        make_recordings(Path(folder))
    done = finetune_recordings(
        skelzoo.load(model),
        folder,
        mode=mode,
        select_persons=True,
        options=FinetuneOptions(seed=0),
        on_left_out=lambda why: print(f"left out: {why}", file=sys.stderr),
    )
    result = done.result
    print(
        f"{mode}: {len(done.clips)} clips of {len(result.labels)} classes, {result.accuracy:.0f} % of the held-out ones right after epoch {result.best_epoch}"
    )
    for name, right in result.per_class.items():
        print(f"  {name}: {right:.0f} %")

    result.encoder.save(out)
    mine, first = skelzoo.load(f"local:{out}"), done.clips[0].clip
    print(f"local:{out} takes {first.name} for: {mine.classify(first, top_k=1).labels[0, 0]}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except SkelzooError as error:
        sys.exit(f"error: {error}")
