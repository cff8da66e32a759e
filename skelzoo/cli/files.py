"""What verbs that read many files share: going on past those that cannot be used, and saying so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

import click

from skelzoo.cli.options import fail

if TYPE_CHECKING:
    from skelzoo.inference.files import Refusal

T = TypeVar("T")


def go_through(items: Iterator[T | Refusal], paths: Sequence[str], result: str = "") -> tuple[list[T], int]:
    """Collect what is usable of the paths, name the rest on stderr as it comes, but for an earlier result."""
    from skelzoo.inference.files import collected

    done, refused = collected(items, name_refusal)
    note_passed_over(paths, result)
    return done, len(refused)


def name_refusal(item: Refusal) -> None:
    """Name on stderr a file or clip that cannot be used."""
    import sys

    from tqdm import tqdm

    tqdm.write(f"error: {item}", file=sys.stderr)


def note_passed_over(paths: Sequence[str], result: str = "") -> None:
    """Count on stderr the files of no known format, but for an earlier result."""
    from collections import Counter

    from skelzoo.skeleton.io import passed_over

    others = Counter(
        f"{path.suffix} of vectors" if path.suffix.lower() == ".npz" else path.suffix or path.name
        for path in passed_over(paths)
        if path.resolve() != Path(result).resolve()
    )
    if others:
        click.echo(f"note: {others.total()} files are of no format that is read: {', '.join(f'{n} {what}' for what, n in others.most_common(5))}", err=True)


def show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None) -> None:
    """Say on stderr what is warned of, without the line of code that does: ``warnings.showwarning``."""
    import sys

    from tqdm import tqdm

    tqdm.write(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def finish(done: int, refused: int, result: str = "-") -> None:
    """End with exit code 1 where nothing was done, and no file ``result`` written, or something was refused."""
    if not done:
        fail("no clip could be used." if result == "-" else "no clip could be used; nothing was written.")
    if refused:
        fail(f"{refused} file(s) or clip(s) left out, {done} clip(s) done.")
