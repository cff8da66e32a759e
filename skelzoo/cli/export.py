"""The verb ``export``."""

from __future__ import annotations

import click

from skelzoo.cli.completion import complete_files, complete_models


@click.command("export")
@click.argument("model", shell_complete=complete_models)
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    shell_complete=complete_files,
    help="Ends in .onnx (needs the onnx extra), or .pt2 for a program of torch.export; FILE.json beside it says how clips are prepared and what comes out.",
)
def export_command(model: str, out: str) -> None:
    """Write MODEL as one file that runs without skelzoo: prepared clips in, vectors and, with a head, logits out."""
    from skelzoo.inference.encoder import Encoder
    from skelzoo.inference.export import export

    done = export(Encoder.from_pretrained(model, device="cpu"), out)
    click.echo(f"{', '.join(map(str, done.files))}: vectors and logits as those of {model}, largest difference {done.difference:.1e}")
