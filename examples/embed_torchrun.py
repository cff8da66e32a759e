"""Many clips to one store, on several machines that share a folder.

torchrun --nproc-per-node 8 examples/embed_torchrun.py FOLDER STORE [MODEL]; add --nnodes and --rdzv-endpoint for more machines.
Any launcher does that sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as `accelerate launch` does. Started
again, it goes on where it was; once the store is complete, it takes files that are new.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import sys

import torch
import torch.distributed as dist

from skelzoo.inference.bulk import Settings, ShardEmbedder
from skelzoo.inference.extend import extend_store
from skelzoo.inference.job import Job
from skelzoo.inference.store import open_store, read_store


def main(folder: str, out: str, model: str = "skeattnclr-openskel") -> None:
    """The first process plans, each makes every n-th shard, and the first brings them together."""
    dist.init_process_group("gloo", timeout=datetime.timedelta(days=7))
    rank, world = dist.get_rank(), dist.get_world_size()
    device = f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"
    with contextlib.ExitStack() as until_the_end:
        if rank == 0:
            store = until_the_end.enter_context(open_store(out, Job(model), [folder], extend=True))
            if store.complete:
                extend_store(store, [folder])
        dist.barrier()
        store = read_store(out)
        left = [shard for shard in range(rank, store.shards, world) if not store.has(shard)]
        if left:
            with ShardEmbedder(store, Settings(device)) as embedder:
                for shard in left:
                    for refused in embedder.embed(shard):
                        print(f"left out: {refused}", file=sys.stderr)
        dist.barrier()
        if rank == 0:
            done = store.finish()
            print(f"{done.clips} vectors of {done.dim} numbers -> {out}")
    dist.destroy_process_group()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: torchrun --nproc-per-node 8 examples/embed_torchrun.py FOLDER STORE [MODEL]")
    main(*sys.argv[1:])
