"""The sources of images for train and test nets: Caffe's data layers, and those of CaffeOnSpark.

Every source is a lego without bottoms that gives images (n, c, h, w) and labels (n,), so a net works with any
of them. `SOURCES` names them for the command line. They are not in `legos.data`, because most builds need
none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from legos.base import Lego
from legos.data import MemoryDataLego
from netbuilder.net import Blob, Net

__all__ = [
    "SOURCES",
    "DataFrameLego",
    "HDF5DataLego",
    "ImageListLego",
    "LMDBLego",
    "LevelDBLego",
    "SparkImageFrameLego",
    "SparkLMDBLego",
    "SparkSequenceFileLego",
    "Transform",
]

_SPARK = "com.yahoo.ml.caffe."


@dataclass(frozen=True, kw_only=True)
class Transform:
    """Caffe's transformation of each image: crop, mirror, then (x - mean) * scale.

    The crop is square, random in TRAIN and central in TEST. `mirror` flips an image with probability 1/2 in
    any phase. `mean_value` is one number, or one for each channel as they are stored (B, G, R); `mean_file`
    has the size of the stored images. Source: data_transformer.cpp.
    """

    crop_size: int = 0
    mirror: bool = False
    mean_value: tuple[float, ...] = ()
    mean_file: str = ""
    scale: float = 1.0

    def fields(self) -> dict[str, object] | None:
        """The fields of a TransformationParameter that differ from the defaults; None if there are none."""
        given = {
            "scale": self.scale if self.scale != 1 else None,
            "mirror": self.mirror or None,
            "crop_size": self.crop_size or None,
            "mean_file": self.mean_file or None,
            "mean_value": list(self.mean_value) or None,
        }
        return {name: value for name, value in given.items() if value is not None} or None


@dataclass(frozen=True, kw_only=True)
class _Source(Lego):
    """Images of `shape` (n, c, h, w), after the transformation, from `source`."""

    shape: tuple[int, ...]
    source: str

    def tops(self) -> list[str]:
        return [self.name, "label"]

    def shapes(self) -> list[tuple[int, ...]]:
        return [self.shape, self.shape[:1]]


@dataclass(frozen=True, kw_only=True)
class LMDBLego(_Source):
    """Data `X` over an LMDB of Datum records -> (n, c, h, w), (n,).

    With `labels`, a database with the same keys, Data `label` reads `label_count` numbers for each image, or
    for each place of a map of `label_size` -> (n, c, h, w), (n, label_count, h', w').
    """

    transform: Transform = Transform()
    labels: str = ""
    label_count: int = 1
    label_size: tuple[int, int] = (1, 1)
    backend: ClassVar[str] = "LMDB"

    def tops(self) -> list[str]:
        return [self.name] if self.labels else super().tops()

    def shapes(self) -> list[tuple[int, ...]]:
        return super().shapes()[: len(self.tops())]

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        images = net.add(
            "Data", name=self.name, tops=self.tops(), top_shapes=self.shapes(), source=self.source,
            batch_size=self.shape[0], backend=self.backend, transform_param=self.transform.fields(),
        )  # fmt: skip
        if self.labels:
            net.add(
                "Data", name="label", top_shapes=[(self.shape[0], self.label_count, *self.label_size)],
                source=self.labels, batch_size=self.shape[0], backend=self.backend,
            )  # fmt: skip
        return images


class LevelDBLego(LMDBLego):
    """The same over LevelDBs."""

    backend: ClassVar[str] = "LEVELDB"


@dataclass(frozen=True, kw_only=True)
class ImageListLego(_Source):
    """ImageData `X` over a text file of lines "path label" -> (n, c, h, w), (n,).

    Paths are relative to `root_folder`, which ends in "/". `resize` (h, w) comes before the crop. `shuffle`
    draws a new order at the start and at each epoch.
    """

    transform: Transform = Transform()
    resize: tuple[int, int] | None = None
    root_folder: str = ""
    shuffle: bool = False

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        height, width = self.resize or (None, None)
        return net.add(
            "ImageData", name=self.name, tops=self.tops(), top_shapes=self.shapes(), source=self.source,
            batch_size=self.shape[0], shuffle=self.shuffle or None, new_height=height, new_width=width,
            is_color=None if self.shape[1] == 3 else False, root_folder=self.root_folder or None,
            transform_param=self.transform.fields(),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class HDF5DataLego(_Source):
    """HDF5Data `X` over a list of HDF5 files with the datasets `X` and label -> (n, c, h, w), (n,).

    Caffe does not transform these values. `others` are further datasets between the two, with the shape of
    one image's; `label_shape` is that of its labels, () for one number.
    """

    shuffle: bool = False
    others: tuple[tuple[str, tuple[int, ...]], ...] = ()
    label_shape: tuple[int, ...] = ()

    def tops(self) -> list[str]:
        return [self.name, *(name for name, _ in self.others), "label"]

    def shapes(self) -> list[tuple[int, ...]]:
        batch = self.shape[:1]
        others = (shape for _, shape in self.others)
        return [self.shape, *((*batch, *shape) for shape in others), (*batch, *self.label_shape)]

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        return net.add(
            "HDF5Data", name=self.name, tops=self.tops(), top_shapes=self.shapes(), source=self.source,
            batch_size=self.shape[0], shuffle=self.shuffle or None,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SparkLMDBLego(_Source):
    """MemoryData `X` that CaffeOnSpark fills from an LMDB -> (n, c, h, w), (n,).

    The driver transforms the images; (h, w) is the size after the transformation.
    """

    transform: Transform = Transform()
    dialect: ClassVar[str] = "caffeonspark"
    source_class: ClassVar[str] = f"{_SPARK}LMDB"

    def more(self) -> dict[str, object]:
        """Further fields of MemoryDataParameter."""
        return {}

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        n, c, h, w = self.shape
        return net.add(
            "MemoryData", name=self.name, tops=self.tops(), source_class=self.source_class,
            source=self.source, batch_size=n, channels=c, height=h, width=w, share_in_parallel=False,
            transform_param=self.transform.fields(), memory_data_param=self.more(),
        )  # fmt: skip


class SparkSequenceFileLego(SparkLMDBLego):
    """MemoryData `X` that CaffeOnSpark fills from a SequenceFile of images -> (n, c, h, w), (n,)."""

    source_class: ClassVar[str] = f"{_SPARK}SeqImageDataSource"


@dataclass(frozen=True, kw_only=True)
class SparkImageFrameLego(SparkLMDBLego):
    """MemoryData `X` that CaffeOnSpark fills from a data frame of encoded images -> (n, c, h, w), (n,).

    The frame has the columns data (bytes) and label. CaffeOnSpark accepts the label only as text, and needs a
    column `encoded`; the default selection makes both. A selection drops all columns that it does not name.
    """

    dataframe_format: str = "parquet"
    dataframe_column_select: tuple[str, ...] = (
        "data",
        "cast(label as string) as label",
        "true as encoded",
    )
    source_class: ClassVar[str] = f"{_SPARK}ImageDataFrame"

    def more(self) -> dict[str, object]:
        """The format of the frame, and the selection of its columns."""
        return {
            "dataframe_format": self.dataframe_format,
            "dataframe_column_select": list(self.dataframe_column_select),
        }


@dataclass(frozen=True, kw_only=True)
class DataFrameLego(_Source):
    """CoSData `X` over a data frame of encoded images -> (n, c, h, w), (n,).

    The frame has the columns `X` (bytes) and label (int). `stored_size` (h, w) is the size of its images; by
    default it is the size of the top.
    """

    transform: Transform = Transform()
    stored_size: tuple[int, int] | None = None
    dataframe_format: str = "parquet"
    dialect: ClassVar[str] = "caffeonspark"

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        n, c, h, w = self.shape
        height, width = self.stored_size or (h, w)
        image = {
            "name": self.name, "type": "ENCODED_IMAGE", "channels": c, "height": height, "width": width,
            "out_channels": c, "out_height": h, "out_width": w,
            # CaffeOnSpark refuses images without a transformation, so one is always written.
            "transform_param": self.transform.fields() or {"mirror": False},
        }  # fmt: skip
        label = {"name": "label", "type": "INT", "channels": 1, "sample_num_axes": 0}
        return net.add(
            "CoSData", name=self.name, tops=self.tops(), source_class=f"{_SPARK}DataFrameSource",
            source=self.source, batch_size=n, dataframe_format=self.dataframe_format, top=[image, label],
        )  # fmt: skip


SOURCES: dict[str, type[Lego]] = {
    "lmdb": LMDBLego,
    "leveldb": LevelDBLego,
    "image": ImageListLego,
    "hdf5": HDF5DataLego,
    "memory": MemoryDataLego,
    "cos_lmdb": SparkLMDBLego,
    "cos_seq": SparkSequenceFileLego,
    "cos_image_df": SparkImageFrameLego,
    "cos_df": DataFrameLego,
}
