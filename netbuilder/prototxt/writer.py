"""A `Net` as prototxt text: deterministic bytes, a comment at each block, a header with its origin."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from netbuilder._version import __version__
from netbuilder.net import Net
from netbuilder.prototxt.text_write import format_fields, format_layer
from netbuilder.storage.files import MARK, write_files

if TYPE_CHECKING:
    from netbuilder.schema import LayerParameter, NetParameter

__all__ = ["dumps", "text_of", "write"]


def dumps(net: Net, *, header: str = "", texts: dict[bytes, str] | None = None) -> str:
    """The text of a net. Each line of `header` (such as its configuration) becomes a comment at the top.

    `texts` caches the texts of layers between calls: the train, test and deploy nets of one configuration
    share most layers.
    """
    return text_of(net.proto, ((layer.proto, layer.comment) for layer in net.layers), header, texts)


def text_of(
    proto: NetParameter,
    layers: Iterable[tuple[LayerParameter, str]],
    header: str = "",
    texts: dict[bytes, str] | None = None,
) -> str:
    """The text of a NetParameter's own fields, and of layers with the comments above them."""
    parts = [f"{MARK} {__version__}"]
    parts += [f"# {line}".rstrip() for line in header.splitlines()]
    parts += format_fields(proto).split("\n")[:-1]  # a kept field may hold other line ends
    for layer, comment in layers:
        if comment:
            parts.append("")
            parts += [f"# {line}" for line in comment.splitlines()]
        parts.append(_layer_text(layer, texts))
    return "\n".join(parts) + "\n"


def _layer_text(proto: LayerParameter, texts: dict[bytes, str] | None) -> str:
    if texts is None:
        return format_layer(proto).rstrip("\n")
    key = proto.SerializeToString(deterministic=True)
    text = texts.get(key)
    if text is None:
        text = texts[key] = format_layer(proto).rstrip("\n")
    return text


def write(net: Net, path: str | Path, *, header: str = "", force: bool = False) -> None:
    """Write a net to a file atomically.

    Raises FileError if it cannot be written, or, without `force`, if it would replace a file that netbuilder
    did not write.
    """
    write_files({Path(path): dumps(net, header=header)}, force=force)
