"""Results as text for screens: columns, each as wide as it must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skelzoo.inference.classification import Classification
    from skelzoo.inference.output import ClipId


def classes_table(result: Classification, ids: Sequence[ClipId]) -> str:
    """What ``write_classes`` writes, for people; where names repeat, with the files."""
    timed = any(i.stop_s is not None for i in ids)
    rows = [
        [i.name, *([_seconds(i)] if timed else []), i.label or "-", *(f"{n} {s:.2f}" for n, s in zip(names, scores, strict=True))]
        for i, names, scores in zip(ids, result.labels, result.scores, strict=True)
    ]
    return clip_table(
        ["clip", *(["seconds"] if timed else []), "label", *(f"class {k + 1}" for k in range(result.labels.shape[1]))], rows, [i.file for i in ids]
    )


def _seconds(window: ClipId) -> str:
    return "-" if window.start_s is None or window.stop_s is None else f"{window.start_s:.2f}-{window.stop_s:.2f}"


def clip_table(header: Sequence[str], rows: Sequence[Sequence[str]], files: Sequence[str]) -> str:
    """``table`` of clips, whose names come first; where names repeat, each row's file stands beside them."""
    if len({row[0] for row in rows}) < len(rows) and len(set(files)) > 1:
        header, rows = [header[0], "file", *header[1:]], [[row[0], file, *row[1:]] for row, file in zip(rows, files, strict=True)]
    return table(header, rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text columns, each as wide as its widest cell. Line breaks and other control characters in cells become blanks."""
    cells = [["".join(c if c.isprintable() else " " for c in cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
