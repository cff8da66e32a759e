"""The verb ``pretrain``."""

from __future__ import annotations

from pathlib import Path

import click

from skelzoo.cli.completion import complete_files
from skelzoo.cli.options import device_option


@click.command("pretrain")
@click.argument("recipe", shell_complete=complete_files)
@click.option("--data", required=True, shell_complete=complete_files, help="Folder with the recipe's corpus files.")
@click.option("--out", required=True, shell_complete=complete_files, help="Folder of the run; given again, the run goes on.")
@device_option
@click.option("--stop-after", type=click.IntRange(1), metavar="STEPS", help="Stop, with a checkpoint, once this many steps are done in all.")
@click.option("--devices", type=click.IntRange(1), default=1, show_default=True, help="Devices of this machine to train on, one process each.")
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="Machines; the command is given on each of them.")
@click.option("--compile", "compiled", is_flag=True, help="Run the net and its losses through torch.compile.")
@click.option("--refit", "only_head", is_flag=True, help="Fit the head of the finished run anew; RECIPE may differ in head and embed_ options.")
def pretrain_command(recipe: str, data: str, out: str, device: str, stop_after: int | None, devices: int, nodes: int, compiled: bool, only_head: bool) -> None:
    """Pretrain an encoder by RECIPE: a name, or a path ending in .json."""
    from skelzoo.learn.pretrain.loop import pretrain, refit
    from skelzoo.learn.processes import rank

    if only_head:
        folder = refit(recipe, data, out, device=device)
    else:
        folder = pretrain(recipe, data, out, device=device, stop_after=stop_after, devices=devices, nodes=nodes, compile=compiled)
    if rank() == 0:
        click.echo(f"stopped; the same command goes on: {folder}" if folder == Path(out) else f"weights, to be loaded as local:{folder}")
