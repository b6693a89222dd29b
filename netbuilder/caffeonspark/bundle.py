"""A job as a folder: solver, net, mean files, the scripts that submit it, and a README.md."""

from __future__ import annotations

from pathlib import Path

from netbuilder._version import __version__
from netbuilder.caffeonspark.readme import readme
from netbuilder.caffeonspark.submit import CLUSTERS, script
from netbuilder.caffeonspark.validate import Validated
from netbuilder.errors import ConfigError, FileError
from netbuilder.storage.files import MARK, reason, write_files

__all__ = ["bundle", "shipped"]


def shipped(validated: Validated) -> list[str]:
    """The bare names of the files that executors need: the solver, the net, and mean files."""
    sources = validated.sources
    assert sources.net is not None  # else there are errors
    return [sources.solver.path.name, sources.net.path.name, *(place.name for _, place in sources.net.means)]


def bundle(validated: Validated, folder: str | Path, *, force: bool = False) -> list[Path]:
    """Write the folder of a job, whole or not at all; returns the files in it.

    Files that netbuilder did not write are refused unless `force`. Raises ConfigError if the job has errors
    or no model, or if a file of the job has the name of one that is made; FileError if one cannot be read or
    written.
    """
    if not validated.fits:
        raise ConfigError("a job with errors makes no bundle", key="solver")
    if not validated.job.run.model:
        raise ConfigError(
            "the command needs a model: where the training writes it, or a test reads it", key="model",
            hint="give --model hdfs:///FOLDER/NAME.caffemodel",
        )  # fmt: skip
    folder, sources = Path(folder), validated.sources
    assert sources.net is not None
    names = shipped(validated)
    files: dict[str, str | bytes] = {
        names[0]: _marked(sources.solver.text, sources.solver.path),
        names[1]: _marked(sources.net.text, sources.net.path),
        **{place.name: _bytes(place) for _, place in sources.net.means},
    }
    made = {f"submit_{cluster}.sh": script(validated.job, names, cluster) for cluster in CLUSTERS}
    made["README.md"] = readme(validated, names)
    for name in made:
        if name in files:
            raise ConfigError(f"the bundle has a file '{name}' of its own", key="net", hint="rename yours")
    files |= made
    paths = {folder / name: content for name, content in files.items()}
    write_files(paths, force=force)
    return list(paths)


def _marked(text: str, path: Path) -> str:
    """A text as the bundle has it: netbuilder's mark in the first line, if it is not there already."""
    mark = f"{MARK} {__version__} from {path.name}, for CaffeOnSpark\n"
    return text if text.startswith(MARK) else mark + text


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"cannot read '{path}': {reason(error)}") from None
