"""Nets and solvers by others: what they would write or run is refused, unless the user trusts them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from netbuilder.checks.trust import code_of, written, written_outside
from netbuilder.errors import ConfigError
from netbuilder.net import Net
from netbuilder.storage.files import is_outside
from netbuilder.training.sources import reads

__all__ = ["require_other_files", "require_trust"]

_HINT = "if you trust whoever made the file, add --trust; docs/security.md explains it"


def require_trust(
    nets: Iterable[tuple[str, Net]], solver: str = "", prefix: str = "", *, hint: str = _HINT
) -> None:
    """Raise ConfigError if an engine would run code that a net names, or something would be written outside.

    Nets come with the names of their files. `prefix` is what the file `solver` names for snapshots.
    """
    if prefix and is_outside(prefix, solver):
        raise ConfigError(
            f"snapshots would be written outside the folder of the solver: '{prefix}'", key="snapshot_prefix",
            path=solver, hint=f"{_HINT}; --set snapshot_prefix=NAME gives another place",
        )  # fmt: skip
    for file, net in nets:
        for layer in net:
            where = f"{file}:{layer.origin.line}" if layer.origin.line else file
            if code := code_of(layer):
                raise ConfigError(
                    f"running layer '{layer.name}' imports {code} and runs it", path=where, hint=hint
                )
            for name in written_outside(layer, file):
                raise ConfigError(
                    f"layer '{layer.name}' writes '{name}', outside the folder of the net", path=where,
                    hint=hint,
                )  # fmt: skip


def require_other_files(nets: Sequence[tuple[str, Net]], solver: str = "") -> None:
    """Raise ConfigError if a layer writes over what the run reads: its nets, the solver, lists and data."""
    given = [file for file in (solver, *(file for file, _ in nets)) if os.path.exists(file)]
    for file, net in nets:
        for layer in net:
            for name in written(layer):
                if not os.path.exists(name):
                    continue
                if any(os.path.samefile(name, one) for one in given) or any(reads(n, name) for _, n in nets):
                    raise ConfigError(
                        f"layer '{layer.name}' writes '{name}', over a file that is read",
                        path=f"{file}:{layer.origin.line}" if layer.origin.line else file,
                        hint="give it the name of another file",
                    )
