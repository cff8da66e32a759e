"""Parquet files of clips to parquet files of vectors, on a Ray cluster: python examples/embed_ray.py CLIPS OUT [MODEL [WORKERS [GPUS]]].

CLIPS is a file, a folder or an address that Ray reads; docs/bulk.md lists the columns. GPUS is the share of a GPU that a worker
gets; without one the workers compute on CPUs.
"""

from __future__ import annotations

import sys

from skelzoo.errors import MissingDependencyError
from skelzoo.inference.ray import embed_dataset


def main(clips: str, out: str, model: str = "skeattnclr-openskel", workers: str = "2", gpus: str = "0") -> None:
    """Every row keeps its columns but the joints, and gets ``embedding`` and ``error``."""
    try:
        import ray
    except ImportError:
        sys.exit(str(MissingDependencyError("ray", "ray", "this example")))
    device = "cuda" if float(gpus) else "cpu"
    dataset = embed_dataset(ray.data.read_parquet(clips), model, workers=int(workers), gpus=float(gpus) or None, device=device)
    dataset.drop_columns(["keypoints"]).write_parquet(out)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python examples/embed_ray.py CLIPS OUT [MODEL [WORKERS [GPUS]]]")
    main(*sys.argv[1:])
