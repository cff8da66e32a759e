"""Clips of a Ray dataset to vectors, on as many machines as the cluster has. Needs the ray extra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ClipError, MissingDependencyError, SkelzooError
from skelzoo.inference.encoder import Encoder
from skelzoo.inference.files import FileClip, PreparedClip, Refusal, prepare_items, warn_of
from skelzoo.inference.output import ClipId, columns_for, more_arrays
from skelzoo.inference.runner import CompileMode, Dtype
from skelzoo.skeleton.doubts import noted_doubts
from skelzoo.skeleton.io.parquet import clip_of
from skelzoo.skeleton.persons import check_choice
from skelzoo.skeleton.windows import Length, check_window

if TYPE_CHECKING:
    from ray.data import Dataset

ROWS = 256
"""Rows that an actor takes at a time."""


class EmbedActor:
    """What ``map_batches`` of Ray Data calls; it loads the encoder once and keeps it.

    Args:
        model, device, dtype, compile: as ``skelzoo.load``.
        batch_size: clips per batch of the net, as ``Encoder.embed``.
        select_persons: where a clip has more persons than the model takes, keep those that move most, in all its windows the same.
        each_person: make one clip of every person, as ``skelzoo.each_person``, before any windows; not with ``select_persons``.
        window, step: of the windows that every clip is cut into, and from the start of one to the next, as ``skelzoo.windows``; None leaves clips whole.

    Raises:
        ClipError: a window or step that is no whole number of at least 1, or a step alone, or those that move most and each person at once.
    """

    def __init__(
        self, model: str, device: str = "auto", dtype: Dtype = "auto", compile: bool | CompileMode = False, batch_size: int | None = None, select_persons: bool = False,
        window: Length | None = None, step: Length | None = None, each_person: bool = False,
    ) -> None:  # fmt: skip
        check_window(window, step)
        check_choice(select_persons, each_person)
        self.window, self.step = window, step
        self.encoder = Encoder.from_pretrained(model, device=device, dtype=dtype, compile=compile)
        self.batch_size, self.select_persons, self.each_person = batch_size, select_persons, each_person
        self._doubts = noted_doubts()

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Embed the rows of a batch.

        Args:
            batch: columns as ``skelzoo.skeleton.io.parquet`` lists them, and any others.

        Returns:
            The batch with ``embedding`` (n, D) float32, NaN where a clip was refused, and ``error`` (n,), why it was, else "". With windows or each person it has a row for
            each, and one for a clip that was refused whole: ``name`` is that of the window or person, ``person``, with each person, who it is, ``start`` and ``stop`` its frames (-1 where it was refused), ``start_s`` and
            ``stop_s`` its seconds (NaN there, and where the rate is unknown), ``keypoints`` and ``scores`` are left out, and the rest is the clip's.

        Raises:
            ClipError: there is no column ``keypoints`` or ``layout``, or with windows or each person no ``name``.
        """
        missing = [name for name in ("keypoints", "layout") if name not in batch]
        if missing:
            raise ClipError(
                f"the rows have no column {', '.join(missing)}; they have {', '.join(map(str, batch))}. `skelzoo docs bulk` lists the columns of clips."
            )
        columns = columns_for(self.window is not None, self.each_person)
        if columns and "name" not in batch:
            raise ClipError(
                "the rows have no column name, which tells windows and persons of one clip from those of another. Add one, with another text for every clip."
            )
        count = len(batch["keypoints"])
        made = [self._prepare({key: values[i] for key, values in batch.items()}, f"row {i}") for i in range(count)]
        items = [item for row in made for item in row]
        good = [i for i, item in enumerate(items) if isinstance(item, PreparedClip)]
        clips = [item for item in items if isinstance(item, PreparedClip)]
        warn_of(clips, self._doubts)
        vectors = np.full((len(items), self.encoder.embedding_dim), np.nan, np.float32)
        if good:
            vectors[good] = self.encoder.embed(np.stack([c.array for c in clips]), prepared=True, batch_size=self.batch_size, progress=False)
        if columns:
            row_of = np.repeat(np.arange(count), [len(row) for row in made])
            batch = {key: values[row_of] for key, values in batch.items() if key not in ("keypoints", "scores")}
            batch |= more_arrays([item.id if isinstance(item, PreparedClip) else ClipId("", "", person=item.person) for item in items], columns)
            batch["name"] = np.array([item.id.name if isinstance(item, PreparedClip) else item.clip for item in items])
        return {**batch, "embedding": vectors, "error": np.array(["" if isinstance(item, PreparedClip) else item.error.one_line for item in items])}

    def _prepare(self, row: Mapping[str, Any], name: str) -> list[PreparedClip | Refusal]:
        """The clip of a row, or its persons or windows; never none."""
        known = {key: None if isinstance(value, (float, np.floating)) and np.isnan(value) else value for key, value in row.items()}
        try:
            whole = FileClip(clip_of(known, name), "")
        except SkelzooError as error:
            return [Refusal("", error, str(known.get("name") or name))]
        return list(prepare_items([whole], self.encoder.contract, self.select_persons, self.window, self.step, self._doubts, self.each_person))


def embed_dataset(
    dataset: Dataset,
    model: str,
    *,
    workers: int = 1,
    gpus: float | None = None,
    device: str = "auto",
    dtype: Dtype = "auto",
    compile: bool | CompileMode = False,
    batch_size: int | None = None,
    select_persons: bool = False,
    window: Length | None = None,
    step: Length | None = None,
    each_person: bool = False,
) -> Dataset:
    """The dataset with a vector per clip or window; nothing is computed before it is consumed.

    Args:
        dataset: rows of clips, e.g. ``ray.data.read_parquet(...)`` of files as `skelzoo docs bulk` describes.
        workers: actors, each with the encoder in it. One that dies is started again, and its rows are done again.
        gpus: that Ray reserves for each; None for none, 0.5 for two actors on one.
        model, device, dtype, compile, batch_size, select_persons, window, step, each_person: see ``EmbedActor``.

    Returns:
        The dataset with the columns that ``EmbedActor`` adds.

    Raises:
        ClipError: as ``EmbedActor``, for a window or step, or persons.
        MissingDependencyError: Ray is not installed.
    """
    try:
        from ray.data import ActorPoolStrategy
    except ImportError as error:
        raise MissingDependencyError("ray[data]", "ray", "Embedding a Ray dataset") from error
    check_window(window, step)
    check_choice(select_persons, each_person)
    arguments = {
        "model": model, "device": device, "dtype": dtype, "compile": compile, "batch_size": batch_size, "select_persons": select_persons, "window": window, "step": step, "each_person": each_person,
    }  # fmt: skip
    return dataset.map_batches(
        EmbedActor, fn_constructor_kwargs=arguments, compute=ActorPoolStrategy(size=workers), batch_size=ROWS, batch_format="numpy", num_gpus=gpus
    )
