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
from skelzoo.skeleton.doubts import warned_once


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


for _command in (
    list_command, info_command, where_command, fetch_command, cache_group, verify_command, convert_command, publish_command,
    read_command, layouts_command, demo_command, embed_command, classify_command, finetune_command, pretrain_command, eval_command, export_command,
    bench_group, corpus_group, docs_command,
):  # fmt: skip
    main.add_command(_command)
