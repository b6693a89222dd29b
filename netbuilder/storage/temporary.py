"""Temporary files and folders: names that nobody can predict, and the removal of what killed processes left.

`.NAME.MACHINE-PROCESS.RANDOM.partial` names the process that writes it. The next process that begins the same
NAME removes what nobody will finish.

The source of this module is also sent to the Python that has Caffe (3.7 or newer), ahead of other sources
and in one namespace with them. So it imports the standard library only.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    import tempfile
    from collections.abc import Iterator

PARTIAL = ".partial"
_LONGEST = 50  # characters of a name that its temporary one repeats: all may have 255 bytes
_RANDOM = "[0-9a-f]{16}"
_BEGUN: set[str] = set()  # the names that this process has begun


def partial_name(name: str) -> str:
    """A new name for what is to become `name`, always as long for the same name."""
    begun = f"{_start(name)}{os.getpid():07d}.{_token()}{PARTIAL}"
    _BEGUN.add(begun)
    return begun


def same_name(partial: str) -> str:
    """A partial name without what differs from run to run, and as long."""
    return re.sub(
        rf"[0-9a-f]{{8}}-\d{{7}}\.{_RANDOM}(?={PARTIAL}$)",
        f"{0:08}-{0:07}.{0:016}",
        os.path.basename(partial),
    )


def new_file(folder: str, name: str) -> str:
    """A new empty file in a folder that is to become `name`; follows no link."""
    remove_left(folder, name)
    path = os.path.join(folder, partial_name(name))
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    return path


def new_folder(folder: str, name: str, mode: int = 0o777) -> str:
    """A new empty folder in a folder that is to become `name`; follows no link."""
    remove_left(folder, name)
    path = os.path.join(folder, partial_name(name))
    os.mkdir(path, mode)
    return path


def scratch(name: str = "netbuilder") -> tempfile.TemporaryDirectory[str]:
    """A temporary folder of this process alone."""
    import tempfile  # here and below: each start of the command would pay for it

    remove_left(tempfile.gettempdir(), name)
    made = tempfile.TemporaryDirectory(prefix=f"{_start(name)}{os.getpid():07d}.{_token()}", suffix=PARTIAL)
    _BEGUN.add(os.path.basename(made.name))
    return made


def remove_left(folder: str, name: str) -> None:
    """Remove what processes of this machine left when they died; on Windows none, as that cannot be asked."""
    named = re.compile(rf"{re.escape(_start(name))}(\d+)\.[^.]+{re.escape(PARTIAL)}")
    with suppress(OSError):
        for left in os.listdir(folder or ".") if os.name == "posix" else ():
            match = named.fullmatch(left)
            if match and left not in _BEGUN and not _is_running(int(match[1])):
                remove(os.path.join(folder, left))


def remove(path: str) -> None:
    """Remove a file, a link or a folder with all in it, as far as that is allowed; follows no link."""
    _BEGUN.discard(os.path.basename(path))
    try:
        os.unlink(path)
        return
    except FileNotFoundError:
        return
    except OSError:
        import shutil
    shutil.rmtree(path, ignore_errors=True)  # refuses a link


def kept_folders(folder: str, name: str) -> Iterator[str]:
    """The folders that this user's `new_kept_folder` made for this name; a link is not one."""
    named = re.compile(rf"\.{re.escape(_short(name))}\.{_RANDOM}{re.escape(PARTIAL)}")
    with suppress(OSError):
        for found in sorted(os.listdir(folder or ".")):
            status = os.lstat(os.path.join(folder, found)) if named.fullmatch(found) else None
            if status and stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                yield os.path.join(folder, found)


def new_kept_folder(folder: str, name: str) -> str:
    """A new empty folder that is to become `name`, which a later process may finish; follows no link."""
    path = os.path.join(folder, f".{_short(name)}.{_token()}{PARTIAL}")
    os.mkdir(path)
    return path


def _start(name: str) -> str:
    machine = os.uname().nodename if hasattr(os, "uname") else ""
    return f".{_short(name)}.{crc32(machine.encode()):08x}-"


def _short(name: str) -> str:
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}~{crc32(os.fsencode(name)):08x}"


def _token() -> str:
    return os.urandom(8).hex()


def _is_running(pid: int) -> bool:
    """Whether there is such a process; this one begins under a name of its own each time."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # killed, and not yet buried by its parent
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except (OSError, IndexError):
        return True
