"""The training that hosts give to the function `learn`: seeded, with trees where scikit-learn is installed."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from datetime import datetime
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from random import Random
from threading import Event, Thread
from time import monotonic

from functions._core.learning.history import TicketRow
from functions._core.learning.training import Correct, Serves, Trained, train
from functions._learning.train_trees import trees_for

SEED = 21
"""The seed of the search: the same rows give the same model."""

SEARCH_SECONDS = 60.0
"""After so many seconds a search is content with the best settings so far."""


LOOKS_S = 0.2
"""How often a training that is done apart looks whether it is still wanted, in seconds."""


def trained(
    rows: Sequence[TicketRow],
    *,
    now: datetime,
    by: str,
    serves: Serves | None = None,
    seed: int = SEED,
    correct: Correct | None = trees_for,
    time: Callable[[], float] = monotonic,
) -> Trained | None:
    """Return the model of rows with the record that it is to get, see `train`; it takes seconds to two minutes."""
    until = time() + SEARCH_SECONDS
    chance = Random(seed).random  # noqa: S311 nothing is secret
    return train(rows, now=now, by=by, chance=chance, serves=serves, correct=correct, goes_on=lambda: time() < until)


class TrainingStopped(Exception):
    """The process that has asked for a training ends."""


def trained_apart(
    rows: Sequence[TicketRow], *, now: datetime, by: str, serves: Serves | None = None, stopped: Event | None = None
) -> Trained | None:
    """Do what `trained` does in a process of its own, which gives way to others: for a process that serves flows.

    Once it is `stopped` it ends with `TrainingStopped`: who stops a platform does not wait for a model.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_give_way) as pool:
        done = pool.submit(partial(trained, rows, now=now, by=by, serves=serves))
        while not wait([done], LOOKS_S).done:
            if stopped is not None and stopped.is_set():
                for process in [*pool._processes.values()]:  # noqa: SLF001 `kill_workers` comes with Python 3.14
                    process.kill()
                raise TrainingStopped
        return done.result()


def _give_way() -> None:
    os.nice(10)
    Thread(target=_end_with, args=(parent_process(),), name="flowc-parent", daemon=True).start()


def _end_with(parent: BaseProcess | None) -> None:
    """Wait for the end of the process that has asked for the training, and end: a pool's own would wait for ever."""
    if parent is not None:
        parent.join()
        os._exit(1)
