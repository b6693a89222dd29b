"""Convert image files to a database, like convert_imageset, with several processes.

The records are in the order of the list, whatever the number of processes, so an unfinished database is
continued after its last key.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from netbuilder.data import datum, images
from netbuilder.data.list_lines import why_missing
from netbuilder.data.lists import Listing, Source
from netbuilder.data.writer import Writer
from netbuilder.errors import FileError
from netbuilder.storage.files import reason
from netbuilder.storage.lmdb_file import open_database

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Done", "Form", "Progress", "convert", "write_labels"]

Shape = tuple[int, int, int]  # (c, h, w)
Progress = Callable[[int, int], None]  # records done, records in all

_CHUNK = 16  # images per chunk
_AHEAD = 4  # most waiting chunks per process
_FILE_TYPES = {"jpg": "jpg", "jpeg": "jpg", "png": "png"}


@dataclass(frozen=True, kw_only=True)
class Form:
    """How images are transformed before they are stored; the defaults are those of convert_imageset."""

    resize_height: int = 0
    resize_width: int = 0
    gray: bool = False
    encoded: bool = False
    encode_type: str = ""
    pad: int = 0
    pad_value: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if bool(self.resize_height) != bool(self.resize_width):
            raise FileError("--resize-height and --resize-width go together: one of them is missing")
        if min(self.resize_height, self.resize_width, self.pad) < 0:
            raise FileError("sizes cannot be negative")
        if len(self.pad_value) not in (1, 3) or not all(0 <= v <= 255 for v in self.pad_value):
            raise FileError("--pad-value takes one number or three (B G R), from 0 to 255")
        if self.gray and len(self.pad_value) != 1:
            raise FileError("--pad-value takes one number with --gray")
        if self.encode_type and not self.encoded:
            raise FileError("--encode-type goes with --encoded")

    @property
    def unchanged(self) -> bool:
        """True if pixels are left as they are."""
        return not (self.resize_height or self.pad)

    def as_job(self) -> dict[str, object]:
        """The fields as JSON."""
        return {**asdict(self), "pad_value": list(self.pad_value)}


class Done(NamedTuple):
    """The result of a conversion; `skipped` names the images that this run could not read."""

    records: int
    skipped: list[str]
    sizes_differ: bool


class _Made(NamedTuple):
    place: int
    record: bytes
    shape: Shape | None
    trouble: str = ""


def convert(
    listing: Listing,
    form: Form,
    folder: Path,
    *,
    jobs: int = 1,
    skip_unreadable: bool = False,
    check_size: bool = False,
    progress: Progress = lambda done, total: None,
) -> Done:
    """Write the database of a listing into `folder`, or the rest of an unfinished one.

    An unreadable image raises FileError or, with `skip_unreadable`, is skipped together with its number, as
    by convert_imageset. With `check_size` all images must have the size of the first.
    """
    images.pillow()
    sources, skipped = listing.sources, []
    shape, differ = None, False
    with Writer(folder) as writer:
        last = writer.last_key()
        start = int(last[:8]) + 1 if last else 0
        first = writer.first_key()
        if first:
            shape = _make(listing.root, form, [(0, sources[int(first[:8])])])[0].shape
        progress(start, len(sources))
        for made in _make_all(listing, form, range(start, len(sources)), jobs):
            source = sources[made.place]
            if made.trouble:
                if not skip_unreadable:
                    raise _unreadable(listing, source, made.trouble)
                skipped.append(source.path)
            else:
                shape = shape or made.shape
                if made.shape != shape:
                    differ = True
                    if check_size:
                        raise _other_size(source, made.shape, shape)
                writer.put(_key(made.place, source), made.record)
            progress(made.place + 1, len(sources))
        writer.commit()
        if not writer.count():
            raise FileError(f"none of the {len(sources)} images in '{listing.root}' can be read")
        return Done(writer.count(), skipped, differ)


def write_labels(listing: Listing, images: Path, folder: Path) -> int:
    """Write the labels of a database's images as another one, with the same keys; returns their number.

    A net reads both in step, from a Data layer each.
    """
    with Writer(folder) as writer:
        last = writer.last_key()
        for key, _, _ in open_database(images).places():
            if last is None or key > last:
                writer.put(key, datum.pack_values(listing.sources[int(key[:8])].values))
        writer.commit()
        return writer.count()


def _key(index: int, source: Source) -> bytes:
    """Source: convert_imageset.cpp, key_str."""
    return f"{index:08d}_{source.path}".encode(errors="surrogateescape")


# ---- the work, here or in other processes ----------------------------------------------------------------


def _make_all(listing: Listing, form: Form, indices: range, jobs: int) -> Iterator[_Made]:
    """The records of these sources, in order."""
    chunks = [indices[i : i + _CHUNK] for i in range(0, len(indices), _CHUNK)]
    tasks: Iterator[list[tuple[int, Source]]] = ([(i, listing.sources[i]) for i in chunk] for chunk in chunks)
    jobs = min(jobs, len(chunks) // 4)
    if jobs <= 1:
        for task in tasks:
            yield from _make(listing.root, form, task)
        return
    from concurrent.futures.process import BrokenProcessPool

    from netbuilder.data.processes import process_pool

    with process_pool(jobs) as pool:
        waiting: deque[Future[list[_Made]]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(_make, listing.root, form, task))
                if len(waiting) > _AHEAD * jobs:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool:
            raise FileError(
                "a process that read images was killed, perhaps for its memory",
                hint="run the same command again with a smaller --jobs; it resumes where this one stopped",
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _make(root: Path, form: Form, task: Sequence[tuple[int, Source]]) -> list[_Made]:
    made = []
    for index, source in task:
        try:
            record, shape = _record(root, form, source)
            made.append(_Made(index, record, shape))
        except images.Unreadable as error:
            made.append(_Made(index, b"", None, str(error)))
        except (OSError, ValueError) as error:
            made.append(_Made(index, b"", None, reason(error)))
    return made


def _record(root: Path, form: Form, source: Source) -> tuple[bytes, Shape]:
    """Source: io.cpp, ReadImageToDatum."""
    path = f"{root}/{source.path}"
    with open(path, "rb") as file:
        image = images.decode(file, gray=form.gray)
        if form.encoded:
            suffix = source.path.rpartition(".")[2].lower() if "." in source.path else ""
            kind = _FILE_TYPES.get(form.encode_type or suffix, "")
            if form.unchanged and (not form.encode_type or kind == _FILE_TYPES.get(suffix)):
                file.seek(0)
                return datum.pack_encoded(file.read(), source.label), images.planes(image)[0]
            if not kind:
                raise images.Unreadable(
                    f"no encoder for the suffix '{suffix}': give --encode-type jpg or png"
                )
    if form.resize_height:
        image = images.resize(image, form.resize_height, form.resize_width)
    if form.pad:
        image = images.pad(image, form.pad, form.pad_value)
    shape, planes = images.planes(image)
    if form.encoded:
        return datum.pack_encoded(images.encode(image, kind), source.label), shape
    return datum.pack_planes(shape, planes, source.label), shape


# ---- errors ----------------------------------------------------------------------------------------------


def _where(source: Source) -> str:
    return f"line {source.line} of the list" if source.line else ""


def _shown(source: Source) -> str:
    return source.path.encode(errors="surrogateescape").decode(errors="replace")


def _unreadable(listing: Listing, source: Source, trouble: str) -> FileError:
    return FileError(
        f"cannot read the image '{_shown(source)}' in '{listing.root}': {trouble}",
        where=_where(source),
        hint=why_missing(os.path.join(listing.root, source.path))
        or "fix it and run the same command again, or skip such images with --skip-unreadable",
    )


def _other_size(source: Source, got: Shape | None, first: Shape | None) -> FileError:
    assert got
    assert first
    return FileError(
        f"the image '{_shown(source)}' is {_size(got)}, and the first is {_size(first)}",
        where=_where(source),
        hint="give --resize-height and --resize-width",
    )


def _size(shape: Shape) -> str:
    return "x".join(map(str, shape))
