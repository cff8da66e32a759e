"""Write the table of docs/finetuning.md from docs/results/finetuning.csv: python docs/make_finetuning.py."""

from __future__ import annotations

from pathlib import Path

from skelzoo.learn.protocols import WITHOUT_COPIES
from skelzoo.learn.results import Row, read_rows
from skelzoo.loading import RANDOM

PAGE = Path(__file__).with_name("finetuning.md")
MARKS = "<!-- table: docs/make_finetuning.py -->\n", "<!-- /table -->"
MODEL, NAMES = "skeattnclr-openskel", {"utdmhad": "UTD-MHAD", "nwucla": "NW-UCLA"}


def table() -> str:
    """Markdown: a line per benchmark, number of training clips and mode; pretrained and from random weights."""
    rows = {row.key: row for row in read_rows(PAGE.parent / "results/finetuning.csv") if row.model.removesuffix(RANDOM) == MODEL}
    whole = [row for row in rows.values() if row.model == MODEL and not row.variant.endswith(WITHOUT_COPIES)]
    lines = ["| data | training clips | per class | mode | epochs | pretrained | random weights |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for row in sorted(whole, key=lambda row: (-list(NAMES).index(row.benchmark), row.train_clips, row.protocol.split(", ")[1] != "linear", row.protocol)):
        _, mode, epochs, *norm = row.protocol.split(", ")
        share = row.variant.partition(" of labels")[0] if "labels" in row.variant else "all"
        numbers = [_numbers(rows, row, model) for model in (MODEL, MODEL + RANDOM)]
        clips = f"{row.train_clips}, {share} | {row.train_clips / row.classes:.0f}"
        lines.append(f"| {NAMES[row.benchmark]} | {clips} | {', '.join([mode, *norm])} | {epochs.removesuffix(' epochs')} | {' | '.join(numbers)} |")
    return "\n".join(lines) + "\n"


def _numbers(rows: dict[tuple[str, str, str, str], Row], row: Row, model: str) -> str:
    """The accuracy on all test clips, and without the copied ones where there are some."""
    words = row.variant.rpartition("all test clips")[0]
    found = (rows.get((model, row.benchmark, row.protocol, variant)) for variant in (row.variant, words + WITHOUT_COPIES))
    return " / ".join(f"{r.value:.1f}" + (f" ± {r.spread:.1f}" if r.spread is not None else "") for r in found if r is not None)


def text() -> str:
    """The page with its table as the results are."""
    before, rest = PAGE.read_text(encoding="utf-8").split(MARKS[0])
    return before + MARKS[0] + table() + MARKS[1] + rest.split(MARKS[1])[1]


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
