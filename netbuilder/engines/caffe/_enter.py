"""Enters a Debian root without the rights of root: run as a program, by whoever starts Caffe in it.

`_enter.py ROOT DESCRIPTOR FOLDER... -- COMMAND...` starts the command in the root, in namespaces of its own:
its only rights are those over files, everything except these folders and the root's /tmp is read-only, and
DESCRIPTOR is the current folder, from which relative names lead to the user's files (-: none). Where the
kernel forbids that, root enters by a plain chroot. The variable ENTERED tells the command which it was.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

ENTERED = "NETBUILDER_ENTERED"
_NEWNS, _NEWUSER = 0x00020000, 0x10000000
_BIND, _REC, _PRIVATE = 0x1000, 0x4000, 0x40000
_MOUNT_SETATTR = 442  # on every architecture, since Linux 5.12
_RECURSIVE, _RDONLY, _HERE = 0x8000, 1, -100
_NO_NEW_PRIVS, _DROP = 38, 24
_KEPT = (0, 1, 2, 3)  # rights over files: CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER

_LIBC = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """The struct mount_attr of the kernel."""

    _fields_ = (
        ("set", ctypes.c_uint64), ("clear", ctypes.c_uint64), ("propagation", ctypes.c_uint64),
        ("user", ctypes.c_uint64),
    )  # fmt: skip


def main() -> None:
    """Enter, and become the command."""
    at = sys.argv.index("--")
    (root, descriptor, *folders), command = sys.argv[1:at], sys.argv[at + 1 :]
    here = os.getcwd()
    folders.append(os.path.join(root, "tmp"))
    how = "namespaces" if _allowed(folders) else "chroot"
    if how == "namespaces":
        _namespaces()
        _read_only_but(folders)
    elif os.geteuid():
        sys.exit(f"entering {root} needs root, or user namespaces, which the kernel forbids here")
    os.chdir(here)  # the folder as it is mounted now
    if descriptor != "-":
        os.dup2(os.open(".", os.O_RDONLY), int(descriptor))
    os.chroot(root)
    os.chdir("/")
    if how == "namespaces":
        _drop_rights()
    os.execve(command[0], command, {**os.environ, ENTERED: how})


def _allowed(folders: list[str]) -> bool:
    """Whether the kernel allows all of it: a child tries, because a part of it could not be undone."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    status = 1
    try:
        _namespaces()
        _read_only_but(folders)
        status = 0
    except OSError:
        pass
    finally:
        os._exit(status)


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _namespaces() -> None:
    """Enter namespaces in which every user keeps their number; an ordinary user can map only themselves."""
    user, group = os.geteuid(), os.getegid()
    reader, writer = os.pipe()
    parent = os.getpid()
    child = 0 if user else os.fork()
    if not user and not child:  # only a process outside may map all users
        os.close(writer)
        status = 1
        try:
            if os.read(reader, 1):
                for name in ("uid_map", "gid_map"):
                    _write(f"/proc/{parent}/{name}", "0 0 4294967295")
                status = 0
        finally:
            os._exit(status)
    try:
        _checked(_LIBC.unshare(_NEWUSER | _NEWNS))
        os.write(writer, b"x")
    finally:
        os.close(writer)
        failed = child and os.waitpid(child, 0)[1]
    if failed:
        raise OSError(1, "users cannot be mapped")
    if user:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {user} 1")
        _write("/proc/self/gid_map", f"0 {group} 1")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _read_only_but(folders: list[str]) -> None:
    """Make everything read-only except these folders."""
    _checked(_LIBC.mount(b"none", b"/", None, _REC | _PRIVATE, None))
    for folder in folders:
        place = os.fsencode(os.path.realpath(folder))
        _checked(_LIBC.mount(place, place, None, _BIND | _REC, None))
    _set(b"/", _Attributes(set=_RDONLY), _RECURSIVE)
    for folder in folders:
        with suppress(PermissionError):  # it was read-only before
            _set(os.fsencode(os.path.realpath(folder)), _Attributes(clear=_RDONLY), 0)


def _set(place: bytes, attributes: _Attributes, flags: int) -> None:
    size = ctypes.sizeof(attributes)
    _checked(_LIBC.syscall(_MOUNT_SETATTR, _HERE, place, flags, ctypes.byref(attributes), size))


def _drop_rights() -> None:
    """Keep only the rights over files, so that neither this process nor the command can change the mounts."""
    for right in range(64):  # more than exist
        if right not in _KEPT:
            _LIBC.prctl(_DROP, right, 0, 0, 0)
    _checked(_LIBC.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))


if __name__ == "__main__":
    main()
