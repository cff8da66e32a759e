"""What a shell offers for the values of arguments and options. Where click is given none of these, it offers no files either."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

import skelzoo

Completion = Callable[[click.Context, click.Parameter, str], list[str]]


def complete(names: Callable[[], Iterable[str]]) -> Completion:
    """Those of the names that begin as the value does."""
    return lambda context, parameter, start: [name for name in names() if name.startswith(start)]


complete_models = complete(lambda: skelzoo.list_models(pretrained=True))
complete_all_models = complete(lambda: skelzoo.list_models())
complete_layouts = complete(lambda: skelzoo.list_layouts())


def complete_files(context: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem[str]]:
    """Files and folders, which the shell looks for itself."""
    return [CompletionItem(start, type="file")]
