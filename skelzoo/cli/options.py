"""What the verbs share: options, checks of them, JSON, and how one says that it failed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, NoReturn

import click

from skelzoo.cli.completion import complete_layouts
from skelzoo.errors import SkelzooError

device_option = click.option("--device", default="auto", show_default=True, help="Where to compute: auto, cpu, cuda, cuda:1, mps.")

select_option = click.option("--select-persons", is_flag=True, help="Where a clip has more persons than the model takes, keep those that move most.")

each_option = click.option("--each-person", is_flag=True, help="Make one clip NAME#ID of every person; the ID is the tracker's, or the person's number.")


def fail(error: SkelzooError | str) -> NoReturn:
    """Say what went wrong on stderr and end with exit code 1."""
    click.echo(f"error: {error if isinstance(error, str) else error.one_line}", err=True)
    raise click.exceptions.Exit(1)


def pretty_json(row: Any) -> str:
    """JSON for people and programs."""
    return json.dumps(row, indent=2, ensure_ascii=False)


def array_options(prefix: str = "") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Options that say what files leave open; the verb gets them in one, as ``reading``.

    Args:
        prefix: before the names of the first three, for verbs that have options of these names.
    """

    def add(verb: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(verb)
        def command(
            *args: Any,
            array_layout: str | None,
            array_axes: str | None,
            array_fps: float | None,
            fill_missing: bool,
            up: str | None,
            image_size: str | None,
            **others: Any,
        ) -> None:
            from skelzoo.skeleton.io.read_options import ReadOptions

            reading = ReadOptions(layout=array_layout, axes=array_axes, fps=array_fps, fill_missing=fill_missing, up=up, image_size=image_size)
            verb(*args, reading=reading, **others)

        for option in (
            click.option(
                "--fill-missing",
                is_flag=True,
                help="Fill NaN joints of numpy and parquet files, and empty cells of tables, by interpolation over time; else such clips are refused.",
            ),
            click.option(
                "--image-size",
                metavar="SIZE",
                help="Width and height of the picture of a pose estimator's joints, e.g. 1280x720: x and y that are shares of it become pixels, without z.",
            ),
            click.option("--up", metavar="AXIS", help="Axis of 3-D files that points up: y, z, x, -y, -z or -x; joints are rotated so that it becomes y."),
            click.option(f"--{prefix}fps", "array_fps", type=float, metavar="FPS", help="Frames per second of files that give none."),
            click.option(f"--{prefix}axes", "array_axes", metavar="AXES", help="Axes of numpy arrays that name none, e.g. 't v c' or 'n c t v m'."),
            click.option(
                f"--{prefix}layout",
                "array_layout",
                metavar="NAME",
                shell_complete=complete_layouts,
                help="Layout of numpy arrays that name none, and of tables with numbered joints; skelzoo layouts lists them.",
            ),
        ):
            option(command)
        return command

    return add


def _length(context: click.Context, option: click.Parameter, value: str | None) -> int | str | None:
    """Frames as a number, or seconds as a text, see ``skelzoo.windows``."""
    from skelzoo.skeleton.windows import check_window

    length = int(value) if value and value.isdecimal() else value
    try:
        check_window(length, None)
    except SkelzooError:
        raise click.BadParameter(f"{value!r} is no length. Give frames, such as 90, or seconds, such as 3s.", context, option) from None
    return length


def window_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that cut clips; they become ``window`` and ``step``, which ``check_step`` looks at."""
    for option in (
        click.option(
            "--step",
            metavar="LENGTH",
            callback=_length,
            help="With --window: from the start of one to that of the next, in frames or seconds; a window by default.",
        ),
        click.option(
            "--window",
            metavar="LENGTH",
            callback=_length,
            help="Cut every clip into windows of so many frames (90) or seconds (3s), each a clip NAME[start:stop] of its own.",
        ),
    ):
        command = option(command)
    return command


def check_step(window: int | str | None, step: int | str | None) -> None:
    """Refuse --step without --window."""
    if step and not window:
        raise click.UsageError("--step goes with --window.")
