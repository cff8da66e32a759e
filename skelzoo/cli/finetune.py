"""The verb ``finetune``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

import skelzoo
from skelzoo.cli.completion import complete_files, complete_models
from skelzoo.cli.files import finish, name_refusal, note_passed_over
from skelzoo.cli.options import array_options, check_step, device_option, select_option, window_options

if TYPE_CHECKING:
    from skelzoo.learn.finetune_options import Mode
    from skelzoo.learn.labels import Source
    from skelzoo.skeleton.io.read_options import ReadOptions
    from skelzoo.skeleton.windows import Length


@click.command("finetune")
@click.argument("model", shell_complete=complete_models)
@click.argument("recordings", shell_complete=complete_files)
@click.option(
    "--out",
    required=True,
    shell_complete=complete_files,
    help="Weights folder to write, to be loaded as local:FOLDER; stopped before the end, the same command goes on.",
)
@click.option(
    "--mode",
    type=click.Choice(["full", "linear", "semi"]),
    default="full",
    show_default=True,
    help="Train all, the head alone, or all on --unlabelled clips too, as PSP does.",
)
@click.option("--freeze", default="none", show_default=True, metavar="none|body|N", help="Keep the body, or the first N blocks, as they are.")
@click.option("--epochs", type=click.IntRange(1), default=60, show_default=True, help="Passes over the clips.")
@click.option("--learning-rate", type=float, default=0.005, show_default=True, help="Of the head; blocks below learn more slowly.")
@click.option(
    "--validation",
    shell_complete=complete_files,
    metavar="SHARE|PATH",
    help="Share of the clips to hold out, 0 for none; or recordings to validate on.  [default: 0.2]",
)
@click.option("--folds", metavar="N|groups", help="Cross-validate in N folds, or leave out one group at a time; the model then learns from all clips.")
@click.option(
    "--report",
    shell_complete=complete_files,
    metavar="FILE.csv",
    help="With --folds: every clip's class and scores out of fold, and the confusion table as FILE.confusion.csv.",
)
@click.option("--group", metavar="REGEX", help="Finds the person in PATH/CLIPNAME, e.g. 'subject(\\d+)'; whole persons are then held out.")
@click.option("--label", metavar="REGEX", help="Finds the class in PATH/CLIPNAME, e.g. '^[^/]+/([^/]+)/[^/]+/'.")
@click.option(
    "--label-from",
    type=click.Choice(["auto", "folder", "file"]),
    default="auto",
    show_default=True,
    help="Take the first folder's name as class, or the file's own label; auto takes what is there.",
)
@click.option(
    "--labels",
    "table",
    shell_complete=complete_files,
    metavar="FILE.csv",
    help="Table with the columns file, label and, if wanted, group, instead of class folders.",
)
@click.option("--unlabelled", multiple=True, shell_complete=complete_files, help="Recordings without labels, for --mode semi; may be given again.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is random: the new head, which clips are held out, their order.")
@device_option
@select_option
@window_options
@array_options()
@click.option("--overwrite", is_flag=True, help="Replace a model that OUT holds.")
@click.pass_context
def finetune_command(
    context: click.Context, model: str, recordings: str, out: str, mode: Mode, validation: str | None, folds: str | None, report: str | None, group: str | None, label: str | None,
    label_from: Source, table: str | None, unlabelled: tuple[str, ...], overwrite: bool, device: str, select_persons: bool, freeze: str, epochs: int, learning_rate: float, seed: int,
    window: Length | None, step: Length | None, reading: ReadOptions,
) -> None:  # fmt: skip
    """Teach MODEL the classes of RECORDINGS: a folder with one folder of recordings per class, or files whose clips have labels, or any with --labels."""
    from skelzoo.learn.finetune import FinetuneOptions
    from skelzoo.learn.finetune_checkpoint import remove_checkpoint
    from skelzoo.learn.finetune_report import check_report, summary
    from skelzoo.learn.recordings import finetune_recordings
    from skelzoo.weights.files import check_target

    if (report and not folds) or (folds and validation is not None):
        raise click.UsageError("--report goes with --folds, and --folds without --validation: the model then learns from all clips.")
    check_step(window, step)
    check_target(Path(out), overwrite)
    if report:
        check_report(report, out, [path for path in (recordings, table, validation, *unlabelled) if path])
    checkpoint = f"{Path(out)}.checkpoint.pt"  # beside the folder, which the weights have to themselves
    options = FinetuneOptions(epochs=epochs, learning_rate=learning_rate, seed=seed, freeze=int(freeze) if freeze.isdecimal() else freeze)
    encoder = skelzoo.load(model, device=device)
    note_passed_over([path for path in (recordings, validation, *unlabelled) if path])
    done = finetune_recordings(
        encoder, recordings, mode=mode, validation=validation and _share_or_path(validation), folds=int(folds) if folds and folds.isdecimal() else folds, report=report,
        group=group, label=label, label_from=label_from, table=table, unlabelled=unlabelled, select_persons=select_persons, reading=reading, window=window, step=step,
        options=options, command=_command_line(context), on_left_out=name_refusal, checkpoint=checkpoint,
    )  # fmt: skip
    if done.report:
        click.echo(f"out-of-fold classes and scores: {', '.join(map(str, done.report))}")
    click.echo(f"{summary(done.result)}\nweights, to be loaded as local:{done.result.encoder.save(out)}")
    remove_checkpoint(checkpoint)
    finish(len(done.clips), len(done.left_out))


def _share_or_path(validation: str) -> float | str:
    try:
        return float(validation)
    except ValueError:
        return validation


def _command_line(context: click.Context) -> str:
    """The command as it was given."""
    words = ["skelzoo", str(context.info_name)]
    for parameter in context.command.params:
        value = context.params[str(parameter.name)]
        if context.get_parameter_source(str(parameter.name)) is click.core.ParameterSource.COMMANDLINE:
            option = [] if isinstance(parameter, click.Argument) else [parameter.opts[0]]
            values = value if isinstance(value, tuple) else [value]
            words += [word for v in values for word in (option if v is True else [*option, str(v)])]
    # Of a path that is no UTF-8 the card says what it can.
    return shlex.join(words).encode("utf-8", "replace").decode()
