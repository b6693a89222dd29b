"""Configs: nets as YAML files. Imported only by what reads one; a network built by flags needs no YAML."""

from app.config.load import Loaded, load, load_found
from app.config.places import Found, all_configs, find_config

__all__ = ["Found", "Loaded", "all_configs", "find_config", "load", "load_found"]
