"""A drawing as bytes of a format, and the file that it goes to."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from netbuilder.draw.page import Drawn, page
from netbuilder.draw.picture import picture
from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.net import Net
from netbuilder.storage.files import MARK, write_files

__all__ = ["FORMATS", "draw", "drawing", "format_of", "write"]

FORMATS = ("html", "svg", "png", "pdf")
_ENDS = 2**11  # bytes at both ends of a file among which the mark stands


def draw(net: Net, path: str | Path = "", *, depth: int | None = None, force: bool = False) -> Path:
    """Draw a net into a file, .html, .svg, .png or .pdf, and return its path: by default a page like the net.

    `depth` is how many levels of blocks a picture shows open, by default as many as can be read at a glance.
    Raises ConfigError for another suffix or without Graphviz, FileError if the file is not netbuilder's.
    """
    file = Path(path or f"{Path(net.name).name or 'net'}.html")
    kind = format_of(file)
    write(file, drawing([Drawn(net.name, {net.phase: net})], kind, depth=depth), force=force)
    return file


def format_of(path: Path) -> str:
    """The format that a file's suffix means."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        near = did_you_mean(kind, FORMATS)
        raise ConfigError(
            f"a net is drawn as {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, by the suffix of the file; "
            f"got '{path}'",
            hint=near or f"name it {path / 'net.html' if path.is_dir() else path.with_suffix('.html')}",
        )
    return kind


def drawing(drawn: Sequence[Drawn], kind: str, *, depth: int | None = None) -> bytes:
    """One net, or two side by side as a page, in one of `FORMATS`; a picture shows the first phase."""
    if kind == "html":
        return page(drawn).encode()
    if len(drawn) > 1:
        raise ConfigError("two nets side by side are a page: give -o FILE.html")
    net = next(iter(drawn[0].nets.values()))
    return _marked(picture(net, kind, depth), kind)


def write(path: Path, content: bytes, *, force: bool = False) -> None:
    """Write a drawing; a drawing of ours that is in the way is replaced."""
    write_files({path: content}, force=force or _is_ours(path))


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(_ENDS)
            file.seek(max(0, path.stat().st_size - _ENDS))
            return MARK.encode() in start + b"\n" + file.read()
    except OSError:
        return False


def _marked(content: bytes, kind: str) -> bytes:
    """The picture with a comment that says who wrote it."""
    mark = MARK.encode()
    if kind == "svg":
        return content.replace(b"<svg", b"<!-- " + mark + b" -->\n<svg", 1)
    if kind == "pdf":
        return content + b"%" + mark + b"\n"
    text = b"tEXtSoftware\0" + mark
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return content[:33] + chunk + content[33:]  # behind the signature and the header
