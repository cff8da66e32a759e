"""Processes of their own that tests start and kill; torch is imported once for all of them."""

from __future__ import annotations

import multiprocessing

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["skelzoo.inference.bulk", "skelzoo.learn.pretrain.loop"])
