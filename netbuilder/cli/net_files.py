"""What names a net on the command line: a file, a folder of them, `-` for stdin, a config or its name; and
`latest`, which names a model.

A verb gives `net_file` to argparse as the type of its word. The text of a net without a file of its own is
held under its name, and everything that reads files finds it there. A file on the disk wins.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from netbuilder.errors import ConfigError, FileError, NetBuilderError, printable
from netbuilder.storage.files import HELD, read_text

__all__ = ["MODEL", "NET", "is_held", "model_file", "net_file", "net_files", "solver_file"]

NET = "a prototxt file, - for stdin, or the name of a config"
MODEL = "its .caffemodel, or latest: the newest snapshot of its training"
_STDIN = "<stdin>"
_WRITTEN = ("train_val.prototxt", "test.prototxt")
_YAML = (".yaml", ".yml")


def net_file(word: str) -> str:
    """The name under which the net can be read; what cannot be found is an error only when it is read."""
    if word == "-":
        HELD[_STDIN] = _stdin()
        return _STDIN
    if os.path.isdir(word):
        return _of_folder(word)
    if word.endswith(_YAML):
        name = f"<{word}>"  # the lines are not those of the file
        HELD[name] = _of_config(word)
        return name
    if not os.path.exists(word) and _may_be_name(word):
        HELD[word] = _of_config(word)
    return word


def solver_file(word: str) -> str:
    """A solver file; a folder is the only one in it. Raises FileError."""
    if not os.path.isdir(word):
        return word
    from netbuilder.prototxt.solver_file import is_solver

    files = [str(path) for path in sorted(Path(word).glob("*.prototxt")) if is_solver(read_text(path))]
    if len(files) == 1:
        return files[0]
    what = "several solvers" if files else "no solver"
    raise FileError(
        f"'{word}' is a folder with {what}",
        hint=f"name one of them: {', '.join(files[:4])}" if files else
        f"netbuilder solver RECIPE --net NET -o {os.path.join(word, 'solver.prototxt')} writes one",
    )  # fmt: skip


def model_file(word: str, net: str) -> str:
    """The model that a word names; `latest` is the newest snapshot of the net's training, and is printed."""
    if word != "latest" or os.path.exists(word):
        return word
    from netbuilder.training.newest import newest_model

    found = newest_model(net)
    print(printable(f"weights: {found}"), file=sys.stderr)
    return str(found)


def net_files(words: Iterable[str], *, solvers: bool) -> list[str]:
    """The names of all nets: those of a folder are its prototxt files.

    Without `solvers` these are left out, and of the files that build wrote only TEST's is taken.
    """
    names: list[str] = []
    for word in words:
        if not os.path.isdir(word):
            names.append(net_file(word))
            continue
        files = _inside(word, solvers)
        names += files if solvers else _written(word, files)[:1] or files
    return names


def is_held(name: str) -> bool:
    """Whether the name of a net is not that of a file."""
    return name in HELD


def _stdin() -> str | FileError:
    try:
        return sys.stdin.buffer.read().decode("utf-8") if hasattr(sys.stdin, "buffer") else sys.stdin.read()
    except UnicodeDecodeError as error:
        return FileError(f"cannot read stdin: it is not text (byte {error.start} is not UTF-8)")


def _may_be_name(word: str) -> bool:
    """Whether a word that is not a file can name a config, as `resnet_50` and `imagenet/resnet_50` do."""
    return bool(word) and "." not in word and word.count("/") < 2 and not word.startswith("/")


def _of_config(word: str) -> str | NetBuilderError:
    """The net that `netbuilder build` makes of a config, both phases in one text."""
    from netbuilder.config import load
    from netbuilder.transforms.train_val import dumps_train_val

    try:
        loaded = load(word)
        train, test = loaded.stitch("train"), loaded.stitch("test")
    except ConfigError as error:
        if error.key != "name":
            return error
        return FileError(f"cannot read '{word}': no such file, and no config has that name", hint=error.hint)
    except NetBuilderError as error:
        return error
    return dumps_train_val(train, test, header=loaded.origin)


def _inside(folder: str, solvers: bool) -> list[str]:
    """The prototxt files of a folder and its subfolders."""
    from netbuilder.prototxt.solver_file import is_solver

    files = sorted(
        str(path)
        for path in Path(folder).rglob("*.prototxt")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not solvers:
        files = [file for file in files if not is_solver(read_text(file))]
    if not files:
        raise FileError(f"there is no .prototxt file in the folder '{folder}'", hint=f"name {NET}")
    return files


def _written(folder: str, files: list[str]) -> list[str]:
    """Those of the files that build wrote with a TEST net in them, the one with both phases first."""
    return [file for name in _WRITTEN if (file := str(Path(folder, name))) in files]


def _of_folder(folder: str) -> str:
    """The one net that a folder stands for: its only prototxt file, or of those that build writes, TEST's."""
    files = _inside(folder, solvers=False)
    written = _written(folder, files)
    if len(files) > 1 and not written:
        some = ", ".join(Path(file).name for file in files[:4])
        raise FileError(f"'{folder}' is a folder with several nets", hint=f"name one of them: {some}")
    return (written or files)[0]
