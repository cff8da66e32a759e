"""The command ``skelzoo`` and the list of its verbs, which the files beside this one have."""

from __future__ import annotations

import errno
import io
import sys
import warnings
from typing import Any

import click

import skelzoo
from skelzoo.cli.bench import bench_group
from skelzoo.cli.corpus import corpus_group
from skelzoo.cli.docs import docs_command
from skelzoo.cli.embed import classify_command, embed_command
from skelzoo.cli.eval import eval_command
from skelzoo.cli.export import export_command
from skelzoo.cli.files import show_warning
from skelzoo.cli.finetune import finetune_command
from skelzoo.cli.models import cache_group, convert_command, fetch_command, info_command, list_command, publish_command, verify_command, where_command
from skelzoo.cli.options import fail
from skelzoo.cli.pretrain import pretrain_command
from skelzoo.cli.read import demo_command, layouts_command, read_command
from skelzoo.errors import SkelzooError
from skelzoo.names import OPTIONS, VERBS
from skelzoo.skeleton.doubts import warned_once


class Verbs(click.Group):
    """A group whose verbs turn every SkelzooError into one line and exit code 1, and every warning into one line."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a verb, by its own name alone."""
        if args[0] in VERBS and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean skelzoo {VERBS[args[0]]}?", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb."""
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":  # a name that the code page lacks must not end what is done
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            with warnings.catch_warnings(), warned_once():
                warnings.showwarning = show_warning
                return super().invoke(ctx)
        except click.NoSuchOption as error:
            meant = [p for p in (error.ctx.command.params if error.ctx else ()) if p.name in OPTIONS.get(error.option_name, ())]
            if not meant:
                raise
            say = f"Did you mean {meant[0].opts[0]}?" if isinstance(meant[0], click.Option) else f"Give {meant[0].human_readable_name} without it."
            raise click.UsageError(f"No such option {error.option_name!r}. {say}", error.ctx) from None
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


for _command in (
    list_command, info_command, where_command, fetch_command, cache_group, verify_command, convert_command, publish_command,
    read_command, layouts_command, demo_command, embed_command, classify_command, finetune_command, pretrain_command, eval_command, export_command,
    bench_group, corpus_group, docs_command,
):  # fmt: skip
    main.add_command(_command)
