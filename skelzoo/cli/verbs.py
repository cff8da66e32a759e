"""The command ``skelzoo``, and the verbs that go through recordings or train; the files beside this one have the others."""

from __future__ import annotations

import errno
import io
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import skelzoo
from skelzoo.cli.bench import bench_group
from skelzoo.cli.bulk import embed_to_store, export_command, store_options
from skelzoo.cli.completion import complete_files, complete_layouts, complete_models
from skelzoo.cli.corpus import corpus_group
from skelzoo.cli.docs import docs_command
from skelzoo.cli.eval import eval_command
from skelzoo.cli.files import finish, go_through, name_refusal, note_passed_over, show_warning
from skelzoo.cli.models import COMMANDS
from skelzoo.cli.options import array_options, check_label_options, check_step, device_option, each_option, fail, select_option, window_options
from skelzoo.errors import SkelzooError
from skelzoo.skeleton.doubts import warned_once

if TYPE_CHECKING:
    from skelzoo.inference.encoder import Encoder
    from skelzoo.inference.files import PreparedClip
    from skelzoo.inference.output import ClipId
    from skelzoo.inference.runner import CompileMode, Dtype
    from skelzoo.learn.finetune_options import Mode
    from skelzoo.learn.labels import Source
    from skelzoo.skeleton.clip import FloatArray
    from skelzoo.skeleton.io.read_options import ReadOptions
    from skelzoo.skeleton.windows import Length


class Verbs(click.Group):
    """A group whose verbs turn every SkelzooError into one line and exit code 1, and every warning into one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb."""
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":  # a name that the code page lacks must not end what is done
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            with warnings.catch_warnings(), warned_once():
                warnings.showwarning = show_warning
                return super().invoke(ctx)
        except SkelzooError as error:
            fail(error)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            fail(f"what is printed cannot be written: {error.strerror}. Free some space where it goes.")


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(skelzoo.__version__, prog_name="skelzoo")
def main() -> None:
    """Skeleton sequences in, vectors and action labels out.

    PATHS are files, folders and quoted globs of BVH, ASF/AMC, NTU, NW-UCLA, UTD-MHAD, UI-PRMD, numpy or parquet data, tables of joints, or a pose
    estimator's JSON. MODEL is a name from `skelzoo list`, local:FOLDER or hf:owner/repo@COMMIT.

    Exit codes: 0 all was done; 1 something failed, and is named on stderr; 2 the command line is not understood.
    """


for _command in (*COMMANDS, eval_command, export_command, bench_group, corpus_group, docs_command):
    main.add_command(_command)


@main.command("read")
@click.argument("paths", nargs=-1, required=True, shell_complete=complete_files)
@array_options()
def read_command(paths: tuple[str, ...], reading: ReadOptions) -> None:
    """Show what is in files: one line per clip.

    The column measured is the share of the joints of the models' layout, kinect20 in 3-D and coco17 in 2-D, that the file measures; others are
    estimated, or are missing. Notes say what was decided of BVH and AMC files: unit, axes, frame rate, frames left out, bones.
    """
    from skelzoo.inference.files import read_files
    from skelzoo.inference.output import clip_table
    from skelzoo.skeleton.doubts import noted_doubts
    from skelzoo.skeleton.odd_frames import odd_recording

    done, refused = go_through(read_files(paths, reading=reading), paths)
    rows, doubts, noted = [], noted_doubts(), any(item.clip.notes for item in done)
    for i, item in enumerate(done):
        c = item.clip
        doubts.add(odd_recording(c), i, item.where)
        target = "kinect20" if c.channels == 3 else "coco17"
        share = f"{skelzoo.coverage(c.layout, target).share:.0%} of {target}"
        rows.append([c.name, str(c.persons), str(c.frames), f"{c.fps:g}" if c.fps else "-", c.layout.name, str(c.channels), c.label or "-", share])
        rows[-1] += [", ".join(c.notes) or "-"] * noted
    doubts.warn()
    if rows:
        header = ["name", "persons", "frames", "fps", "layout", "channels", "label", "measured", *["notes"] * noted]
        click.echo(clip_table(header, rows, [item.file for item in done]))
    finish(len(rows), refused)


@main.command("layouts")
@click.argument("name", required=False, shell_complete=complete_layouts)
def layouts_command(name: str | None) -> None:
    """List the joint layouts, or the joints of the layout NAME by number, each with its parent."""
    from skelzoo.inference.output import table

    if name is None:
        click.echo(table(["name", "title"], [[each, skelzoo.get_layout(each).title] for each in skelzoo.list_layouts()]))
        return
    layout = skelzoo.get_layout(name)
    rows = [[str(i), joint, layout.joints[p] if p >= 0 else "-"] for i, (joint, p) in enumerate(zip(layout.joints, layout.parents, strict=True))]
    click.echo(table(["number", "joint", "parent"], rows))


def _encoder_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options shared by embed and classify."""
    for option in (
        window_options,
        array_options(),
        each_option,
        select_option,
        click.option("--max-autotune", "compile", flag_value="max-autotune", help="As --compile, with the fastest kernels it finds, in minutes."),
        click.option("--compile", "compile", flag_value="default", default="", help="Use torch.compile; the first batch takes long."),
        click.option("--dtype", default="auto", show_default=True, help="What to compute in: float32 (auto), tf32, bfloat16 or float16."),
        device_option,
        click.option("--batch-size", type=click.IntRange(1), help="Clips per batch; the default suits the device."),
    ):
        command = option(command)
    return command


@main.command("embed")
@click.argument("model", shell_complete=complete_models)
@click.argument("paths", nargs=-1, required=True, shell_complete=complete_files)
@click.option("-o", "--output", shell_complete=complete_files, help="File to write: .npz (embeddings, names, files, labels, model) or .npy (and NAME.ids.csv).")
@store_options
@_encoder_options
def embed_command(
    model: str, paths: tuple[str, ...], output: str | None, out: str | None, devices: str | None, workers: int | None, shard_size: int | None, parquet: bool, extend: bool,
    batch_size: int | None, device: str, dtype: Dtype, compile: CompileMode | bool, select_persons: bool, each_person: bool, window: Length | None, step: Length | None,
    reading: ReadOptions,
) -> None:  # fmt: skip
    """Write one vector per clip: with -o to one file, with --out to a folder, for more clips than memory holds."""
    from skelzoo.inference.output import check_embeddings, write_embeddings
    from skelzoo.skeleton.persons import check_choice

    check_step(window, step)
    check_choice(select_persons, each_person)
    if devices and device != "auto":
        raise click.UsageError("Give --device or --devices. A number in --devices is one of CUDA; several processes on one device are --device with --workers.")
    if out is not None and output is None:
        from skelzoo.inference.job import SHARD, Job

        job = Job(
            model, dtype=dtype, select_persons=select_persons, each_person=each_person, shard_size=shard_size or SHARD, parquet=parquet, array_layout=reading.layout, array_axes=reading.axes,
            array_fps=reading.fps, window=window, step=step, fill_missing=reading.fill_missing, up=reading.up, image_size=reading.image_size,
        )  # fmt: skip
        embed_to_store(job, paths, out, devices=devices or device, workers=workers, compile=compile, batch_size=batch_size, extend=extend)
        return
    if output is None or out is not None or devices or workers or shard_size or parquet or extend:
        raise click.UsageError("Give either -o FILE or --out STORE; --devices, --workers, --shard-size, --parquet and --extend go with --out.")
    check_embeddings(output, paths)
    encoder = skelzoo.load(model, device=device, dtype=dtype, compile=compile)
    array, ids, refused = _prepare(encoder, paths, select_persons, each_person, output, window, step, reading)
    if ids:
        vectors = encoder.embed(array, prepared=True, batch_size=batch_size)
        files = write_embeddings(output, vectors, ids, encoder.name)
        click.echo(f"{len(vectors)} vectors of {vectors.shape[1]} numbers: {', '.join(map(str, files))}")
    finish(len(ids), refused)


@main.command("classify")
@click.argument("model", shell_complete=complete_models)
@click.argument("paths", nargs=-1, required=True, shell_complete=complete_files)
@click.option(
    "-o", "--output", shell_complete=complete_files, default="-", show_default=True, help="File to write, .csv or .jsonl, or - for a table on the screen."
)
@click.option("--top-k", type=click.IntRange(1), default=5, show_default=True, help="Classes to name per clip, the likeliest first.")
@_encoder_options
def classify_command(
    model: str, paths: tuple[str, ...], output: str, top_k: int, batch_size: int | None, device: str, dtype: Dtype, compile: CompileMode | bool, select_persons: bool, each_person: bool,
    window: Length | None, step: Length | None, reading: ReadOptions,
) -> None:  # fmt: skip
    """Name the likeliest of the MODEL's classes for each clip; `skelzoo finetune` teaches it others."""
    from skelzoo.inference.output import check_classes, classes_table, write_classes
    from skelzoo.learn.recordings import with_classes
    from skelzoo.skeleton.persons import check_choice

    check_step(window, step)
    check_choice(select_persons, each_person)
    if output != "-":
        check_classes(output, paths)
    encoder = skelzoo.load(model, device=device, dtype=dtype, compile=compile)
    if not encoder.config.num_classes:
        encoder.classify([], top_k)  # says so before any file is read
    array, ids, refused = _prepare(encoder, paths, select_persons, each_person, output, window, step, reading)
    if ids:
        result, classes = encoder.classify(array, top_k, prepared=True, batch_size=batch_size), encoder.labels or ()
        ids = with_classes(ids, paths, classes)
        click.echo(classes_table(result, ids) if output == "-" else f"{len(ids)} clips: {write_classes(output, result, ids)}")
        right = [i.label == best for i, best in zip(ids, result.labels[:, 0], strict=True) if i.label in classes]
        if right:
            click.echo(
                f"{sum(right)} of {len(right)} clips with a label of the model's are classified so ({100 * sum(right) / len(right):.1f} %)", err=output == "-"
            )
    finish(len(ids), refused)


def _prepare(
    encoder: Encoder,
    paths: Sequence[str],
    select_persons: bool,
    each_person: bool,
    output: str,
    window: Length | None,
    step: Length | None,
    reading: ReadOptions,
) -> tuple[FloatArray, list[ClipId], int]:
    """Prepared clips (N, C, T, V, M), what they are, and how many files or clips were refused."""
    import numpy as np

    from skelzoo.inference.files import prepare_items, read_files, warn_of

    clips: list[PreparedClip]
    items = prepare_items(read_files(paths, output, reading), encoder.contract, select_persons, window, step, each_person=each_person)
    clips, refused = go_through(items, paths, output)
    warn_of(clips)
    array = np.stack([c.array for c in clips]) if clips else np.zeros((0, *encoder.contract.shape), np.float32)
    return array, [c.id for c in clips], refused


@main.command("demo")
@click.option("--model", default="skeattnclr-openskel", shell_complete=complete_models, show_default=True, help="Model to run.")
@click.option("--picture", shell_complete=complete_files, show_default="skelzoo_demo.png", help=".png, .svg or .pdf to write; needs the viz extra.")
@device_option
def demo_command(model: str, picture: str | None, device: str) -> None:
    """Classify and embed four made-up motions and draw them. Needs no data and no network."""
    from skelzoo.demo import run_demo

    click.echo(run_demo(model, picture, device))


@main.command("pretrain")
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


@main.command("finetune")
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
    default="0.2",
    show_default=True,
    metavar="SHARE|PATH",
    help="Share of the clips to hold out, 0 for none; or recordings to validate on.",
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
    context: click.Context, model: str, recordings: str, out: str, mode: Mode, validation: str, folds: str | None, report: str | None, group: str | None, label: str | None,
    label_from: Source, table: str | None, unlabelled: tuple[str, ...], overwrite: bool, device: str, select_persons: bool, freeze: str, epochs: int, learning_rate: float, seed: int,
    window: Length | None, step: Length | None, reading: ReadOptions,
) -> None:  # fmt: skip
    """Teach MODEL the classes of RECORDINGS: a folder with one folder of recordings per class, or files whose clips have labels, or any with --labels."""
    from skelzoo.learn.finetune import FinetuneOptions
    from skelzoo.learn.finetune_checkpoint import remove_checkpoint
    from skelzoo.learn.finetune_result import check_report
    from skelzoo.learn.finetune_result import report as described
    from skelzoo.learn.recordings import finetune_recordings
    from skelzoo.weights.files import check_target

    if (report and not folds) or (folds and context.get_parameter_source("validation") is click.core.ParameterSource.COMMANDLINE):
        raise click.UsageError("--report goes with --folds, and --folds without --validation: the model then learns from all clips.")
    check_label_options(label, label_from != "auto", table)
    check_step(window, step)
    check_target(Path(out), overwrite)
    if report:
        check_report(report, out, [path for path in (recordings, table, validation, *unlabelled) if path])
    checkpoint = f"{Path(out)}.checkpoint.pt"  # beside the folder, which the weights have to themselves
    options = FinetuneOptions(epochs=epochs, learning_rate=learning_rate, seed=seed, freeze=int(freeze) if freeze.isdecimal() else freeze)
    encoder = skelzoo.load(model, device=device)
    note_passed_over([recordings, validation, *unlabelled])
    done = finetune_recordings(
        encoder, recordings, mode=mode, validation=None if folds else _share_or_path(validation), folds=int(folds) if folds and folds.isdecimal() else folds, report=report,
        group=group, label=label, label_from=label_from, table=table, unlabelled=unlabelled, select_persons=select_persons, reading=reading, window=window, step=step,
        options=options, command=_command_line(context), on_left_out=name_refusal, checkpoint=checkpoint,
    )  # fmt: skip
    if done.report:
        click.echo(f"out-of-fold classes and scores: {', '.join(map(str, done.report))}")
    click.echo(f"{described(done.result)}\nweights, to be loaded as local:{done.result.encoder.save(out)}")
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
