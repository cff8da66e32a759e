"""Bring the examples, which lie beside docs/, into the site: mkdocs.yml names this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def on_files(files: Files, config: Any) -> Files:
    """Add every example as a file of the site."""
    for path in sorted(EXAMPLES.glob("*.py")):
        files.append(File.generated(config, f"examples/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links that work in a checkout work on the site too."""
    return markdown.replace("](../examples/", "](examples/")
