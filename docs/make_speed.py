"""Write docs/speed.md from docs/results/speed-*.csv and precision-*.csv: python docs/make_speed.py."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).with_name("results")
HEAD = """# Speed

Written by `python docs/make_speed.py` from `docs/results`; do not edit.

Nothing has to be set: `embed` and `classify` run a fused form of the net, batches suit the device, and the next batch is prepared while one is computed.
What can be set:

| setting | what it does |
| --- | --- |
| `device` | `auto` is CUDA, then MPS, then CPU; many devices at once: [bulk.md](bulk.md) |
| `dtype="float32"` (`auto`) | the same vectors on every device, up to rounding; TF32 is off, whatever torch's own setting |
| `dtype="tf32"` | float32 whose products and convolutions CUDA may round to TF32; the same as float32 elsewhere |
| `dtype="bfloat16"`, `"float16"` | the whole net in 16 bits; vectors come back as float32. On CPUs that cannot compute in them they are slower |
| `compile=True` | through `torch.compile`; needs a C++ compiler on CPUs. The first batch compiles (`first call` below), and it is not always faster: on the CPU below `skeattnclr-openskel` gains and `skeattnclr-ntu60` loses in every row, so measure first |
| `compile="max-autotune"` | tries several kernels for each step; on CUDA with CUDA graphs, as `"reduce-overhead"` has |
| `batch_size` | the default on a CPU is 16: below, `embed` of one clip at a time is slower, and 64 at a time gain at most a quarter; on CUDA it is measured from the memory that clips take |

On the command line: `--device`, `--dtype`, `--compile`, `--max-autotune`, `--batch-size`.

The fused form (`skelzoo/nets/fused.py`) equals the trained net up to rounding: BatchNorm, edge importance and codes of positions are folded into the weights,
each step is the cheapest order of products, on a CPU a few persons at a time pass through all layers while they are in the cache, and persons who are not
there are not computed: their vector is a constant. `encoder.net` stays the trained net, for fine-tuning; a change of its weights makes the form anew.

## In a service

An encoder may be used by several threads at once. Processes made by `spawn` or `forkserver` are as good as any other. In a process that was **forked** after torch had
computed, as under `gunicorn --preload` and in the workers that `multiprocessing` makes by default on Linux before Python 3.14, torch waits for ever where it computes on
several threads of the CPU, skelzoo or not: call `torch.set_num_threads(1)` first thing in the child, as torch's own `DataLoader` does.
It may be forked while threads of the parent embed, as long as they show no bar.
Warnings of odd clips are [a category to filter by](errors.md#warnings).

## Measure your own machine

```sh
skelzoo bench speed                                         # the three families at the widths of their papers; or name models
skelzoo bench precision skeattnclr-openskel --data DATA     # vectors in fewer bits against float32, on NW-UCLA
skelzoo bench bulk                                          # embed --out of 1,000, 10,000 and 100,000 clips
skelzoo bench load
skelzoo bench import
```

In `bench speed` all forms take turns in one run; the median counts, so the rows of a model and batch come together. By default, one net of each paper in all forms, it takes long on a CPU;
`skelzoo bench speed skeattnclr-openskel --batch 16 --form fused --rounds 3 --no-memory` takes less than a minute. `plain` is the trained net in evaluation mode on the whole batch, which has the structure of the authors'
code, without its heads for pretraining. `embed` starts from clips in memory and prepares them. `of peak` is operations per second as a share of a large matrix product or convolution, the faster one, of the same type. One-person clips are clips whose other persons are absent.
"""
SPEED = ("model", "persons", "batch", "form", "dtype", "clips/s", "x plain", "of peak", "GFLOP per clip", "peak MiB", "first call, s", "difference")
PRECISION = ("model", "dtype", "cosine", "worst", "same nearest neighbour's class, %", "same class, linear, %", "right, knn, %", "right, linear, %")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table of results."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def about(rows: Sequence[dict[str, str]]) -> str:
    """Where and how rows were measured."""
    row = rows[0]
    return f"\n{row['device']}, torch {row['torch']}, commit {row['commit']}: `{row['command']}`\n\n"


def speed_row(row: dict[str, str]) -> list[str]:
    """One timing."""
    share = f"{float(row['of_peak']):.0%}" if row["of_peak"] else "-"
    return [
        f"`{row['model']}`", row["persons"], row["batch"], row["form"], row["dtype"], f"{float(row['clips_per_second']):.1f}", f"{float(row['ratio']):.2f}",
        share, row["gflop_per_clip"] or "-", row["peak_mib"] or "-", f"{float(row['first_seconds']):.2f}", row["difference"],
    ]  # fmt: skip


def precision_row(row: dict[str, str]) -> list[str]:
    """One comparison."""
    form = row["dtype"] + (f", compiled ({row['compile']})" if row["compile"] else "")
    shares = [f"{float(row[key]):.1f}" for key in ("knn_agreement", "linear_agreement", "knn", "linear")]
    return [f"`{row['model']}`", form, f"{float(row['cosine']):.6f}", f"{float(row['lowest_cosine']):.6f}", *shares]


def text() -> str:
    """The whole page."""
    parts = [HEAD, "\n## Clips per second\n"]
    for path in sorted(RESULTS.glob("speed-*.csv")):
        rows = read(path)
        parts += [about(rows), table(SPEED, list(map(speed_row, rows))), "\n"]
    parts.append("\n## What fewer bits change\n")
    for path in sorted(RESULTS.glob("precision-*.csv")):
        rows = read(path)
        parts += [about(rows), table(PRECISION, list(map(precision_row, rows))), "\n"]
    return "".join(parts)


if __name__ == "__main__":
    Path(__file__).with_name("speed.md").write_text(text(), encoding="utf-8")
