"""Which real Caffe to use: how it is found, and how it is started.

`judge` and `engine` use it. Nothing here imports Caffe: a subprocess tries it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from netbuilder.errors import EngineError
from netbuilder.storage.files import cache_folder

__all__ = [
    "INSTALL_COMMAND",
    "VARIABLE",
    "Install",
    "binary_version",
    "boot",
    "default_root",
    "entering",
    "environment",
    "find",
    "how_to_get",
    "missing",
]

VARIABLE = "NETBUILDER_CAFFE"
INSTALL_COMMAND = "sudo -E tools/install_caffe.sh"
_PYTHON = "/usr/bin/python3"  # of a root
STAMP = ".netbuilder-caffe"  # written by tools/install_caffe.sh when an install is complete


@dataclass(frozen=True)
class Install:
    """One usable Caffe: the command that starts it, and what named it.

    `kind` is "pycaffe" (the command is a Python that can import caffe) or "binary" (it is `caffe`). The
    command may run in a container, which must mount files under the paths that they have here.
    """

    command: tuple[str, ...]
    named_by: str
    root: Path | None = None  # of a chroot
    kind: str = "pycaffe"

    def __str__(self) -> str:
        place = f"the Debian root {self.root}" if self.root else shlex.join(self.command)
        return f"real Caffe by {place} ({self.named_by})"


def default_root() -> Path:
    """The default target of tools/install_caffe.sh."""
    return cache_folder() / "caffe-bullseye"


def find() -> Install | None:
    """The Caffe to use, or None. The first available one of these:

    1. what the environment variable NETBUILDER_CAFFE names: a root folder, entered by chroot; a Python that
       can `import caffe`; the `caffe` binary; or a command line that starts one of these two, for example in
       a container. If it is set but unusable, EngineError is raised and nothing else is tried;
    2. the pycaffe of the running Python;
    3. the root that tools/install_caffe.sh made in its default place, if the user may enter it;
    4. a `caffe` binary on the PATH.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return _named(named)
    # This imports nothing. The package `caffe` of the registry is empty, so a trial must follow.
    import importlib.util

    if importlib.util.find_spec("caffe") is not None:
        own = Install((sys.executable,), "pycaffe of this Python")
        if not _trial(own):
            return own
    root = default_root()
    if (root / STAMP).is_file() and _may_enter(root):
        return Install(_chroot(root), "installed by tools/install_caffe.sh", root)
    binary = shutil.which("caffe")
    if binary and binary_version((binary,)):
        return Install((binary,), "on the PATH", kind="binary")
    return None


def how_to_get() -> str:
    """What to do where `find` finds nothing."""
    if (default_root() / STAMP).is_file() and not _may_enter(default_root()):
        return (
            f"run netbuilder as root (sudo -E), or name another Caffe by {VARIABLE}; see docs/real-caffe.md"
        )
    return f"install it by `{INSTALL_COMMAND}`; see docs/real-caffe.md"


def missing() -> str:
    """Why `find` finds nothing, for a person, in one sentence."""
    root = default_root()
    if (root / STAMP).is_file() and not _may_enter(root):
        return f"real Caffe is installed in {root}, but entering it needs root, or user namespaces"
    return (
        f"no real Caffe: {VARIABLE} is not set, this Python has no pycaffe, {root} has no install, "
        "and no caffe is on the PATH"
    )


def _named(named: str) -> Install:
    path, by = Path(named).expanduser().absolute(), f"named by {VARIABLE}"
    hint = (
        f"{VARIABLE} takes a root made by tools/install_caffe.sh, a Python that can import caffe, "
        "the caffe binary, or a command line that starts one of these two"
    )
    if path.is_dir():
        if not _may_enter(path):
            raise EngineError(
                f"{VARIABLE}={named} is a root folder, and entering it needs root, or user namespaces",
                hint=hint,
            )
        install = Install(_chroot(path), by, path)
    else:
        install = Install(_command(named, path, hint), by)
        # By its name, so that it need not be started as a Python first.
        if Path(install.command[-1]).name == "caffe" and binary_version(install.command):
            return Install(install.command, by, kind="binary")
    trouble = _trial(install)
    if trouble and binary_version(install.command):
        return Install(install.command, by, kind="binary")
    if trouble:
        raise EngineError(f"{VARIABLE}={named} has no usable Caffe: {trouble}", hint=hint)
    return install


def _command(named: str, path: Path, hint: str) -> tuple[str, ...]:
    """The words of a command; a name with spaces in it, of a file that is there, is one word."""
    if path.is_file() and os.access(path, os.X_OK):
        return (str(path),)
    try:
        words = shlex.split(named)
    except ValueError as error:
        raise EngineError(f"{VARIABLE}={named} is not a command line: {error}", hint=hint) from None
    if not words or shutil.which(words[0]) is None:
        what = "a folder nor a program" if len(words) < 2 else f"a folder, nor is '{words[0]}' a program"
        raise EngineError(f"{VARIABLE}={named} is neither {what} that can be run", hint=hint)
    return tuple(words)


def _chroot(root: Path) -> tuple[str, ...]:
    """The command of a root's Python; a user other than root enters it in namespaces."""
    return ("chroot", str(root), _PYTHON) if _is_root() else (*entering(root, None, (), (_PYTHON,)),)


def _may_enter(root: Path) -> bool:
    return _is_root() or _ask(entering(root, None, (), ("/bin/true",)), dict(os.environ))[0] == 0


def entering(root: Path, descriptor: int | None, folders: Sequence[str], command: Sequence[str]) -> list[str]:
    """The command that starts another in a root, where that can write into these folders only.

    `descriptor` will be that command's descriptor of the current folder.
    """
    enter = str(Path(__file__).with_name("_enter.py"))
    here = "-" if descriptor is None else str(descriptor)
    return [sys.executable, "-I", "-S", enter, str(root), here, *folders, "--", *command]


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _trial(install: Install) -> str:
    """Why this Python cannot be used as real Caffe, in one line; "" if it can."""
    late = Path(__file__).with_name("_late_imports.py").read_text(encoding="utf-8")
    test = (
        "import sys; assert sys.version_info >= (3, 7), 'it is Python %d.%d, and 3.7 is needed' % "
        f"sys.version_info[:2]\nexec({late!r})\nwith late_imports(): import caffe\n"
        "caffe.Net; assert 'Convolution' in caffe.layer_type_list()"
    )
    code, said = _ask([*install.command, "-c", test], environment(install))
    if code == 0:
        return ""
    lines = said.strip().splitlines()
    return lines[-1] if lines else f"exit status {code}"


def binary_version(command: tuple[str, ...]) -> str:
    """The version that the `caffe` binary of this command reports, "" if it is not a `caffe` binary."""
    code, said = _ask([*command, "--version"], {**os.environ, "GLOG_logtostderr": "1"})  # else into /tmp
    version = re.search(r"^caffe version (\S+)", said, re.MULTILINE)
    return version[1] if code == 0 and version else ""


def _ask(command: list[str], env: dict[str, str]) -> tuple[int, str]:
    """The exit status of a command and its output."""
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=120,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return -1, str(error)
    return done.returncode, done.stdout.decode(errors="replace")


def environment(install: Install, threads: int = 1) -> dict[str, str]:
    """The environment in which an install is started."""
    env = dict(os.environ)
    if install.root is not None:  # another system, where our paths and locale are invalid
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8"}
    return {**env, **_settings(install, threads), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"}


def _settings(install: Install, threads: int) -> dict[str, str]:
    """The environment variables that Caffe needs, wherever it runs."""
    # Pass on OPENBLAS_CORETYPE and the like: an old OpenBLAS may misjudge a new processor.
    wanted = {k: v for k, v in os.environ.items() if k.startswith("OPENBLAS_")}
    if install.root is None and "OMP_NUM_THREADS" in os.environ:
        wanted["OMP_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"]
    # One thread, so that results repeat and tests do not compete for cores.
    counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    wanted = {**wanted, **counts} if threads > 1 else {**counts, **wanted}
    # Refusals are explained from the log, so these override the user's settings.
    return {**wanted, "GLOG_logtostderr": "1", "GLOG_minloglevel": "0"}


def boot(install: Install, *names: str, threads: int = 1) -> tuple[list[str], bytes]:
    """The command that runs these modules together in the Python of an install, and what to send first.

    The sources come first on stdin, so nothing must be copied into a root or a container. Docker does not
    pass on the environment, so it is set again inside, before Caffe is imported.
    """
    code = (
        "import os, sys\n"
        f"os.environ.update({_settings(install, threads)!r})\n"
        "stdin = sys.stdin.buffer\n"
        "for size in stdin.readline().split():\n"
        f"    exec(compile(stdin.read(int(size)), {names[-1]!r}, 'exec'))\n"
    )
    sources = [Path(__file__).parent.joinpath(name).read_bytes() for name in names]
    sizes = " ".join(str(len(source)) for source in sources).encode()
    return [*install.command, "-B", "-W", "ignore", "-c", code], b"\n".join([sizes, b"".join(sources)])
