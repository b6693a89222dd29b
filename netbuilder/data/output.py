"""A folder that gets its name only once complete, and that a later run can continue after a kill.

The work is done in `.NAME.RANDOM.partial` next to it. There `netbuilder.json` describes the job: a later run
of the same job continues it, any other is refused. At the end the folder is renamed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from netbuilder.errors import FileError
from netbuilder.storage import temporary
from netbuilder.storage.files import read_record, reason, rename_folder, replacing

__all__ = ["ABOUT", "AlreadyMade", "Output", "about"]

ABOUT = "netbuilder.json"
# The only files that an output may hold; a folder with any other file is never deleted.
_OURS = {ABOUT, "data.mdb", "lock.mdb", "train_lmdb", "test_lmdb", "mean.binaryproto", "labels.txt"}


class AlreadyMade(Exception):
    """The folder exists already and is of the same job."""


class Output:
    """A context manager: work in `folder`, then call `finish`. One process at a time.

    `job` is everything that determines the content, as JSON; netbuilder.json holds it together with `more`.
    An existing folder is refused, replaced (`force`) or, if it is of the same job, accepted by raising
    AlreadyMade (`resume`). Only a folder that holds a database is ever replaced.
    """

    def __init__(
        self, place: Path, job: Mapping[str, object], more: Mapping[str, object], *, force: bool, resume: bool
    ) -> None:
        if not place.name:
            raise FileError(f"'{place}' is not a name for a database", hint="choose another output")
        self.place = place
        self.folder = place  # the one to work in, once entered
        self.continued = False
        self._job = job
        self._about = {"version": 1, **more, "job": job}
        self._force, self._resume = force, resume
        self._lock = -1

    def __enter__(self) -> Output:
        temporary.remove_left(str(self.place.parent), self.place.name)
        self._check_place()
        self._make_folder()
        try:
            self._begin()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock >= 0:
            if kind is not None and self.folder.is_dir() and os.listdir(self.folder) == [ABOUT]:
                shutil.rmtree(self.folder)  # nothing has been written yet
            os.close(self._lock)
            self._lock = -1

    def finish(self) -> None:
        """Give the folder its name; only then is an old one removed."""
        try:
            rename_folder(self.folder, self.place)
        except OSError as error:
            raise FileError(
                f"cannot rename '{self.folder}' to '{self.place}': {reason(error)}",
                hint="it is complete: rename it by hand, or run the same command again",
            ) from None

    def _check_place(self) -> None:
        place = self.place
        if not os.path.lexists(place):
            return
        mine = about(place)
        hint = "choose another output; --force replaces only databases"
        names = set(os.listdir(place)) if place.is_dir() and not place.is_symlink() else {""}
        if names and not names & {ABOUT, "data.mdb"}:
            raise FileError(f"'{place}' is in the way, and is not a database", hint=hint)
        if foreign := sorted(names - _OURS):
            raise FileError(f"'{place}' is in the way, and has other files: '{foreign[0]}'", hint=hint)
        if self._force:
            return
        if self._resume and mine:
            if mine.get("job") == self._about["job"]:
                raise AlreadyMade
            difference = _difference(mine.get("job"), self._job)
            raise FileError(
                f"'{place}' exists, but was made from other input: {difference}",
                hint="--force replaces it; or choose another output",
            )
        raise FileError(
            f"'{place}' exists already",
            hint="--force replaces it, --resume keeps it if it is the same; or choose another output",
        )

    def _make_folder(self) -> None:
        """Make the folder, or find the one of a run that was killed, and lock it."""
        import fcntl

        parent, name = str(self.place.parent), self.place.name
        try:
            self.place.parent.mkdir(parents=True, exist_ok=True)
            one_by_one = os.open(parent, os.O_RDONLY)
        except OSError as error:
            raise self._unmade(error) from None
        try:
            with suppress(OSError):  # where nothing can be locked, two runs make two folders
                fcntl.flock(one_by_one, fcntl.LOCK_EX)
            there = next(temporary.kept_folders(parent, name), None)
            self.folder = Path(there or temporary.new_kept_folder(parent, name))
            self._take_lock()
        except OSError as error:
            raise self._unmade(error) from None
        finally:
            os.close(one_by_one)

    def _unmade(self, error: OSError) -> FileError:
        return FileError(
            f"cannot make a folder in '{self.place.parent}': {reason(error)}", hint="choose another output"
        )

    def _take_lock(self) -> None:
        import fcntl

        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The process that held the lock may have renamed the folder since we opened it.
            free = os.path.samestat(os.fstat(self._lock), os.stat(self.folder))
        except OSError:
            free = False
        if not free:
            self.__exit__(None, None, None)
            raise FileError(f"another process is making '{self.place}'", hint="wait for it to end")

    def _begin(self) -> None:
        there = about(self.folder)
        if there is not None and there.get("job") == self._about["job"]:
            self.continued = True
            return
        if not all(path.name.endswith(temporary.PARTIAL) for path in self.folder.iterdir()):
            if not self._force:
                difference = _difference(there and there.get("job"), self._job)
                raise FileError(
                    f"'{self.folder}' is unfinished and belongs to another job: {difference}",
                    hint="run the command that started it, or --force to start over",
                )
            for path in self.folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        try:
            with replacing(self.folder / ABOUT) as draft:
                draft.write_text(json.dumps(self._about, indent=2) + "\n", encoding="utf-8")
        except FileError as error:
            error.hint = "is the disk full?"
            raise


def about(place: Path) -> dict[str, Any] | None:
    """The content of netbuilder.json in this folder, or None if it is missing or unreadable."""
    return read_record(place / ABOUT) or None


def _difference(old: object, new: Mapping[str, object]) -> str:
    if not isinstance(old, dict):
        return "its netbuilder.json is missing"
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return ", ".join(
        f"{key} differs"
        if key == "list"
        else f"{key} {json.dumps(old.get(key))}, now {json.dumps(new.get(key))}"
        for key in keys
    )
