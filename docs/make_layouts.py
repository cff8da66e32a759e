"""Write docs/layouts.md from the layouts that come with skelzoo: python docs/make_layouts.py."""

from __future__ import annotations

from pathlib import Path

from skelzoo import Layout, get_layout, list_layouts

HEAD = """# Joint layouts

Written by `python docs/make_layouts.py` from `skelzoo/skeleton/layouts.json`; do not edit. Joints are numbered from 0, as on the V axis of an array; `skelzoo layouts NAME` prints them too.

Conversion between layouts goes by the body point a joint stands for, never by its number. `skelzoo.coverage(source, target)` says where every
joint comes from; `-` means that the joint is no shared body point, so that another layout cannot take it from here.
"""


def section(layout: Layout) -> str:
    """One layout: what it is, and its joints by number."""
    mirror = layout.mirror_permutation
    rows = [
        f"| {i} | {joint} | {'-' if parent < 0 else f'{parent} {layout.joints[parent]}'} | {layout.own.get(joint, '-')} | {'-' if mirror[i] == i else mirror[i]} |"
        for i, (joint, parent) in enumerate(zip(layout.joints, layout.parents, strict=True))
    ]
    return "\n".join(
        [
            f"\n## {layout.name}\n",
            f"{layout.title}. {len(layout)} joints, usually {layout.dimensions}-D, usually centred on {layout.center}.\n",
            "| number | joint | parent | body point | mirror image |",
            "| --- | --- | --- | --- | --- |",
            *rows,
        ]
    )


def text() -> str:
    """The whole page."""
    layouts = [get_layout(name) for name in list_layouts()]
    overview = "\n".join(f"- [{x.name}](#{x.name}): {x.title}" for x in layouts)
    return f"{HEAD}\n{overview}\n" + "\n".join(section(x) for x in layouts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("layouts.md").write_text(text(), encoding="utf-8")
