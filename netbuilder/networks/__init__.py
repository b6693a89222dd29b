"""The networks, each in a module of its name; `find_network` and `all_networks` import them."""

from netbuilder.networks.registry import (
    NETWORKS,
    PHASES,
    NetConfig,
    Network,
    all_networks,
    find_network,
    group,
    is_network,
    network,
    option,
    options,
)

__all__ = [
    "NETWORKS",
    "PHASES",
    "NetConfig",
    "Network",
    "all_networks",
    "find_network",
    "group",
    "is_network",
    "network",
    "option",
    "options",
]
