"""Measure how far the scores of a fine-tuned head can be trusted, with and without its temperature, on UTD-MHAD's test part.

    python tools/measure_calibration.py --data DATA [--model NAME] [--mode full|linear] [--seed 0] [--epochs 60]

Of the persons of the training part two fifths validate, as `skelzoo finetune --group` holds them out; the test part is classified once.
"""

from __future__ import annotations

import argparse
import re

import numpy as np

import skelzoo
from skelzoo.learn.benchmarks import standard_clips
from skelzoo.learn.cross_validation import SMALLEST
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.head_result import calibration_error


def main() -> None:
    """Fine-tune, classify the test part, print accuracy and both calibration errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="skeattnclr-openskel")
    parser.add_argument("--mode", default="full", choices=["full", "linear"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=FinetuneOptions.epochs)
    a = parser.parse_args()
    encoder = skelzoo.load(a.model)
    clips = standard_clips("utdmhad", a.data).of_at_least(encoder.contract.min_frames)
    persons = [re.findall(r"_s(\d+)_", clip.name)[0] for clip in clips.train]
    result = finetune(encoder, clips.train, mode=a.mode, validation=0.4, groups=persons, options=FinetuneOptions(epochs=a.epochs, seed=a.seed))
    assert result.calibration is not None
    # Logits but for a constant, which scores do not depend on.
    logits = np.log(np.maximum(result.encoder.scores(clips.test).astype(float), SMALLEST))
    truth = np.array([result.labels.index(str(clip.label)) for clip in clips.test])
    temperature, accuracy = result.calibration.temperature, 100 * (logits.argmax(1) == truth).mean()
    print(
        f"{len(persons)} training clips, validated on persons {', '.join(result.held_out)}: {accuracy:.1f} % of the test part, calibration error "
        f"{calibration_error(logits, truth):.3f}, without the temperature of {temperature:.2f} {calibration_error(logits * temperature, truth):.3f}"
    )


if __name__ == "__main__":
    main()
