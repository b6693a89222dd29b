"""`Lego`: a named, reusable piece of network. It holds its configuration; `attach` adds the layers.

A branch maps a blob to a blob; a merge maps several blobs to one; all others are composed of
these two. No lego checks the type of another. Legos import only netbuilder's core.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from netbuilder.errors import ConfigError
from netbuilder.net import Blob, Net
from netbuilder.records import Record

__all__ = ["Lego", "Pair", "SequenceLego", "as_pair", "window_fields"]

Pair = int | tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Lego(Record):
    """The base of all legos; subclasses add fields and override `build`.

    >>> from netbuilder import Net
    >>> from legos import ConvBNReLULego
    >>> net = Net("tiny")
    >>> data = net.add("Input", name="data", shape={"dim": [1, 3, 8, 8]})
    >>> ConvBNReLULego(name="1", num_output=4, kernel=3).attach(net, data)
    Blob('conv_1' (1,4,8,8) of 'relu_1')
    """

    name: str

    def attach(self, net: Net, bottom: Blob | Sequence[Blob]) -> Blob:
        """Add this lego's layers to the net, on top of one blob or several; return its top.

        A lego with several tops, such as a source of images and labels, returns them as a tuple; use
        `attach_many` for it in typed code.
        """
        bottoms = tuple(bottom) if isinstance(bottom, Iterable) else (bottom,)
        return cast("Blob", net.attach(self, bottoms))

    def attach_many(self, net: Net, bottom: Blob | Sequence[Blob] = ()) -> tuple[Blob, ...]:
        """Like `attach`, for any number of tops: always returns a tuple."""
        tops: Blob | tuple[Blob, ...] = self.attach(net, bottom)
        return tops if isinstance(tops, tuple) else (tops,)

    def build(self, net: Net, *bottoms: Blob) -> Blob | tuple[Blob, ...]:
        """Add the layers and return the top, or the tops; overridden by every lego."""
        raise NotImplementedError

    def _refuse(self, text: str, key: str, hint: str = "") -> ConfigError:
        return ConfigError(f"{type(self).__name__} '{self.name}': {text}", key=key, hint=hint)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SequenceLego(Lego):
    """Legos in sequence, each on the top of the previous one; itself a branch."""

    parts: tuple[Lego, ...]

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        (x,) = bottoms
        for part in self.parts:
            x = part.attach(net, x)
        return x


def as_pair(value: Pair) -> tuple[int, int]:
    """A kernel, stride or pad as (h, w); a single number means both."""
    return (value, value) if isinstance(value, int) else value


def window_fields(kernel: Pair, stride: Pair, pad: Pair) -> dict[str, int]:
    """The fields of a convolution's or pooling's window.

    Uses the short forms if all three are square, else complete _h/_w pairs: OpenCV and some chip compilers
    ignore a single _h or _w.
    """
    pairs = {"kernel": as_pair(kernel), "stride": as_pair(stride), "pad": as_pair(pad)}
    if all(h == w for h, w in pairs.values()):
        short = {"kernel": "kernel_size", "stride": "stride", "pad": "pad"}
        return {short[name]: h for name, (h, _) in pairs.items()}
    return {f"{name}_{axis}": n for name, pair in pairs.items() for axis, n in zip("hw", pair, strict=True)}
