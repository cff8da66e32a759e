"""Many files to one store of embeddings: in this process, or in several of this machine."""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import os
import threading
import warnings
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np
import torch

from skelzoo.errors import ReadError, SkelzooError, StoreError, warn
from skelzoo.inference.encoder import Encoder
from skelzoo.inference.extend import extend_store, leave_out_changed
from skelzoo.inference.files import FileClip, Paths, PreparedClip, Refusal, item_of, note, path_list, prepare_items, read_files
from skelzoo.inference.job import Job
from skelzoo.inference.plan import Piece, change_of, size_and_date
from skelzoo.inference.progress import followed, say
from skelzoo.inference.runner import CompileMode, ahead, pick_compile, pick_device
from skelzoo.inference.shard import Shard, refusal_row
from skelzoo.inference.store import REFUSED, Store, open_store, read_store
from skelzoo.skeleton.doubts import Doubts, noted_doubts, warned_once
from skelzoo.skeleton.io.one_by_one import ClipReader, open_reader

CHUNK = 256
"""Clips that are prepared and embedded together, unless the batch is larger."""

TRIES = 3
"""How often a shard may kill its worker."""

PATIENCE = 10
"""Seconds for a worker to end by itself when its work is done."""

Made = tuple[list[str], Doubts]
"""What a shard refused, a line each, and what is odd about its clips."""


@dataclass(frozen=True)
class Settings:
    """How a process computes; the content of the store does not depend on it beyond rounding.

    Attributes:
        device: as ``skelzoo.load``.
        compile: as ``skelzoo.load``.
        batch_size: as ``Encoder.embed``.
        threads: of torch on the CPU; None leaves them as they are.
        pass_over: where a file changed since it was planned, do not write the shard, instead of ending the run.
    """

    device: str = "auto"
    compile: bool | CompileMode = False
    batch_size: int | None = None
    threads: int | None = None
    pass_over: bool = False


def embed_store(
    job: Job,
    paths: Paths,
    out: str | Path,
    *,
    devices: Sequence[str] = ("auto",),
    workers: int = 1,
    compile: bool | CompileMode = False,
    batch_size: int | None = None,
    extend: bool = False,
) -> Store:
    """Embed more clips than memory holds, or go on where an earlier call was interrupted.

    What is refused is named on stderr as it is met, and listed in ``refused.csv``. What is odd is warned of by this process, whichever made it.

    Args:
        job: what is to be computed.
        paths: files, folders and globs, one or several, see ``skelzoo.find_files``.
        out: folder of the store, see ``skelzoo.inference.store``.
        devices: each gets processes of its own; one device and one worker is this process.
        workers: processes per device. A script that uses several must be guarded by ``if __name__ == "__main__"``.
        compile: as ``skelzoo.load``.
        batch_size: as ``Encoder.embed``.
        extend: have a store that was begun finished, and then take files that it does not hold, see ``extend_store``; a file that changes
            meanwhile is refused by name.

    Returns:
        The store, complete.

    Raises:
        StoreError: as ``open_store`` and ``extend_store``; no devices or workers; without ``extend`` a file that changed meanwhile; a worker failed, could not start, or died too often on the same shard; or processes cannot be started from this one.
        DeviceError: a device is not there, or another ``compile``.
        WriteError: the store cannot be written.
        UnknownModelError, WeightsUnavailableError, IntegrityError, CheckpointError: the model cannot be had, as ``skelzoo.load``.
    """
    paths = path_list(paths)  # at once, as a generator of them is used up by the first look
    pick_compile(compile)
    names = [str(pick_device(device)) for device in devices for _ in range(workers)]
    if not names:
        raise StoreError(f"{out}: {len(devices)} devices and {workers} workers. Give at least one of each.")
    _check_process(len(names))
    threads = max(1, torch.get_num_threads() // len(names)) if len(names) > 1 else None
    settings = [Settings(name, compile, batch_size, threads, extend) for name in names]
    with warned_once(), open_store(out, job, paths, extend) as store:
        return _extended(store, paths, settings) if extend else _finished(store, settings)


def _check_process(count: int) -> None:
    """Raise StoreError where so many processes cannot be started from this one."""
    here = multiprocessing.current_process()
    if getattr(here, "_inheriting", False):  # set while a new process imports the script that started it, which then gets here as that did
        raise StoreError(
            'embed_store stands in a script that its own workers import, and cannot begin again there. Put the call below a line if __name__ == "__main__":'
        )
    if count > 1 and here.daemon:
        raise StoreError(
            f"{here.name}: {count} workers cannot be started from a process that is itself one of a pool. "
            "Give one device and workers=1 there, or call embed_store from the main process."
        )


def _extended(store: Store, paths: Sequence[str], settings: Sequence[Settings]) -> Store:
    """The store with all of its shards, and then those of files that it does not hold."""
    refused = {row["file"] for row in store.rows(REFUSED)} if store.complete or store.held["shards"] else set()
    store, changed = leave_out_changed(store)
    refused -= store.planned()
    more = extend_store(_finished(store, settings), [*paths, *filter(os.path.isfile, changed)])
    refused -= more.planned()
    done = _finished(more, settings)
    return replace(done, refused_before=sum(row["file"] in refused for row in done.rows(REFUSED)))


def _finished(store: Store, settings: Sequence[Settings]) -> Store:
    """The store with all of its shards."""
    while True:
        left = [i for i in range(store.shards) if not store.has(i)]
        run, doubts = _in_processes(store, settings, left) if len(settings) > 1 else _here(store, settings[0], left), noted_doubts()
        try:
            with contextlib.closing(run):
                for refused, noted in followed(run, "shard", store.shards - len(left), store.shards):
                    for line in refused:
                        say(f"error: {line}")
                    doubts.take(noted)
                    doubts.warn(going_on=True)
        finally:
            doubts.warn()
        changed: Sequence[str] = ()
        if settings[0].pass_over:
            store, changed = leave_out_changed(store, named=True)
        if not changed:
            return store.finish()


def _here(store: Store, settings: Settings, shards: Sequence[int]) -> Generator[Made, None, None]:
    if shards:
        with ShardEmbedder(store, settings) as embedder:
            yield from map(embedder.make, shards)


class ShardEmbedder:
    """Makes shards of a store. In order they are made fastest, as a large file is then read once and stays open until ``close`` or the end of a ``with`` block, which warns of what is odd about clips."""

    def __init__(self, store: Store, settings: Settings) -> None:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.store, self.batch_size, self.job, self.pass_over = store, settings.batch_size, store.job, settings.pass_over
        self.encoder = Encoder.from_pretrained(self.job.model, device=settings.device, dtype=self.job.dtype, compile=settings.compile)
        self._reader: ClipReader | None = None
        self._doubts, self._noted = Doubts(), 0

    def __enter__(self) -> ShardEmbedder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._doubts.warn()

    def close(self) -> None:
        """Close the file that is being read; another shard opens it again."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def embed(self, shard: int) -> list[str]:
        """Make one shard and put it into the store.

        Returns:
            What was refused, a line each; nothing of a shard that is passed over.

        Raises:
            WriteError: it cannot be written.
            DeviceError: one clip does not fit into memory.
            StoreError: a file is not as it was when it was planned, and shards of such are not to be passed over.
        """
        refused: list[Refusal] = []
        vectors = [np.zeros((0, self.encoder.embedding_dim), np.float32)]
        ids = []
        for clips, more in ahead(self._chunks(self.store.pieces(shard)), 1):
            refused += more
            note(clips, self._noted, self._doubts)
            self._noted += len(clips)
            if clips:
                vectors.append(self.encoder.embed(np.stack([c.array for c in clips]), prepared=True, batch_size=self.batch_size, progress=False))
                ids += [c.id for c in clips]
        if not self._unchanged(shard):
            return []
        self.store.write(shard, Shard(np.concatenate(vectors), ids, [refusal_row(r) for r in refused]))
        return [str(r) for r in refused]

    def make(self, shard: int) -> Made:
        """``embed``, and what is odd about its clips, for one who warns of those of many shards."""
        refused = self.embed(shard)
        noted, self._doubts = self._doubts, Doubts()
        return refused, noted

    def _unchanged(self, shard: int) -> bool:
        """What was read of files that are others by now, or away, is not what the store says it holds."""
        for piece in self.store.pieces(shard):
            if not piece.left_out and size_and_date(piece.file) != (piece.size, piece.modified):
                if self.pass_over:
                    return False
                raise StoreError(
                    f"{piece.file}: {change_of(piece.file)} since the store {self.store.folder} was begun. "
                    "Put it back and give the same command to go on; or give --extend, or another folder, to take the files as they are."
                )
        return True

    def _chunks(self, pieces: Sequence[Piece]) -> Iterator[tuple[list[PreparedClip], list[Refusal]]]:
        size = max(CHUNK, self.batch_size or 0)
        clips: list[PreparedClip] = []
        refused: list[Refusal] = []
        for piece in pieces:
            for item in self._items(piece):
                if isinstance(item, Refusal):
                    refused.append(item)
                else:
                    clips.append(item)
                if len(clips) == size:
                    yield clips, refused
                    clips, refused = [], []
        yield clips, refused

    def _items(self, piece: Piece) -> Iterator[PreparedClip | Refusal]:
        return prepare_items(
            self._read(piece), self.encoder.contract, self.job.select_persons, self.job.window, self.job.step, self._doubts, self.job.each_person
        )

    def _read(self, piece: Piece) -> Iterator[FileClip | Refusal]:
        if piece.left_out:
            what = "changed" if os.path.exists(piece.file) else "went away"
            yield Refusal(piece.file, ReadError(piece.file, f"{what} while the store was made", "Once it is complete, give the same command with --extend."))
            return
        if piece.last is None:
            yield from read_files([piece.file], reading=self.job.reading)
            return
        reader = self._open(piece.file)
        try:
            if reader is None:
                raise ReadError(piece.file, "changed while it was read", "Leave the files alone, and begin a new store.")
            for clip in reader.clips(piece.first, piece.last):
                yield item_of(clip, piece.file)
        except ReadError as error:
            yield Refusal(piece.file, error)
            self.close()

    def _open(self, file: str) -> ClipReader | None:
        if self._reader is None or self._reader.path != Path(file):
            self.close()
            self._reader = open_reader(file, self.job.reading)
        return self._reader


class _Worker:
    """A process that makes shards."""

    def __init__(self, store: Store, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.settings, self.shard, self.started = settings, -1, False
        self.process = context.Process(target=_work, args=(theirs, str(store.folder), settings), daemon=True)
        self.process.start()
        theirs.close()  # or its end would never be seen

    def send(self, shard: int) -> None:
        """Have it make a shard; one that is dead is noticed when its answer is awaited."""
        self.shard = shard
        with contextlib.suppress(OSError):
            self.pipe.send(shard)

    def dismiss(self) -> None:
        """Let one that has nothing to do end by itself, and put away what it holds of the system's."""
        self.pipe.close()
        self.process.join(PATIENCE)
        self.process.kill()

    def kill(self) -> None:
        """End it."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _in_processes(store: Store, settings: Sequence[Settings], shards: Sequence[int]) -> Generator[Made, None, None]:
    """What came of each shard, as they are done."""
    waiting, tries = collections.deque(shards), collections.Counter[int]()
    busy: list[_Worker] = []
    idle = [_Worker(store, s) for s in settings[: len(waiting)]]
    try:
        while waiting or busy:
            while idle and waiting:
                worker = idle.pop()
                worker.send(waiting.popleft())
                busy.append(worker)
            ready = wait([worker.pipe for worker in busy])
            for worker in [w for w in busy if w.pipe in ready]:
                busy.remove(worker)
                try:
                    answer: tuple[Made, list[tuple[str, type[Warning]]]] | str | None = worker.pipe.recv()
                except (EOFError, OSError):
                    worker.kill()
                    tries[worker.shard] += 1
                    _report(store, worker, tries[worker.shard])
                    waiting.appendleft(worker.shard)
                    idle.append(_Worker(store, worker.settings))
                    continue
                if answer is None:
                    worker.started = True
                    busy.append(worker)
                    continue
                idle.append(worker)
                if isinstance(answer, str):
                    raise StoreError(f"worker on {worker.settings.device}: {answer}")
                made, said = answer
                for text, category in said:
                    warn(text, category)
                yield made
    finally:
        for worker in busy:
            worker.kill()
        for worker in idle:
            worker.dismiss()


def _report(store: Store, worker: _Worker, tries: int) -> None:
    if not worker.started and worker.process.exitcode == 1:  # by an error, which would come again
        raise StoreError(
            f"worker on {worker.settings.device} could not start; what it said stands above. "
            'Where a script calls embed_store, that must stand below a line if __name__ == "__main__": in a script that is a file. '
            "One piped to python cannot be imported by workers: use workers=1."
        ) from None
    what = f"worker on {worker.settings.device} died (exit code {worker.process.exitcode}) at shard {worker.shard}"
    if tries == TRIES:
        pieces = [piece.file for piece in store.pieces(worker.shard)] or ["which has no files"]
        files = pieces[0] if pieces[0] == pieces[-1] else f"{pieces[0]} to {pieces[-1]}"
        raise StoreError(f"{what}, {files}, {tries} times. Look there for a file or a lack of memory that kills it; the same command goes on.")
    say(f"{what}; the shard is tried again ({tries} of {TRIES - 1})")


def _work(pipe: Connection, folder: str, settings: Settings) -> None:
    """Make shards as they are asked for; the answer is what ``make`` gives and what else was warned of, or as a text what failed. The first says that it has started, and is None."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    embedder: ShardEmbedder | None = None
    with contextlib.suppress(EOFError, ConnectionError, KeyboardInterrupt), contextlib.ExitStack() as stack:
        pipe.send(None)
        while True:
            shard = pipe.recv()
            try:
                embedder = embedder or stack.enter_context(ShardEmbedder(read_store(folder), settings))
                with warnings.catch_warnings(record=True) as said:
                    made = embedder.make(shard)
                pipe.send((made, [(str(w.message), w.category) for w in said]))
            except SkelzooError as error:
                pipe.send(str(error))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
