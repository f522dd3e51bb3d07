"""Computes the next item of an iterator in a thread, while the one before is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def read_ahead(items: Iterable[T]) -> Iterator[T]:
    """The items, none of which is None. An exception is raised in its place; the thread ends with the iterator."""
    iterator = iter(items)
    with ThreadPoolExecutor(1, "winnow-read-ahead") as thread:
        coming = thread.submit(next, iterator, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, iterator, None)
            yield item
