"""Whose turn it is: one run at a time works on a coin, and one on what is over all coins.

A run holds its turn as long as the process lives that executes its steps, be it killed or not: the system lets go of the lock.
Whoever comes meanwhile waits, then does everything once more and finds most of it done. Steps in processes of their own take
turns step by step. A decision about a bar cannot wait for a night: it stores none of its tables, and has a turn of its own.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from crp_pipeline.places import Places

PARTITION = "dagster/partition"
"""Tag by which Dagster says of which coin a run is."""
BESIDE = "crp/beside_the_night"
"""Tag of a run that writes nothing of a night and so takes no turn."""


@contextmanager
def turn(context: dg.InitResourceContext, places: Places) -> Iterator[None]:
    """Nobody else's run of this coin, or over all coins, goes on meanwhile.

    Who looks at values without a run takes no turn, nor does a run that is `BESIDE` the nights.
    """
    run = context.run
    if run is None or BESIDE in run.tags:
        yield
        return
    coin = run.tags.get(PARTITION)
    lock = places.turn(coin)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            if context.log is not None:
                context.log.info(
                    f"{coin or 'all coins'}: run {file.read() or 'of another'} is at work; this one waits for it to end"
                )
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(run.run_id)
        file.flush()
        yield
