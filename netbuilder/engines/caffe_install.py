"""Which real Caffe is used: the rule that finds one, and how its Python is started.

What is done with it is in `netbuilder.engines.caffe`. Nothing here imports Caffe: a subprocess tries it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from netbuilder.errors import EngineError

__all__ = ["INSTALL_COMMAND", "VARIABLE", "Install", "default_root", "environment", "find", "missing"]

VARIABLE = "NETBUILDER_CAFFE"
INSTALL_COMMAND = "sudo -E tools/install_caffe.sh"
STAMP = ".netbuilder-caffe"  # written by tools/install_caffe.sh when an install is whole


@dataclass(frozen=True)
class Install:
    """One usable Caffe: how its Python is started, and who named it."""

    command: tuple[str, ...]
    named_by: str
    root: Path | None = None  # of a chroot

    def __str__(self) -> str:
        place = f"the Debian root {self.root}" if self.root else self.command[-1]
        return f"real Caffe by {place} ({self.named_by})"


def default_root() -> Path:
    """Where tools/install_caffe.sh puts Caffe when it is not told otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "netbuilder" / "caffe-bullseye"


def find() -> Install | None:
    """The Caffe to use, or None. The first of these that there is:

    1. what the environment variable NETBUILDER_CAFFE names: a root folder, entered by chroot, or a Python
       that can `import caffe`. If it is set and unusable, that is an EngineError and nothing else is tried;
    2. a pycaffe of the Python we run in;
    3. the root that tools/install_caffe.sh made in its default place, if we are root.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return _named(named)
    # Without importing anything: the registry's package called `caffe` is empty, so a trial must follow.
    import importlib.util

    if importlib.util.find_spec("caffe") is not None:
        own = Install((sys.executable,), "pycaffe of this Python")
        if not _trial(own):
            return own
    root = default_root()
    if _is_root() and (root / STAMP).is_file():
        return Install(_chroot(root), "installed by tools/install_caffe.sh", root)
    return None


def missing() -> str:
    """Why `find` finds nothing, for a person, in one sentence."""
    root = default_root()
    if (root / STAMP).is_file() and not _is_root():
        return f"real Caffe is installed in {root}, but entering it needs root"
    return f"no real Caffe: {VARIABLE} is not set, this Python has no pycaffe, and {root} has no install"


def _named(named: str) -> Install:
    path, by = Path(named).expanduser().absolute(), f"named by {VARIABLE}"
    hint = f"{VARIABLE} takes a root made by tools/install_caffe.sh, or a Python that can import caffe"
    if path.is_dir():
        if not _is_root():
            raise EngineError(f"{VARIABLE}={named} is a root folder, and entering it needs root", hint=hint)
        install = Install(_chroot(path), by, path)
    elif path.is_file() and os.access(path, os.X_OK):
        install = Install((str(path),), by)
    else:
        raise EngineError(f"{VARIABLE}={named} is neither a folder nor a Python that can be run", hint=hint)
    trouble = _trial(install)
    if trouble:
        raise EngineError(f"{VARIABLE}={named} has no usable Caffe: {trouble}", hint=hint)
    return install


def _chroot(root: Path) -> tuple[str, ...]:
    return ("chroot", str(root), "/usr/bin/python3")


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _trial(install: Install) -> str:
    """ "" if this Python has real Caffe, else why not, in one line."""
    test = "import caffe; caffe.Net; assert 'Convolution' in caffe.layer_type_list()"
    command = [*install.command, "-c", test]
    try:
        done = subprocess.run(
            command, env=environment(install), stdin=subprocess.DEVNULL, capture_output=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"


def environment(install: Install) -> dict[str, str]:
    """The environment in which an install's Python is started."""
    env = dict(os.environ)
    if install.root is not None:
        # Another system: our paths and locale mean nothing there. OPENBLAS_CORETYPE and its like do: an old
        # OpenBLAS may misjudge a new processor, and whoever set them knew why.
        kept = {k: v for k, v in env.items() if k.startswith("OPENBLAS_")}
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8", **kept}
    # One thread: results that repeat, and tests that do not fight over cores.
    env.setdefault("OMP_NUM_THREADS", "1")
    env.setdefault("OPENBLAS_NUM_THREADS", "1")
    # The log is how a refusal is explained, whatever the user's own settings are.
    env.update(
        GLOG_logtostderr="1", GLOG_minloglevel="0", PYTHONDONTWRITEBYTECODE="1", PYTHONWARNINGS="ignore"
    )
    return env
