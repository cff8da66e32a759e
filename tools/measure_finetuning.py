"""Measure fine-tuning on a benchmark's standard split; the numbers of docs/finetuning.md.

    python tools/measure_finetuning.py nwucla|utdmhad --data DATA [--model NAME] [--mode full|linear] [--share 0.1] [--seed 0] [--epochs 60] [--random-weights]

Trains on the training part, or a share of each class of it, without a validation part, and classifies the test part once.
`skelzoo eval MODEL --on nwucla|utdmhad --protocol finetune [--labels PERCENT]` does it with the default options and several seeds.
"""

from __future__ import annotations

import argparse

import torch

import skelzoo
from skelzoo.learn.benchmarks import BENCHMARKS, draw_labels, standard_clips
from skelzoo.learn.finetune import FinetuneOptions
from skelzoo.learn.protocols import Trial, finetuned


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
    torch.manual_seed(0)  # of the random weights
    encoder = skelzoo.load(a.model, pretrained=not a.random_weights)
    clips = standard_clips(a.benchmark, a.data).of_at_least(encoder.contract.min_frames)
    if a.share < 1:
        clips = clips.keep(draw_labels(clips, 100 * a.share, a.seed))
    trial = Trial(encoder, a.benchmark, clips)
    right = finetuned(trial, FinetuneOptions(epochs=a.epochs, seed=a.seed), a.mode)
    numbers = ", ".join(f"{name} {100 * right[part].mean():.1f} %" for name, part in trial.test_parts)
    print(f"{len(clips.train)} training clips: {numbers}")


if __name__ == "__main__":
    main()
