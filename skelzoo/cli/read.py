"""The verbs that look around: ``read``, ``layouts`` and ``demo``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

import skelzoo
from skelzoo.cli.completion import complete_files, complete_layouts, complete_models
from skelzoo.cli.files import finish, go_through
from skelzoo.cli.options import array_options, device_option

if TYPE_CHECKING:
    from skelzoo.skeleton.io.read_options import ReadOptions

SHOWN = 6
"""Ids of persons in a line of ``skelzoo read``."""


@click.command("read")
@click.argument("paths", nargs=-1, required=True, shell_complete=complete_files)
@array_options()
def read_command(paths: tuple[str, ...], reading: ReadOptions) -> None:
    """Show what is in files: one line per clip.

    The column measured is the share of the joints of the models' layout, kinect20 in 3-D and coco17 in 2-D, that the file measures; others are
    estimated, or are missing. Notes say what was decided of BVH and AMC files: unit, axes, frame rate, frames left out, bones.
    """
    from skelzoo.inference.files import read_files
    from skelzoo.inference.screen import clip_table
    from skelzoo.skeleton.doubts import noted_doubts
    from skelzoo.skeleton.odd_frames import odd_recording

    done, refused = go_through(read_files(paths, reading=reading), paths)
    rows, doubts = [], noted_doubts()
    noted, known = any(item.clip.notes for item in done), any(item.clip.person_ids for item in done)
    for i, item in enumerate(done):
        c = item.clip
        doubts.add(odd_recording(c), i, item.where)
        target = "kinect20" if c.channels == 3 else "coco17"
        share = f"{skelzoo.coverage(c.layout, target).share:.0%} of {target}"
        rows.append([c.name, str(c.persons), str(c.frames), f"{c.fps:g}" if c.fps else "-", c.layout.name, str(c.channels), c.label or "-", share])
        rows[-1] += [", ".join(c.person_ids[:SHOWN]) + ", ..." * (len(c.person_ids) > SHOWN) or "-"] * known + [", ".join(c.notes) or "-"] * noted
    doubts.warn()
    if rows:
        header = ["name", "persons", "frames", "fps", "layout", "channels", "label", "measured", *["person ids"] * known, *["notes"] * noted]
        click.echo(clip_table(header, rows, [item.file for item in done]))
    finish(len(rows), refused)


@click.command("layouts")
@click.argument("name", required=False, shell_complete=complete_layouts)
def layouts_command(name: str | None) -> None:
    """List the joint layouts, or the joints of the layout NAME by number, each with its parent."""
    from skelzoo.inference.screen import table

    if name is None:
        click.echo(table(["name", "title"], [[each, skelzoo.get_layout(each).title] for each in skelzoo.list_layouts()]))
        return
    layout = skelzoo.get_layout(name)
    rows = [[str(i), joint, layout.joints[p] if p >= 0 else "-"] for i, (joint, p) in enumerate(zip(layout.joints, layout.parents, strict=True))]
    click.echo(table(["number", "joint", "parent"], rows))


@click.command("demo")
@click.option("--model", default="skeattnclr-openskel", shell_complete=complete_models, show_default=True, help="Model to run.")
@click.option("--picture", shell_complete=complete_files, show_default="skelzoo_demo.png", help=".png, .svg or .pdf to write; needs the viz extra.")
@device_option
def demo_command(model: str, picture: str | None, device: str) -> None:
    """Classify and embed four made-up motions and draw them. Needs no data and no network."""
    from skelzoo.demo import run_demo

    click.echo(run_demo(model, picture, device))
