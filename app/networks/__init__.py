"""The networks; importing this package fills the registry `NETWORKS`."""

from app.networks import cifar_resnet, resnet
from app.networks.registry import NETWORKS, PHASES, NetConfig, Network, find_network, network, option

__all__ = [
    "NETWORKS",
    "PHASES",
    "NetConfig",
    "Network",
    "cifar_resnet",
    "find_network",
    "network",
    "option",
    "resnet",
]
