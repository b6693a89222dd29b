"""What runs in the executors: a look at each machine before the training, and the training of one rank.

These functions travel by name, so executors need netbuilder, and little is imported before it is used.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from netbuilder.errors import NetBuilderError

__all__ = ["Train", "errors_in", "look", "versions", "work"]

Train = Callable[[str, Mapping[str, Any]], dict[str, Any]]


def work(train: Train, solver: str, options: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Train as one rank; an error is left in the folder `place`, where the driver looks."""
    try:
        return train(solver, options)
    except Exception as error:
        rank = os.environ.get("RANK", "0")
        said = {"text": f"rank {rank}: {type(error).__name__}: {error}", "where": "", "hint": ""}
        if isinstance(error, NetBuilderError):
            said = {name: getattr(error, name) for name in said}
        content = {"rank": int(rank), "kind": type(error).__name__, **said}
        _written(Path(place) / f"error-{rank}.json", json.dumps(content))
        raise


def _written(path: Path, text: str) -> None:
    """Write a file that the driver finds whole or not at all."""
    try:
        new = path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError:
        pass  # the driver has the error's text from Spark


def errors_in(place: Path) -> list[dict[str, Any]]:
    """The errors that the ranks left, oldest first; they are taken away."""
    found = sorted(place.glob("error-*.json"), key=lambda path: path.stat().st_mtime_ns)
    errors = [json.loads(path.read_text(encoding="utf-8")) for path in found]
    for path in found:
        path.unlink()
    return errors


def versions() -> dict[str, str]:
    """What must be the same on all machines, and what Spark's distributor needs there."""
    from importlib.metadata import PackageNotFoundError, version

    from netbuilder._version import __version__

    found = {"Python": ".".join(map(str, sys.version_info[:2])), "netbuilder": __version__}
    for name in ("torch", "pandas", "pyarrow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def look(partition: int, folder: str, token: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    """What a machine of the cluster has: versions, the shared folder, and files that are missing."""
    place = Path(folder)
    shared = (place / token).is_file()
    if shared:
        _written(place / f"{token}-{partition}", socket.gethostname())
    missing = [name for name in wanted if not os.path.exists(name)]
    return {
        "host": socket.gethostname(), "versions": versions(), "shared": shared, "missing": missing,
    }  # fmt: skip


def looking(folder: str, token: str, wanted: tuple[str, ...]) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """`look` in the tasks of a barrier stage: a row of JSON from each."""

    def rows(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow
        from pyspark import TaskContext

        for _ in batches:
            pass
        seen = look(TaskContext.get().partitionId(), folder, token, wanted)
        yield pyarrow.RecordBatch.from_arrays([pyarrow.array([json.dumps(seen)])], ["seen"])

    return rows
