"""How far a long run is: a bar on a terminal; elsewhere, as in log files, a line now and then. And what others need not say meanwhile."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

EVERY = 180
"""Seconds from one line to the next."""


def followed(items: Iterable[T], unit: str, done: int = 0, count: int | None = None, doing: str = "") -> Iterator[T]:
    """The same items.

    Args:
        unit: what an item is called.
        done: items before these.
        count: all items, where they are counted.
        doing: what is done with them.
    """
    told = time.monotonic()
    with tqdm(total=count, initial=done, unit=unit, delay=2, disable=None, desc=doing or None) as bar:
        for number, item in enumerate(items, done + 1):
            yield item
            bar.update()
            if bar.disable and time.monotonic() - told >= EVERY:
                say(f"{f'{doing}: ' * bool(doing)}{unit} {number}{'' if count is None else f' of {count}'}")
                told = time.monotonic()


@contextlib.contextmanager
def clip_bar(count: int, shown: bool | None) -> Iterator[Callable[[int], object]]:
    """What is told of clips that are done. It shows a bar; None shows one on a terminal, once the work takes over two seconds.

    Where there is to be none, tqdm is left alone: even a disabled bar takes its lock, on which a child that is forked meanwhile would wait for ever.
    """
    if shown or (shown is None and sys.stderr.isatty()):
        with tqdm(total=count, unit="clip", delay=0 if shown else 2) as bar:
            yield bar.update
    else:
        yield lambda _: None


def say(line: str) -> None:
    """A line on stderr, above a bar."""
    tqdm.write(line, file=sys.stderr)


@contextlib.contextmanager
def quiet(*libraries: str) -> Iterator[None]:
    """Without what libraries log about themselves, but for errors."""
    levels = {logger: logger.level for logger in map(logging.getLogger, libraries)}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
