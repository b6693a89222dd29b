"""The means that a data layer subtracts: real Caffe opens the same data, and aborts where we refuse."""

# ruff: noqa: E501 (a case is a line)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from netbuilder import prototxt
from netbuilder.engines.caffe import Caffe, CaffeRefused
from netbuilder.errors import FieldError, NetBuilderError, ShapeError
from netbuilder.schema import message
from tests.prototxt.data_files import (
    SMALL,
    WINDOW_DATA,
    Make,
    data,
    database,
    datum,
    encoded,
    files,
    image_data,
    images,
    windows,
)

MEAN = 'mean_file: "mean.binaryproto"'
RECORDS, GRAY, LISTED = (
    database(datum(3, 10, 12)),
    database(datum(1, 10, 12)),
    images("a.png 0\n", **{"a.png": SMALL}),
)
MEMORY = (
    'layer { name: "d" type: "MemoryData" top: "data" top: "label" '
    "memory_data_param { batch_size: 4 channels: 1 height: 10 width: 12 } transform_param { MEANS } }"
)
VALUES = "mean_value: 1 mean_value: 2 mean_value: 3"


def mean(*shape: int, legacy: bool = True, numbers: int | None = None) -> Make:
    """Write mean.binaryproto."""

    def make(folder: Path) -> None:
        blob = message("BlobProto")(data=np.zeros(int(np.prod(shape)) if numbers is None else numbers))
        if legacy:
            blob.num, blob.channels, blob.height, blob.width = 1, *shape
        else:
            blob.shape.dim.extend(shape)
        (folder / "mean.binaryproto").write_bytes(blob.SerializeToString())

    return make


def text_file(folder: Path) -> None:
    (folder / "mean.binaryproto").write_text("no mean at all\n")


def nothing(folder: Path) -> None:
    """No file at all."""


# The data, the mean file, the net, and what we say ("" where Caffe takes it).
CASES: dict[str, tuple[Make, Make, str, str]] = {
    "records": (RECORDS, mean(3, 10, 12), data("", MEAN), ""),
    "records, cropped": (RECORDS, mean(3, 10, 12), data("", MEAN + " crop_size: 5"), ""),
    "a shape of four axes": (RECORDS, mean(1, 3, 10, 12, legacy=False), data("", MEAN), ""),
    "a shape of three axes": (
        RECORDS, mean(3, 10, 12, legacy=False), data("", MEAN), "mean.binaryproto' is 10x12x1, and the images are 3x",
    ),
    "the size of the crop": (
        RECORDS, mean(3, 5, 5), data("", MEAN + " crop_size: 5"), "is 3x5x5, and the images are 3x10x12",
    ),
    "other channels": (RECORDS, mean(1, 10, 12), data("", MEAN), "is 1x10x12, and the images are 3x10x12"),
    "turned": (RECORDS, mean(3, 12, 10), data("", MEAN), "is 3x12x10, and the images are 3x10x12"),
    "missing": (RECORDS, nothing, data("", MEAN), "mean_file 'mean.binaryproto' is not there"),
    "no name": (RECORDS, nothing, data("", 'mean_file: ""'), "mean_file '' is not there"),
    "text": (RECORDS, text_file, data("", MEAN), "is not a mean image"),
    "cut short": (RECORDS, mean(3, 10, 12, numbers=7), data("", MEAN), "is not a mean image"),
    "encoded": (database(encoded("RGB", (12, 10))), mean(3, 10, 12), data("", MEAN), ""),
    "encoded, made gray": (
        database(encoded("RGB", (12, 10))), mean(3, 10, 12), data("", MEAN + " force_gray: true"),
        "is 3x10x12, and the images are 1x10x12",
    ),
    "listed": (LISTED, mean(3, 10, 12), image_data("", MEAN), ""),
    "listed, gray": (
        LISTED, mean(3, 10, 12), image_data("is_color: false", MEAN), "is 3x10x12, and the images are 1x10x12",
    ),
    "listed, resized": (
        LISTED, mean(3, 10, 12), image_data("new_height: 8 new_width: 9", MEAN),
        "is 3x10x12, and the images are 3x8x9",
    ),
    "listed, resized to the mean": (LISTED, mean(3, 8, 9), image_data("new_height: 8 new_width: 9", MEAN), ""),
    "windows, missing": (
        windows(3), nothing, WINDOW_DATA.replace("crop_size", MEAN + " crop_size"), "is not there",
    ),
    "windows": (windows(3), mean(3, 9, 9), WINDOW_DATA.replace("crop_size", MEAN + " crop_size"), ""),
    "both": (RECORDS, mean(3, 10, 12), data("", MEAN + " mean_value: 1"), "mean_file and mean_value are both given"),
    "both, listed": (LISTED, mean(3, 10, 12), image_data("", MEAN + " mean_value: 1"), "are both given"),
    "both, in memory": (
        nothing, mean(1, 10, 12), MEMORY.replace("MEANS", MEAN + " mean_value: 1"), "are both given",
    ),
    "both, windows": (
        windows(3), mean(3, 9, 9), WINDOW_DATA.replace("crop_size", MEAN + " mean_value: 1 crop_size"), "are both given",
    ),
    "values": (RECORDS, nothing, data("", VALUES), ""),
    "one value": (RECORDS, nothing, data("", "mean_value: 1"), ""),
    "two values": (
        RECORDS, nothing, data("", "mean_value: 1 mean_value: 2"), "once for each of the 3 channels, got 2 times",
    ),
    "three values for gray": (GRAY, nothing, data("", VALUES), "once for each of the 1 channels, got 3 times"),
    "three values, made gray": (
        database(encoded("RGB", (12, 10))), nothing, data("", VALUES + " force_gray: true"),
        "once for each of the 1 channels, got 3 times",
    ),
    "three values for gray, listed": (
        LISTED, nothing, image_data("is_color: false", VALUES), "once for each of the 1 channels, got 3 times",
    ),
    "three values for gray, listed and resized": (
        LISTED, nothing, image_data("is_color: false new_height: 8 new_width: 8", VALUES),
        "once for each of the 1 channels, got 3 times",
    ),
    "four values, windows": (
        windows(3), nothing, WINDOW_DATA.replace("crop_size", VALUES + " mean_value: 4 crop_size"),
        "once for each of the 3 channels, got 4 times",
    ),
    "text, in memory": (nothing, text_file, MEMORY.replace("MEANS", MEAN), "is not a mean image"),
    "cut short, in memory": (
        nothing, mean(1, 10, 12, numbers=7), MEMORY.replace("MEANS", MEAN), "is not a mean image",
    ),
    "in memory, of another size, which only set_input_arrays would see": (
        nothing, mean(3, 5, 5), MEMORY.replace("MEANS", MEAN), "",
    ),
    "in memory, which transforms nothing here": (nothing, nothing, MEMORY.replace("MEANS", VALUES), ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_means_that_do_not_fit_the_data_are_refused_as_caffe_does(
    case: str, here: Path, real_caffe: Caffe
) -> None:
    make_data, make_mean, text, says = CASES[case]
    make_data(here)
    make_mean(here)
    # Its thread that reads ahead aborts, maybe after the net is built: a pass waits for it.
    if not says:
        prototxt.parse(text)
        if "MemoryData" not in text:  # which aborts without images
            real_caffe.run(text, phase="TEST", files=files(here))
        return
    with pytest.raises((FieldError, ShapeError)) as error:
        prototxt.parse(text)
    assert says in error.value.text
    assert error.value.where.endswith(":1")
    with pytest.raises(CaffeRefused):
        real_caffe.run(text, phase="TEST", files=files(here))


def test_values_are_counted_without_data_where_the_file_has_the_channels() -> None:
    with pytest.raises(ShapeError, match="once for each of the 1 channels, got 3 times"):
        prototxt.parse(image_data("is_color: false new_height: 8 new_width: 8", VALUES))
    prototxt.parse(data("", VALUES))


def test_without_the_data_a_missing_mean_is_not_reported(here: Path) -> None:
    prototxt.parse(data("", MEAN))
    prototxt.parse(MEMORY.replace("MEANS", MEAN))


def test_a_small_mean_of_windows_is_refused_as_caffe_would_read_past_it(here: Path) -> None:
    windows(3)(here)
    text = WINDOW_DATA.replace("crop_size", MEAN + " crop_size")
    for shape in ((3, 6, 9), (1, 9, 9)):
        mean(*shape)(here)
        with pytest.raises(NetBuilderError, match="and the windows are 3x7x7"):
            prototxt.parse(text)
