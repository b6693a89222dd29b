"""Images decoded in memory: OpenCV, where it is installed, gives the values that Pillow gives."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netbuilder.data import images

cv2 = pytest.importorskip("cv2")


def jpeg(mode: str = "RGB", turned: int = 0, size: tuple[int, int] = (37, 50), **options: Any) -> bytes:
    """A smooth picture with some noise, as a JPEG."""
    rng = np.random.default_rng(5)
    small = Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)).resize(
        size[::-1], Image.Resampling.BICUBIC
    )
    noisy = np.clip(np.asarray(small).astype(int) + rng.integers(-9, 10, (*size, 3)), 0, 255).astype(np.uint8)
    image, held = Image.fromarray(noisy).convert(mode), io.BytesIO()
    if turned:
        exif = image.getexif()
        exif[0x0112] = turned
        options["exif"] = exif
    image.save(held, "JPEG", **options)
    return held.getvalue()


FILES = {
    "4:2:0": jpeg(),
    "4:2:2": jpeg(subsampling="4:2:2", quality=70),
    "4:4:4": jpeg(subsampling="4:4:4"),
    "progressive": jpeg(progressive=True),
    "odd": jpeg(size=(1, 3)),
    "grey": jpeg("L"),
    **{f"turned {i}": jpeg(turned=i) for i in range(2, 9)},
}


@pytest.mark.parametrize("gray", [None, False, True])
@pytest.mark.parametrize("kind", FILES)
def test_both_libraries_give_equal_pixels(kind: str, gray: bool | None) -> None:
    content = FILES[kind]
    ours = images.decode_bytes(memoryview(content), gray=gray)
    np.testing.assert_array_equal(ours, images.decode(io.BytesIO(content), gray=gray))


def test_opencv_is_used_for_whole_color_files_only(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    monkeypatch.setattr(
        images,
        "_opencv",
        lambda: used.append(1) or cv2,  # type: ignore[func-returns-value]
    )
    images.decode_bytes(FILES["4:2:0"])
    assert used == [1]
    images.decode_bytes(FILES["grey"])
    images.decode_bytes(jpeg("CMYK"))
    images.decode_bytes(FILES["4:2:0"], gray=True)
    with pytest.raises(images.Unreadable):  # OpenCV would fill the rest with grey
        images.decode_bytes(FILES["4:2:0"][:-40])
    assert used == [1]


def test_without_opencv_pillow_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = images.decode_bytes(FILES["4:2:0"])
    monkeypatch.setattr(images, "_opencv", lambda: None)
    np.testing.assert_array_equal(images.decode_bytes(FILES["4:2:0"]), expected)


def test_a_jpeg_that_claims_many_pixels_is_refused() -> None:
    content = bytearray(jpeg())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = b"\xff\xdc\xff\xdc"  # height and width
    with pytest.raises(images.Unreadable, match="exceeds limit"):
        images.decode_bytes(bytes(content))
