"""Measure fine-tuning on a benchmark's standard split; the numbers of docs/finetuning.md.

    python tools/measure_finetuning.py nwucla|utdmhad --data DATA [--model NAME] [--mode full|linear] [--share 0.1] [--seed 0] [--epochs 60] [--random-weights]

Trains on the training part, or a share of each class of it, without a validation part, and classifies the test part once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import skelzoo
from skelzoo.errors import SkelzooError
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.probe import BENCHMARKS, COPY_FLAG
from skelzoo.learn.splits import hold_out
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.corpus import read_table
from skelzoo.skeleton.prepare import Contract, prepare, prepare_batch


def fits(clip: Clip, contract: Contract) -> bool:
    """Whether a clip can be trained on; a few of the benchmarks' have a single frame."""
    try:
        prepare(clip, contract)
    except SkelzooError:
        return False
    return True


def main() -> None:
    """Fine-tune, classify the test part, print the accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="skeattnclr-openskel")
    parser.add_argument("--mode", default="full", choices=["full", "linear"])
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=FinetuneOptions.epochs)
    parser.add_argument("--random-weights", action="store_true")
    a = parser.parse_args()
    benchmark = BENCHMARKS[a.benchmark]
    torch.manual_seed(0)  # of the random weights
    encoder = skelzoo.load(a.model, pretrained=not a.random_weights)
    corpus = read_table(Path(a.data) / benchmark.file)
    train, test = (np.flatnonzero(part(corpus)) for part in (benchmark.train, benchmark.test))
    train = np.array([i for i in train if fits(corpus.clips[i], encoder.contract)])
    if a.share < 1:
        classes, truth = np.unique(corpus.label[train], return_inverse=True)
        train = train[hold_out(truth.astype(np.int64), [str(c) for c in classes], ["?"] * len(train), a.share, a.seed)]
    options = FinetuneOptions(epochs=a.epochs, seed=a.seed)
    tuned = finetune(encoder, [corpus.clips[i] for i in train], mode=a.mode, validation=0.0, options=options).encoder
    x = prepare_batch([corpus.clips[i] for i in test], encoder.contract.replace(min_frames=1))
    right = tuned.classify(x, 1, prepared=True).labels[:, 0] == np.array([corpus.label_names[corpus.label[i]] for i in test])
    copies = (corpus.flags[test] & COPY_FLAG) > 0
    print(f"{len(train)} training clips: {100 * right.mean():.1f} %, {100 * right[~copies].mean():.1f} % without copies of training clips")


if __name__ == "__main__":
    main()
