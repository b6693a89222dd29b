"""From a config to files: the nets of all phases, checked, and one prototxt file for each."""

from __future__ import annotations

from pathlib import Path

from netbuilder import checks, prototxt
from netbuilder.errors import ConfigError
from netbuilder.net import Net
from netbuilder.networks.registry import PHASES, NetConfig, Network
from netbuilder.storage.files import write_files

__all__ = ["check_nets", "stitch_phases", "write_nets"]


def stitch_phases(entry: Network, config: NetConfig) -> dict[str, Net]:
    """The nets of all phases, by phase. Raises ConfigError if a check finds an error in one of them."""
    nets = {phase: entry.stitch(config, phase) for phase in PHASES}
    check_nets(nets)
    return nets


def check_nets(nets: dict[str, Net]) -> None:
    """Raise ConfigError if a check finds an error in one of the nets.

    That a layer normalises over one value is none: the batch that a net is built with is often only 1.
    """
    for phase, net in nets.items():
        for finding in checks.check(net):
            if finding.severity == "error" and finding.code != "one-value":
                raise ConfigError(f"the {phase} net of {net.name} would not work: {finding}")


def write_nets(
    nets: dict[str, Net], folder: Path, *, header: str, force: bool = False, train_val: bool = False
) -> list[Path]:
    """Write one file per phase, and with `train_val` one of both, all or none; return their paths."""
    texts: dict[bytes, str] = {}
    files = {
        folder / f"{phase}.prototxt": prototxt.dumps(net, header=header, texts=texts)
        for phase, net in nets.items()
    }
    if train_val:
        from netbuilder.transforms.train_val import dumps_train_val

        files[folder / "train_val.prototxt"] = dumps_train_val(nets["train"], nets["test"], header=header)
    write_files(files, force=force)
    return list(files)
