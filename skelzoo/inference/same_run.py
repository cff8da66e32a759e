"""Whether a store of embeddings is of the run that is asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from skelzoo.errors import StoreError
from skelzoo.inference.plan import listed, size_and_date

if TYPE_CHECKING:
    from skelzoo.inference.store import Store


def check_same(store: Store, wanted: Mapping[str, Any], paths: Sequence[str] | None) -> None:
    """Raise StoreError where a store is of another job, or given paths of other files. The same weights with the same contract are the same model, whatever its name."""
    other = [key for key, value in wanted.items() if store.row.get(key) != value]
    if "model" in other and not {"weights_sha256", "contract"} & set(other):
        other.remove("model")
    if "model" in other:  # weights and contract are others with it, and options that were left out may be meant
        given = {field.name for field in fields(store.job) if wanted[field.name] != field.default}
        other = [key for key in other if key in given]
    told = [f"its {key} is {_short(store.row.get(key))}, now it is {_short(wanted[key])}" for key in other]
    changed = "" if paths is None else _changed_file(store, paths)
    if changed:
        told.append(f"its files are not as they were: {changed}")
    if told:
        more = "--extend to add files that are new, " if changed.endswith(" is new") else ""
        raise StoreError(f"{store.folder}: holds another run: {'; '.join(told)}. Give the same command to go on with it, {more}or another folder.")


def _changed_file(store: Store, paths: Sequence[str]) -> str:
    """The first file that is new, gone, not given, or of another size or date, or that their order is another; "" where all is as it was. No file is opened."""
    now, before = {file: size_and_date(file) for file in listed(paths, store.folder)}, store.files()
    for file in [*now, *before]:
        if file not in before or before[file][0] < 0 <= now.get(file, (-1,))[0]:
            return f"{file} is new"
        if file not in now:
            return f"{file} is not among the paths given" if os.path.exists(file) else f"{file} is gone"
        if before[file] != now[file]:
            return f"{file} has changed"
    # Of an extended store they are in the order in which they came.
    return "" if "extended" in store.row or list(now) == list(before) else "their order"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 70 else f"{text[:66]}..."
