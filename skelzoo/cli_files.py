"""What verbs that read many files share: going on past those that cannot be used, and saying so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

import click

from skelzoo.cli_models import fail

if TYPE_CHECKING:
    from skelzoo.inference.files import Refusal

T = TypeVar("T")

select_option = click.option("--select-persons", is_flag=True, help="Where a clip has more persons than the model takes, keep those that move most.")


def array_options(prefix: str = "") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Options that say what files leave open; they become ``array_layout``, ``array_axes``, ``array_fps`` and ``fill_missing``.

    Args:
        prefix: before the names of the first three, for verbs that have options of these names.
    """

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in (
            click.option(
                "--fill-missing",
                is_flag=True,
                help="Fill NaN joints of numpy and parquet files, and empty cells of tables, by interpolation over time; else such clips are refused.",
            ),
            click.option(f"--{prefix}fps", "array_fps", type=float, metavar="FPS", help="Frames per second of files that give none."),
            click.option(f"--{prefix}axes", "array_axes", metavar="AXES", help="Axes of numpy arrays that name none, e.g. 't v c' or 'n c t v m'."),
            click.option(f"--{prefix}layout", "array_layout", metavar="NAME", help="Layout of numpy arrays that name none; see docs/layouts.md."),
        ):
            command = option(command)
        return command

    return add


def window_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that cut clips; they become ``window`` and ``step``, which ``check_step`` looks at."""
    for option in (
        click.option(
            "--step", type=click.IntRange(1), metavar="FRAMES", help="With --window: from the start of one to the next; as long as they are by default."
        ),
        click.option("--window", type=click.IntRange(1), metavar="FRAMES", help="Cut every clip into windows, each a clip NAME[start:stop] of its own."),
    ):
        command = option(command)
    return command


def check_step(window: int | None, step: int | None) -> None:
    """Refuse --step without --window."""
    if step and not window:
        raise click.UsageError("--step goes with --window.")


def check_label_options(*given: object) -> None:
    """Refuse more than one of --label, --label-from and --labels."""
    if sum(map(bool, given)) > 1:
        raise click.UsageError("Give one of --label, --label-from and --labels.")


def go_through(items: Iterator[T | Refusal], paths: Sequence[str], result: str = "") -> tuple[list[T], int]:
    """Collect what is usable of the paths, name the rest on stderr as it comes, but for an earlier result."""
    from tqdm import tqdm

    from skelzoo.inference.files import Refusal

    done, refused = [], 0
    for item in tqdm(items, desc="reading", unit="clip", delay=2, disable=None, leave=False):
        if isinstance(item, Refusal):
            refused += 1
            name_refusal(item)
        else:
            done.append(item)
    note_passed_over(paths, result)
    return done, refused


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


def finish(done: int, refused: int) -> None:
    """End with exit code 1 where nothing was done or something was refused."""
    if not done:
        fail("no clip could be used; nothing was written.")
    if refused:
        fail(f"{refused} file(s) or clip(s) left out, {done} clip(s) done.")
