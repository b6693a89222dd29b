"""Configs: nets as YAML files. Only code that reads a config imports this; flags need no YAML."""

from netbuilder.config.accuracy import Accuracy
from netbuilder.config.load import Loaded, load, load_found, settled
from netbuilder.config.places import Found, all_configs, find_config
from netbuilder.config.references import reference_accuracy

__all__ = [
    "Accuracy",
    "Found",
    "Loaded",
    "all_configs",
    "find_config",
    "load",
    "load_found",
    "reference_accuracy",
    "settled",
]
