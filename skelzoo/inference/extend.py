"""A store of embeddings that takes further files once it is complete."""

from __future__ import annotations

import os
import shutil

from skelzoo.errors import SkelzooError, StoreError
from skelzoo.inference.files import Paths, path_list
from skelzoo.inference.plan import change_of, plan_of, size_and_date, write_plan
from skelzoo.inference.store import COUNTED, IDS, PLAN, Store, write_row


def extend_store(store: Store, paths: Paths) -> Store:
    """Plan shards for files that a complete store does not hold, after its own; its rows keep their numbers, and its files stay until the new ones are done.

    Files of which it holds no vector, as all of them was refused, are taken again where they are not as they were.

    Args:
        store: complete, and open, see ``open_store``.
        paths: files, folders and globs, one or several; those that it holds may be among them or not.

    Returns:
        The store with the new shards to be made; as it was where no file is new.

    Raises:
        StoreError: a file that it holds vectors of has changed or is gone, the paths have no files, or are none.
        WriteError: it cannot be written.
    """
    paths, held = path_list(paths), store.files()
    changed = {file for file, told in held.items() if size_and_date(file) != told}
    _check_unchanged(store, changed)
    places = {os.path.realpath(file) for file in held}
    plan = plan_of(paths, store.job.shard_size, store.folder, store.job.reading, lambda file: file in changed or os.path.realpath(file) not in places)
    shutil.rmtree(store.folder / PLAN, ignore_errors=True)
    try:
        more = write_plan(plan, store.folder / PLAN, store.shards)
    except SkelzooError:
        shutil.rmtree(store.folder / PLAN, ignore_errors=True)
        raise
    if not more:
        return store
    row = {key: value for key, value in store.row.items() if key not in COUNTED}
    return write_row(
        store.folder,
        {
            **row,
            "shards": store.shards + more,
            "extended": store.row.get("extended", 0) + 1,
            "held": {"shards": store.shards, "clips": store.clips, "files": len(held)},
        },
    )


def leave_out_changed(store: Store, named: bool = False) -> tuple[Store, list[str]]:
    """Take files that are not as they were when they were planned out of the shards that the tables do not hold yet. Those shards are made again.

    Args:
        named: have each refused by name instead, so that a later extension takes it up again.

    Returns:
        The store, and these files.

    Raises:
        WriteError: it cannot be written.
    """
    planned = {piece.file: (piece.size, piece.modified) for i in store.to_merge for piece in store.pieces(i) if not piece.left_out}
    changed = [file for file, told in planned.items() if size_and_date(file) != told]
    if not changed:
        return store, []
    store = write_row(store.folder, {"extended": 0, **store.row})  # as its plan is no more that of its paths
    out = set(changed)
    for i in store.to_merge:
        pieces = store.pieces(i)
        if not out.isdisjoint(piece.file for piece in pieces):
            store.drop(i)
            left = [piece.leave_out() if piece.file in out else piece for piece in pieces if piece.file not in out or (named and not piece.first)]
            write_plan(iter([left]), store.folder / PLAN, i)
    return store, changed


def _check_unchanged(store: Store, changed: set[str]) -> None:
    if not changed:
        return
    held = dict.fromkeys(row["file"] for row in store.rows(IDS) if row["file"] in changed)
    if held:
        file = next(iter(held))
        others = f", and of {len(held) - 1} more files it holds" if len(held) > 1 else ""
        raise StoreError(
            f"{file}: {change_of(file)} since {store.folder} was made, which holds its vectors{others}. Put it back to extend the store, "
            "from the folder where it was begun; or give the new files a store of their own. Nothing was changed."
        )
