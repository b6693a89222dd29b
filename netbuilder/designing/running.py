"""Running a sweep: distribute chunks to processes, and write their tallies to the journal.

Processes are forked, so that they have the networks of the user's modules; on systems without fork, one
process counts everything. A process stops by itself if its parent dies, because it receives no more chunks.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from netbuilder.designing.counting import CHUNK, Counter, Tally, added, counter_of, tally
from netbuilder.designing.journal import Journal
from netbuilder.designing.plan import Sweep
from netbuilder.errors import NetBuilderError

__all__ = ["chunks_of", "processors", "run"]

Told = Callable[[int], None]


def processors() -> int:
    """The number of processes that can run in parallel here."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


def chunks_of(sweep: Sweep) -> int:
    """The number of chunks of a sweep."""
    return -(-len(sweep.numbers) // CHUNK)


def run(sweep: Sweep, journal: Journal, jobs: int, told: Told) -> Tally:
    """Count the chunks that the journal lacks, and return the total; `told` receives each further count."""
    todo = [chunk for chunk in range(chunks_of(sweep)) if chunk not in journal.tallies]
    jobs = min(jobs, len(todo))
    if jobs > 1 and hasattr(os, "fork"):
        _share(sweep, journal, todo, jobs, told)
    else:
        counter = counter_of(sweep)
        for chunk in todo:
            found = _counted(sweep, counter, chunk)
            journal.add(chunk, found)
            told(found.counted)
    return added(journal.tallies[chunk] for chunk in sorted(journal.tallies))


def _counted(sweep: Sweep, counter: Counter, chunk: int) -> Tally:
    begin = chunk * CHUNK
    return tally(sweep, counter, begin, min(begin + CHUNK, len(sweep.numbers)))


def _share(sweep: Sweep, journal: Journal, todo: Sequence[int], jobs: int, told: Told) -> None:
    from multiprocessing import connection, get_context

    context = get_context("fork")
    _ = sweep.numbers, sweep.drawn  # computed once, before the fork
    shares = [list(todo[i * len(todo) // jobs : (i + 1) * len(todo) // jobs]) for i in range(jobs)]
    workers: dict[Any, tuple[Any, list[int]]] = {}
    try:
        for share in shares:
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(sweep, there, [*workers, here]), daemon=True)
            process.start()
            there.close()
            workers[here] = process, share
            here.send(_next(share, shares))
        busy = set(workers)
        while busy:
            ready: list[Any] = connection.wait(list(busy))
            for here in ready:
                process, share = workers[here]
                following = _next(share, shares)
                chunk, data = _exchanged(here, following, process)
                if following is None:
                    busy.remove(here)
                found = Tally.from_data(data)
                journal.add(chunk, found)
                told(found.counted)
    finally:
        for process, _ in workers.values():
            process.terminate()
            process.join()


def _next(own: list[int], shares: Sequence[list[int]]) -> int | None:
    """The next chunk of a process's own share, then the last of the longest other share, or None.

    Neighbours have pieces in common, so a process that stays in its share computes less.
    """
    if own:
        return own.pop(0)
    longest = max(shares, key=len)
    return longest.pop() if longest else None


def _exchanged(here: Any, following: int | None, process: Any) -> tuple[int, Any]:
    """Receive a counted chunk from a process and send it the next; raises NetBuilderError if it died."""
    try:
        chunk, data = here.recv()
        here.send(following)
    except (EOFError, ConnectionError):
        process.join()
        raise NetBuilderError(
            f"a process of the sweep died (exit code {process.exitcode})",
            hint="if memory ran out, use fewer --jobs; run again, the sweep resumes here",
        ) from None
    if chunk is None:
        raise RuntimeError(f"in a process of the sweep:\n{data}")
    return chunk, data


def _work(sweep: Sweep, there: Any, others: Sequence[Any]) -> None:
    """Count the received chunks until None arrives or the parent is gone."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent reports it and ends this process
    for connection in others:
        connection.close()
    counter = counter_of(sweep)
    try:
        while (chunk := there.recv()) is not None:
            there.send((chunk, _counted(sweep, counter, chunk).as_data()))
    except (EOFError, ConnectionError):
        return
    except Exception:
        there.send((None, traceback.format_exc()))
