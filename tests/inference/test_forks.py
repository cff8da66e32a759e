"""Children that are forked while other threads embed: they wait for nobody who is not there, and take up nothing that these had under way."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import make_clip, make_encoder
from torch import nn
from tqdm import tqdm

from skelzoo.inference.mode import evaluating
from skelzoo.inference.precision import tf32_products
from skelzoo.weights.held import held

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


def in_child(act: Callable[[], bool]) -> bool:
    """What a forked child finds; False if it fails, or does not end."""
    child = os.fork()
    if child == 0:
        try:
            faulthandler.dump_traceback_later(3, exit=True, file=sys.__stderr__)
            torch.set_num_threads(1)
            os._exit(0 if act() else 2)
        finally:
            os._exit(3)
    return os.waitpid(child, 0)[1] == 0


class Slow(nn.Module):
    """Waits where something of it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "training" and not value:
            self.begun.set()
            self.go_on.wait(3)


@pytest.mark.parametrize("block", [evaluating, lambda slow: held(slow, "training", False)])
def test_a_fork_waits_for_what_another_thread_is_setting(block: Callable[[Slow], AbstractContextManager[None]]) -> None:
    slow = Slow()

    def run() -> None:
        with block(slow):
            pass

    thread = threading.Thread(target=run)
    thread.start()
    slow.begun.wait()
    threading.Timer(0.1, slow.go_on.set).start()

    def again() -> bool:
        was = slow.training
        with block(slow):
            return was and not slow.training

    assert in_child(again)
    thread.join()
    assert slow.training


def test_what_other_threads_had_under_way_is_over_in_a_child() -> None:
    encoder, clip, place = make_encoder(), make_clip(), SimpleNamespace(asked=True)
    z, precision = encoder.embed(clip), torch.get_float32_matmul_precision()
    begun, go_on = threading.Event(), threading.Event()

    def run() -> None:
        with evaluating(encoder.net), tf32_products(precision == "highest"), held(place, "asked", False), tqdm.get_lock():
            begun.set()
            go_on.wait()

    def as_before() -> bool:
        return encoder.net.training and place.asked and torch.get_float32_matmul_precision() == precision

    def untouched() -> bool:
        return as_before() and np.array_equal(encoder.embed(clip), z) and as_before()

    encoder.net.train()
    thread = threading.Thread(target=run)
    thread.start()
    begun.wait()
    assert not as_before()
    try:
        assert in_child(untouched)
    finally:
        go_on.set()
        thread.join()
    assert as_before()


def test_a_child_forked_within_a_run_may_end_it() -> None:
    net, place = nn.Linear(1, 1), SimpleNamespace(asked=True)

    def leave() -> bool:
        stack.close()
        return net.training and place.asked

    with ExitStack() as stack:
        for block in (evaluating(net), tf32_products(True), held(place, "asked", False)):
            stack.enter_context(block)
        assert in_child(leave)
        assert not net.training and not place.asked
