"""The published accuracy of a net that some config states, however the net is built."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from netbuilder.config.accuracy import Accuracy
from netbuilder.config.load import load_found
from netbuilder.config.places import all_configs
from netbuilder.errors import NetBuilderError
from netbuilder.storage.files import read_text

__all__ = ["reference_accuracy"]


@cache
def _stated(network: str, folders: tuple[str, ...]) -> list[tuple[object, Accuracy]]:
    """The nets of a network of which a config states the accuracy."""
    may_be = re.compile(rf"^(network:\s*{re.escape(network)}\s*$|base:)", re.MULTILINE)
    stated: list[tuple[object, Accuracy]] = []
    for found in all_configs(folders):
        try:
            if not may_be.search(read_text(str(found.path))):  # most of them; to load all takes half a second
                continue
            loaded = load_found(found, folders=folders)
        except NetBuilderError:  # `netbuilder list` reports it
            continue
        if loaded.accuracy is not None and loaded.entry.name == network:
            stated.append((loaded.config, loaded.accuracy))
    return stated


def reference_accuracy(network: str, config: object, folders: Sequence[str] = ()) -> Accuracy | None:
    """The accuracy that a config states of exactly this net, None if none does.

    `config` is the config dataclass of the network of this name; configs in `folders` are searched too.
    """
    return next((a for c, a in _stated(network, tuple(folders)) if c == config), None)
