"""A job as a folder: solver, net, mean files, the scripts that submit it, and a README.md."""

from __future__ import annotations

from pathlib import Path

from netbuilder._version import __version__
from netbuilder.caffeonspark.arithmetic import numbers
from netbuilder.caffeonspark.readme import readme
from netbuilder.caffeonspark.submit import CLUSTERS, script
from netbuilder.caffeonspark.validate import Validated
from netbuilder.errors import ConfigError, FileError
from netbuilder.storage.files import MARK, reason, write_files

__all__ = ["bundle", "shipped"]


def shipped(validated: Validated) -> list[str]:
    """The bare names of the files that executors need: the solver, the net, and any mean files."""
    sources = validated.sources
    assert sources.net is not None  # a job without a net has errors
    return [sources.solver.path.name, sources.net.path.name, *(place.name for _, place in sources.net.means)]


def bundle(validated: Validated, folder: str | Path, *, force: bool = False) -> list[Path]:
    """Write the folder of a job, all of it or nothing; returns the paths of its files.

    Files that netbuilder did not write are overwritten only with `force`. Raises ConfigError if the job has
    errors, lacks a model, or has a file with the name of a generated one; FileError if a file cannot be read
    or written.
    """
    if not validated.fits:
        raise ConfigError("cannot write a bundle for a job with errors", key="solver")
    if not validated.job.run.model:
        raise ConfigError(
            "a job needs a model: training writes it, a test reads it", key="model",
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
    n = numbers(sources.solver.message, sources.net, validated.job)
    made = {f"submit_{cluster}.sh": script(validated.job, names, cluster, n) for cluster in CLUSTERS}
    made["README.md"] = readme(validated, names)
    for name in made:
        if name in files:
            raise ConfigError(
                f"the bundle contains a generated file '{name}'", key="net", hint="rename yours"
            )
    files |= made
    paths = {folder / name: content for name, content in files.items()}
    write_files(paths, force=force)
    return list(paths)


def _marked(text: str, path: Path) -> str:
    """The text with netbuilder's mark as its first line; unchanged if it has the mark already."""
    mark = f"{MARK} {__version__} from {path.name}, for CaffeOnSpark\n"
    return text if text.startswith(MARK) else mark + text


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"cannot read '{path}': {reason(error)}") from None
