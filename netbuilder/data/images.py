"""Images as Caffe reads them: decoded by Pillow, with the arithmetic of Caffe's OpenCV in NumPy.

Arrays are uint8, (h, w, 3) with the channels in the order B, G, R, or (h, w) if `gray`. For JPEG, PNG, BMP
and PNM files the values equal those of Debian's Caffe 1.0 (OpenCV 4.5), bit for bit; tests/data checks it. A
truncated file is an error here; OpenCV fills the rest with grey.
"""

from __future__ import annotations

import io
from functools import cache
from typing import IO, TYPE_CHECKING, Any

from netbuilder.errors import FileError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]

__all__ = ["Unreadable", "decode", "decode_bytes", "encode", "pad", "planes", "pillow", "resize"]

_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF")
_PIXELS = 2**26  # of an image that OpenCV decodes; Pillow has a limit of its own
_EXIF_ORIENTATION = 0x0112
# Pillow's transpose methods for the orientations 2 to 8.
_TURNS = (
    "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90",
)  # fmt: skip
_JPEG_QUALITY = 95  # OpenCV's default


class Unreadable(Exception):
    """Why a file is not a usable image."""


def pillow() -> Any:
    """PIL.Image; raises FileError if Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError:
        raise FileError(
            "reading images needs Pillow, which is not installed", hint="pip install 'caffe-netbuilder[data]'"
        ) from None
    return Image


def decode(file: IO[bytes], *, gray: bool | None = False) -> Image:
    """The pixels of an image; with `gray` None, in grey if they are stored in grey. Raises Unreadable.

    Source: OpenCV's imread, which Caffe calls in ReadImageToCVMat (io.cpp): a JPEG is rotated by its EXIF
    data, transparency is dropped, and 16 bits become the upper 8. None stands for IMREAD_UNCHANGED, which
    DecodeDatumNative uses: nothing is rotated, and transparency is a channel, which is refused here.
    """
    import warnings

    import numpy as np

    library = pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata does not affect the pixels
            warnings.simplefilter("error", library.DecompressionBombWarning)
            with library.open(file, formats=_FORMATS) as image:
                if gray is None:
                    if image.mode not in ("L", "RGB"):
                        raise Unreadable(f"an encoded image of mode {image.mode} is not supported")
                    return np.ascontiguousarray(_pixels(image, image.mode == "L", image.format))
                # MPO is Pillow's name for a JPEG followed by a second image.
                form = "JPEG" if image.format == "MPO" else image.format
                if gray and form == "JPEG":
                    image.draft("L", None)  # the luminance as stored in the file
                upright = _upright(image) if form == "JPEG" else image
                return np.ascontiguousarray(_pixels(upright, gray, form))
    except Unreadable:
        raise
    except library.UnidentifiedImageError:
        raise Unreadable("it is not a JPEG, PNG, BMP, PNM or TIFF image") from None
    except Exception as error:  # Pillow raises errors of many kinds on damaged files
        raise Unreadable(f"it is damaged: {str(error) or type(error).__name__}") from None


def decode_bytes(content: bytes | memoryview, *, gray: bool | None = False) -> Image:
    """The same of a file in memory, in a third of the time for a JPEG in color if OpenCV is installed.

    Only a file that ends as it should is given to OpenCV, which fills a truncated one with grey.
    """
    if not gray and _is_color_jpeg(content) and (opencv := _opencv()):
        import numpy as np

        how = opencv.IMREAD_UNCHANGED if gray is None else opencv.IMREAD_COLOR
        found = opencv.imdecode(np.frombuffer(content, np.uint8), how)
        if found is not None and found.ndim == 3 and found.shape[2] == 3:
            pixels: Image = found
            return pixels
    with io.BytesIO(content) as file:
        return decode(file, gray=gray)


@cache
def _opencv() -> Any:
    """The package cv2, None if it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def _is_color_jpeg(content: bytes | memoryview) -> bool:
    """Whether a file is a whole JPEG of three components, by its markers. Source: ITU-T T.81, annex B.

    One of too many pixels is left to Pillow, which refuses it.
    """
    if bytes(content[:2]) != b"\xff\xd8" or bytes(content[-2:]) != b"\xff\xd9":
        return False
    at = 2
    while at + 10 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC):  # the frame
            height, width = (content[i] << 8 | content[i + 1] for i in (at + 5, at + 7))
            return content[at + 9] == 3 and height * width <= _PIXELS
        at += 2 + (content[at + 2] << 8 | content[at + 3])
    return False


def _upright(image: Any) -> Any:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # damaged metadata, which is common
        return image
    if orientation not in range(2, 9):
        return image
    return image.transpose(getattr(pillow(), _TURNS[orientation - 2]))


def _pixels(image: Any, gray: bool, form: str) -> Image:
    import numpy as np

    if image.mode.startswith("I"):  # 16 bits of grey
        only = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
    elif image.mode in ("1", "L", "LA"):
        only = np.asarray(image.convert("L"))
    else:
        if image.mode == "CMYK":
            bgr = _from_cmyk(image)
        else:
            packed = bytearray(image.convert("RGB").tobytes("raw", "BGR"))
            bgr = np.frombuffer(packed, np.uint8).reshape(image.height, image.width, 3)
        return _gray(bgr, form) if gray else bgr
    return only if gray else np.repeat(only[:, :, None], 3, axis=2)


def _from_cmyk(image: object) -> Image:
    """Source: OpenCV's icvCvt_CMYK2BGR_8u_C4C3R; Pillow has already inverted Adobe's values."""
    import numpy as np

    ink = 255 - np.asarray(image).astype(np.int32)
    k = ink[:, :, 3:]
    return (k - ((255 - ink[:, :, 2::-1]) * k >> 8)).astype(np.uint8)


def _gray(bgr: Image, form: str) -> Image:
    """Luminance: 0.299 R + 0.587 G + 0.114 B, rounded as libpng does for PNG, and as OpenCV for the rest."""
    import numpy as np

    b, g, r = (bgr[:, :, i].astype(np.int64) for i in range(3))
    if form == "PNG":
        grey = (9797 * r + 19234 * g + 3737 * b) >> 15
        return np.where((r == g) & (g == b), r, grey).astype(np.uint8)
    return ((4899 * r + 9617 * g + 1868 * b + (1 << 13)) >> 14).astype(np.uint8)


def resize(image: Image, height: int, width: int) -> Image:
    """The image in another size, with two taps in each direction: (h, w[, 3]) -> (height, width[, 3]).

    Like Caffe's tools, it does not smooth at any scale. Source: OpenCV's resize, INTER_LINEAR for 8 bits:
    weights of 11 bits, and the mean of 2x2 if both sides are halved.
    """
    import numpy as np

    h, w = image.shape[:2]
    if (h, w) == (height, width):
        return image
    if (h, w) == (2 * height, 2 * width):
        wide = image.astype(np.int32)
        total = wide[::2, ::2] + wide[::2, 1::2] + wide[1::2, ::2] + wide[1::2, 1::2]
        return np.asarray((total + 2) >> 2, np.uint8)
    left, share = _taps(w, width)
    # At the left and right border OpenCV uses the outermost pixel alone; at the top and bottom, twice.
    first, second = _weights(np.where((left < 0) | (left >= w - 1), 0, share))
    top, share = _taps(h, height)
    upper, lower = (weights[:, None] for weights in _weights(share))
    above, below = np.clip(top, 0, h - 1), np.clip(top + 1, 0, h - 1)
    used, places = np.unique(np.concatenate([above, below]), return_inverse=True)
    places = places.reshape(2, height)
    channels = image.shape[2] if image.ndim == 3 else 1
    source = image.reshape(h, w * channels)[used]

    def column(x: Any) -> Any:
        places_of_x = np.clip(x, 0, w - 1)[:, None] * channels + np.arange(channels)
        return source.take(places_of_x.ravel(), axis=1).astype(np.int32)

    rows = column(left) * np.repeat(first, channels) + column(left + 1) * np.repeat(second, channels)
    rows >>= 4
    resized = (rows[places[0]] * upper >> 16) + (rows[places[1]] * lower >> 16)
    resized += 2
    resized >>= 2
    return np.asarray(resized, np.uint8).reshape(height, width, *image.shape[2:])


def _taps(old: int, new: int) -> tuple[Any, Any]:
    """For each new pixel, the first of its two source pixels, and the share of the second."""
    import numpy as np

    scale = 1 / (new / old)
    place = ((np.arange(new) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    return first, place - first.astype(np.float32)


def _weights(share: Any) -> tuple[Any, Any]:
    """The weights of the first and the second pixel in 1/2048."""
    import numpy as np

    share = share.astype(np.float32)
    first = (np.float32(1) - share) * 2048
    return np.rint(first).astype(np.int32), np.rint(share * 2048).astype(np.int32)


def pad(image: Image, border: int, value: tuple[int, ...]) -> Image:
    """The image with a border of one color, given in the order of the channels: (h, w[, 3])."""
    import numpy as np

    h, w = image.shape[:2]
    padded = np.empty((h + 2 * border, w + 2 * border, *image.shape[2:]), np.uint8)
    padded[...] = value if image.ndim == 3 else value[0]
    padded[border : border + h, border : border + w] = image
    return padded


def planes(image: Image) -> tuple[tuple[int, int, int], bytes]:
    """The shape (c, h, w) and the bytes of an image's channels, one after the other."""
    if image.ndim == 2:
        return (1, image.shape[0], image.shape[1]), image.tobytes()
    h, w, c = image.shape
    return (c, h, w), image.transpose(2, 0, 1).tobytes()


def encode(image: Image, kind: str) -> bytes:
    """The image as a file, `kind` jpg or png: JPEG as OpenCV writes it, PNG with the same pixels."""
    held = io.BytesIO()
    made = pillow().fromarray(image if image.ndim == 2 else image[:, :, ::-1].copy())
    if kind == "png":
        made.save(held, "PNG")
    elif image.ndim == 2:
        made.save(held, "JPEG", quality=_JPEG_QUALITY)
    else:
        made.save(held, "JPEG", quality=_JPEG_QUALITY, subsampling="4:2:0")
    return held.getvalue()
