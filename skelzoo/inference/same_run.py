"""Whether a store of embeddings is of the run that is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from skelzoo.errors import StoreError
from skelzoo.inference.plan import listed, size_and_date

if TYPE_CHECKING:
    from skelzoo.inference.store import Store


def check_same(store: Store, wanted: Mapping[str, Any], paths: Sequence[str] | None) -> None:
    """Raise StoreError where a store is of another job, or given paths of other files. The same weights with the same contract are the same model, whatever its name."""
    held = {**store.row, **asdict(store.job)}
    other = [key for key, value in wanted.items() if held.get(key) != value]
    if "model" in other and not {"weights_sha256", "contract"} & set(other):
        other.remove("model")
    if "model" in other:  # weights and contract are others with it, and options that were left out may be meant
        given = {field.name for field in fields(store.job) if wanted[field.name] != field.default}
        other = [key for key in other if key in given]
    # The plan also changes with the size of the shards, and their number with the plan.
    told = [f"its {key} is {_short(held.get(key))}, now it is {_short(wanted[key])}" for key in other if key not in ("shards", "plan_sha256")]
    asked = "plan_sha256" in other or "extended" in store.row
    changed = _changed_file(store, paths) if paths is not None and asked else ""
    if changed or (other and not told):
        told.append(f"its files (plan_sha256) are not as they were: {changed or 'their order, size or date'}")
    if told:
        more = "--extend to add files that are new, " if changed.endswith(" is new") else ""
        raise StoreError(f"{store.folder}: holds another run: {'; '.join(told)}. Give the same command to go on with it, {more}or another folder.")


def _changed_file(store: Store, paths: Sequence[str]) -> str:
    """The first file that is new, gone, or of another size or date; "" where none is found."""
    now, before = {file: size_and_date(file) for file in listed(paths, store.folder)}, store.files()
    for file in [*now, *before]:
        if file not in before or before[file][0] < 0 <= now.get(file, (-1,))[0]:
            return f"{file} is new"
        if file not in now:
            return f"{file} is gone"
        if before[file] != now[file]:
            return f"{file} has changed"
    return ""


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 70 else f"{text[:66]}..."
