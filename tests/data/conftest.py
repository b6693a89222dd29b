"""Image files of many kinds, and Caffe's own tools to compare with."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netbuilder.cli.main import main
from netbuilder.engines.caffe import Caffe
from netbuilder.engines.caffe.install import environment
from netbuilder.storage.lmdb_file import open_database

Records = dict[bytes, bytes]


@pytest.fixture(scope="session")
def records() -> Callable[[Path], Records]:
    """A database as a dictionary."""
    return lambda place: {key: bytes(value) for key, value in open_database(place)}


@pytest.fixture
def data(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `netbuilder data ...`; gives the exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main(["data", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def _photo(rng: Any, h: int, w: int) -> Any:
    y, x = np.mgrid[0:h, 0:w]
    waves = [127 + 90 * np.sin(x / 7 + i) + 60 * np.cos(y / (5 + i)) for i in range(3)]
    return (np.stack(waves, -1) + rng.normal(0, 20, (h, w, 3))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images of all kinds that convert_imageset reads, and `list`, their list."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)

    def save(name: str, array: Any, mode: str = "", **how: Any) -> None:
        image = Image.fromarray(array)
        path = root / name
        path.parent.mkdir(exist_ok=True)
        (image.convert(mode) if mode else image).save(path, **how)

    with_alpha = np.dstack([_photo(rng, 32, 32), _photo(rng, 32, 32)[:, :, 0]])
    save("jpeg/420.jpg", _photo(rng, 37, 53), quality=90)
    save("jpeg/444.JPEG", _photo(rng, 48, 40), quality=80, subsampling=0)
    save("jpeg/gray.jpg", _photo(rng, 48, 40)[:, :, 0])
    save("jpeg/progressive.jpg", _photo(rng, 64, 64), progressive=True)
    save("jpeg/cmyk.jpg", _photo(rng, 30, 31), "CMYK")
    for orientation in (9, 8, 7, 6, 5, 4, 3, 2):
        turned = Image.Exif()
        turned[0x112] = orientation
        save(f"jpeg/turned {orientation}.jpg", _photo(rng, 30, 44), exif=turned)
    two = [Image.fromarray(_photo(rng, 30, 44)) for _ in range(2)]
    two[0].save(root / "jpeg/two.jpg", "MPO", save_all=True, append_images=two[1:], exif=turned)
    save("jpeg/odd.jpg", _photo(rng, 30, 44), exif=b"Exif\0\0II*\0\xff\xff\xff\xff?")
    save("jpeg/with a space.jpg", _photo(rng, 120, 200))
    save("png/rgb.png", _photo(rng, 32, 32))
    save("png/gray.png", _photo(rng, 32, 20)[:, :, 0])
    save("png/rgba.png", with_alpha)
    save("png/la.png", with_alpha, "LA")
    save("png/palette.png", _photo(rng, 33, 32), "P")
    save("png/1bit.png", _photo(rng, 33, 32), "1")
    save("png/16bit.png", _photo(rng, 33, 32)[:, :, 0].astype(np.uint16) * 257 + 77)
    save("png/halved.png", _photo(rng, 64, 64))
    save("png/tiny.png", _photo(rng, 5, 9))
    save("rest/x.bmp", _photo(rng, 33, 31))
    save("rest/x.ppm", _photo(rng, 33, 31))
    save("rest/x.pgm", _photo(rng, 33, 31)[:, :, 0])
    save("rest/x.tif", _photo(rng, 33, 31))
    files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.*"))
    (root / "list").write_text("".join(f"{name} {i % 3}\n" for i, name in enumerate(files)))
    return root


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of the classes ant, bee and cat, 24 images of 6x7 altogether."""
    root = tmp_path_factory.mktemp("small")
    rng = np.random.default_rng(1)
    for i, name in enumerate(("ant", "bee", "cat")):
        (root / name).mkdir()
        for k in range(6 + 2 * i):
            Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)).save(root / name / f"{k}.png")
    return root


class Tools:
    """Caffe's command line tools, which see the files of `folder` as `inside`."""

    def __init__(self, caffe: Caffe, folder: Path) -> None:
        self._install = caffe.install
        self.folder = folder
        self.inside = Path("/") / folder.relative_to(caffe.install.root) if caffe.install.root else folder

    def run(self, tool: str, *words: object) -> str:
        """What a tool prints; the test fails if it does."""
        root = self._install.root
        command = [*(("chroot", str(root)) if root else ()), tool, *map(str, words)]
        done = subprocess.run(
            command, env=environment(self._install), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout + done.stderr


@pytest.fixture
def tools(real_caffe: Caffe, tmp_path: Path) -> Iterator[Tools]:
    """The tools of real Caffe, with an empty folder."""
    root = real_caffe.install.root
    if root is None and shutil.which("convert_imageset") is None:
        pytest.skip("this Caffe has no convert_imageset")
    folder = Path(tempfile.mkdtemp(prefix="netbuilder-", dir=root / "tmp" if root else tmp_path))
    yield Tools(real_caffe, folder)
    shutil.rmtree(folder)
