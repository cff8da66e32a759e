"""What a shell offers for the values of arguments and options. Where click is given none of these, it offers no files either."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

import skelzoo


def complete_models(context: click.Context, parameter: click.Parameter, start: str) -> list[str]:
    """Names of models with weights."""
    return [name for name in skelzoo.list_models(pretrained=True) if name.startswith(start)]


def complete_all_models(context: click.Context, parameter: click.Parameter, start: str) -> list[str]:
    """Names of all models."""
    return [name for name in skelzoo.list_models() if name.startswith(start)]


def complete_layouts(context: click.Context, parameter: click.Parameter, start: str) -> list[str]:
    """Names of layouts."""
    return [name for name in skelzoo.list_layouts() if name.startswith(start)]


def complete_files(context: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem[str]]:
    """Files and folders, which the shell looks for itself."""
    return [CompletionItem(start, type="file")]
