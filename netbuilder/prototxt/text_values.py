"""Values of fields and the words that stand for them in text format, both ways."""

from __future__ import annotations

import math
import re
import struct
from functools import lru_cache
from typing import NoReturn

__all__ = [
    "ESCAPES",
    "INTEGERS",
    "bool_text",
    "bytes_text",
    "float32_text",
    "float64_text",
    "read_bool",
    "read_enum",
    "read_float",
    "read_integer",
    "read_nothing",
    "string_text",
    "unescape",
]

# The least and the greatest value, by protobuf's number of the type: int64, uint64, int32, uint32.
INTEGERS = {
    3: (-(2**63), 2**63 - 1),
    4: (0, 2**64 - 1),
    5: (-(2**31), 2**31 - 1),
    13: (0, 2**32 - 1),
}

# ---- words to values ---------------------------------------------------------------------------------------

_INTEGER = re.compile(r"(-?)(?:(0[xX][0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))")
_NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?([fF]?)")
_SPECIAL = {sign + word: float(sign + word) for sign in ("", "-") for word in ("inf", "infinity", "nan")}
_BOOLS = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}


def read_nothing(word: str) -> NoReturn:
    """Refuse a bare word as the value of a string or a message."""
    raise ValueError


def read_integer(word: str, low: int, high: int) -> int:
    m = _INTEGER.fullmatch(word)
    if m is None or len(word) > 4000 or (low == 0 and m[1]):
        raise ValueError
    value = int(m[1] + m[2], 16) if m[2] else int(m[1] + m[3], 8) if m[3] else int(word)
    if not low <= value <= high:
        raise ValueError
    return value


def read_float(word: str) -> float:
    m = _NUMBER.fullmatch(word)
    if m is None:
        if word.lower() in _SPECIAL:
            return _SPECIAL[word.lower()]
        raise ValueError
    return float(word[:-1] if m[1] else word)


def read_bool(word: str) -> bool:
    known = _BOOLS.get(word)
    return bool(read_integer(word, 0, 1)) if known is None else known


def read_enum(word: str, numbers: dict[str, int], labels: dict[int, str]) -> int:
    known = numbers.get(word)
    if known is not None:
        return known
    number = read_integer(word, *INTEGERS[5])
    if number not in labels:
        raise ValueError
    return number


ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|\\(?:U[0-9a-fA-F]{8}|[0-7]{1,3}|x[0-9a-fA-F]{1,2}|[^\n])")
_LETTERS = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "?": 63, "'": 39, '"': 34}


def unescape(e: re.Match[str]) -> bytes | None:
    """The bytes of an escape sequence, or None if there is no such sequence."""
    body = e[0][1:]
    if body in _LETTERS:
        return bytes((_LETTERS[body],))
    if body[0] in "01234567":
        return bytes((int(body, 8) & 255,))
    if len(body) == 1:
        return None
    if body[0] == "x":
        return bytes((int(body[1:], 16),))
    if body[0] == "U":
        code = int(body[1:], 16)
        return chr(code).encode("utf-8", "surrogatepass") if code <= 0x10FFFF else None
    units = b"".join(
        int(unit, 16).to_bytes(2, "little") for unit in body.split("\\u") for unit in [unit.lstrip("u")]
    )
    return units.decode("utf-16-le", "surrogatepass").encode("utf-8", "surrogatepass")


# ---- values to words ---------------------------------------------------------------------------------------


def bool_text(value: bool) -> str:
    return "true" if value else "false"


@lru_cache(maxsize=4096)
def _short_float32(value: float) -> str:
    """The shortest decimal that is read back as this float32."""
    if value.is_integer() and abs(value) < 1e7:
        return str(int(value))
    bits = struct.pack("<f", value)
    for digits in range(1, 9):
        text = f"{value:.{digits}g}"
        try:
            if struct.pack("<f", float(text)) == bits:
                return text
        except OverflowError:  # rounded up beyond the largest float32
            continue
    return f"{value:.9g}"


def float32_text(value: float) -> str:
    if value == 0 or not math.isfinite(value):  # -0 and 0 would share a place in the cache
        return float64_text(value)
    return _short_float32(value)


def float64_text(value: float) -> str:
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return repr(value).removesuffix(".0")


_SHORT_ESCAPES = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


def string_text(value: str) -> str:
    """A string in quotes; what cannot be printed is escaped, byte by byte."""
    if value.isprintable() and '"' not in value and "\\" not in value:
        return f'"{value}"'
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else _escape(c) for c in value) + '"'


def _escape(char: str) -> str:
    return _SHORT_ESCAPES.get(char) or "".join(f"\\{byte:03o}" for byte in char.encode())


def bytes_text(value: bytes) -> str:
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else _octal(b) for b in value) + '"'


def _octal(byte: int) -> str:
    return _SHORT_ESCAPES.get(chr(byte)) or f"\\{byte:03o}"
