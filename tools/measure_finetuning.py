"""Measure fine-tuning on a benchmark's standard split, into docs/results/finetuning.csv; docs/make_finetuning.py writes the table of docs/finetuning.md from it.

    python tools/measure_finetuning.py nwucla|utdmhad --data DATA --out docs/results/finetuning.csv [--model NAME] [--mode full|linear]
        [--labels PERCENT] [--seed 0 1 2] [--epochs 60] [--batch-norm auto|kept|batch] [--random-weights]

Trains on the training part, or a share of each class of it, without a validation part, and classifies the test part once per seed.
`skelzoo eval MODEL --on nwucla|utdmhad --protocol finetune [--labels PERCENT]` does it with the default options.
"""

from __future__ import annotations

import argparse
import shlex
import sys

import numpy as np
import torch

import skelzoo
from skelzoo.learn.benchmarks import BENCHMARKS, find_benchmark, standard_clips
from skelzoo.learn.finetune import FinetuneOptions
from skelzoo.learn.protocols import Trial, accuracies, finetuned, trained_on
from skelzoo.learn.results import Row, device_name, merge_rows, revision, trained_in


def main() -> None:
    """Fine-tune once per seed, classify the test part, print the accuracies and put them into the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--model", default="skeattnclr-openskel")
    parser.add_argument("--mode", default="full", choices=["full", "linear"])
    parser.add_argument("--labels", type=float)
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=FinetuneOptions.epochs)
    parser.add_argument("--batch-norm", default=FinetuneOptions.batch_norm)
    parser.add_argument("--random-weights", action="store_true")
    a = parser.parse_args()
    torch.manual_seed(0)  # of the random weights
    trial = Trial(skelzoo.load(a.model, pretrained=not a.random_weights), find_benchmark(a.benchmark), standard_clips(a.benchmark, a.data), a.labels)
    rights = [finetuned(trial, FinetuneOptions(epochs=a.epochs, batch_norm=a.batch_norm, seed=seed), a.mode) for seed in a.seed]
    norm = "" if a.batch_norm == FinetuneOptions.batch_norm else f", batch_norm {a.batch_norm}"
    rows = [
        Row(
            trial.encoder.name, a.benchmark, f"finetune, {a.mode}, {a.epochs} epochs{norm}", m.variant, round(float(np.mean(m.values)), 3),
            round(float(np.std(m.values, ddof=1)), 3) if len(m.values) > 1 else None, m.seeds, m.train_clips, m.test_clips, len(set(trial.clips.train_labels)),
            f"{trial.benchmark.title}; skelzoo finetune with its default options{norm}, no validation part, last epoch",
            shlex.join(["python", *("DATA" if word == a.data else word for word in sys.argv)]), revision(), device_name(trial.encoder.device),
            {}, *trained_in(trial.encoder.device),
        )
        for m in accuracies(trial, rights, len(trained_on(trial, 0)), a.seed, trial.share)
    ]  # fmt: skip
    print(*rows, sep="\n")
    merge_rows(a.out, rows)


if __name__ == "__main__":
    main()
