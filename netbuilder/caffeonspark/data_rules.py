"""Rules 7 to 10: what a data layer says of its images, and how they are transformed.

CaffeOnSpark cuts transform_param out of the net and transforms outside of it, by Caffe's own transformer;
what comes out must have exactly the size of the layer. Source: CaffeOnSpark,
ImageDataFrame.scala and CaffeProcessor.scala; BVLC's data_transformer.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from netbuilder.caffeonspark.codes import found
from netbuilder.caffeonspark.job import Job
from netbuilder.caffeonspark.layer_rules import PREFIX, data_layers
from netbuilder.caffeonspark.sources import PHASES, NetFile
from netbuilder.findings import Finding

__all__ = ["check_data"]

_IMAGES = (5, 6, 7)  # ENCODED_IMAGE, RAW_IMAGE, ENCODED_IMAGE_WITH_DIM
_NAMED = re.compile(r"\bas\s+`?(\w+)`?\s*$", re.IGNORECASE)
_TEXT = re.compile(r"\bstring\b", re.IGNORECASE)

_Told = Iterator[tuple[str, str, str]]  # code, text, fix


def check_data(net: NetFile, job: Job) -> Iterator[Finding]:
    """What is wrong with the sizes, tops, transformations and columns of the two data layers."""
    taken = data_layers(net)
    for i in sorted(set(taken.values())):
        layer = net.message.layer[i]
        line, column = net.places[i]
        told: list[tuple[str, str, str]] = []
        if layer.type == "MemoryData":
            told += [*_memory(layer, job), *_frame(layer)]
        elif layer.type == "CoSData":
            told += _cos(layer, job)
        for code, text, fix in told:
            yield found(code, text, fix, file=str(net.path), line=line, column=column, layer=layer.name)
    if len(taken) == len(PHASES):
        tops = [list(net.message.layer[taken[phase]].top) for phase in PHASES]
        if tops[0] != tops[1] and all(tops):
            line, column = net.places[taken["TEST"]]
            yield found(
                "tops-differ",
                f"the tops are {' and '.join(tops[1])}, and {' and '.join(tops[0])} in TRAIN",
                "give the tops of both data layers the same names", file=str(net.path), line=line,
                column=column, layer=net.message.layer[taken["TEST"]].name,
            )  # fmt: skip
    yield from _mean_files(net)


# -- MemoryData ----------------------------------------------------------------------------------------------


def _memory(layer: Any, job: Job) -> _Told:
    p, t = layer.memory_data_param, layer.transform_param
    missing = [name for name in ("channels", "height", "width") if not getattr(p, name)]
    if missing:
        yield (
            "memory-size", f"{', '.join(missing)} of memory_data_param must be given and positive",
            "give the size of an image as the net gets it, after the crop",
        )  # fmt: skip
    if len(layer.top) != 2:
        yield (
            "memory-tops", f"MemoryData needs two tops, images and labels, got {len(layer.top)}",
            'write top: "data" top: "label"',
        )  # fmt: skip
    if not p.HasField("share_in_parallel") or p.share_in_parallel:
        yield (
            "share-in-parallel",
            "share_in_parallel is true unless it is given, which CaffeOnSpark's manual forbids",
            "write share_in_parallel: false in memory_data_param",
        )  # fmt: skip
    yield from _crop(t.crop_size, p.height, p.width, job)
    yield from _means(t, p.channels)


def _crop(crop: int, height: int, width: int, job: Job) -> _Told:
    if not (height and width):
        return  # told already
    if crop and (height, width) != (crop, crop):
        yield (
            "crop-size",
            f"crop_size {crop} makes images of {crop}x{crop}, and memory_data_param takes {height}x{width}",
            f"write height: {crop} width: {crop}, the size after the crop",
        )  # fmt: skip
    if crop and job.data.resize:
        yield _resize_and_crop()
    if not crop and not job.data.resize:
        yield (
            "image-size",
            f"without crop_size every image must be exactly {height}x{width}",
            f"crop them by crop_size, or resize them to {height}x{width} by -resize",
        )  # fmt: skip


def _resize_and_crop() -> tuple[str, str, str]:
    return (
        "resize-crop",
        "-resize makes the images as small as the crop, so that all crops are the whole image",
        "leave -resize out, and resize the images when the data set is made",
    )


def _means(transform: Any, channels: int) -> _Told:
    count = len(transform.mean_value)
    if count not in (0, 1, channels) and channels:
        yield (
            "mean-values", f"mean_value must be given once, or for each of {channels} channels, got {count}",
            "give them in the order B, G, R",
        )  # fmt: skip
    if count and transform.mean_file:
        yield (
            "mean-values", "mean_value and mean_file are both given, and Caffe aborts",
            "leave mean_file out: mean_value needs no file on every node",
        )  # fmt: skip


def _frame(layer: Any) -> _Told:
    """The columns that are selected for an ImageDataFrame; those of the frame itself cannot be seen here."""
    if layer.source_class != f"{PREFIX}ImageDataFrame":
        return
    p = layer.memory_data_param
    columns = {_column(text): text for text in p.dataframe_column_select}
    selected = bool(columns) and not any("*" in text and "(" not in text for text in columns.values())
    for name in ("data", "label"):
        if selected and name not in columns:
            yield (
                "data-column",
                f"dataframe_column_select drops every column that it does not name, {name} among them",
                f'add dataframe_column_select: "{name}"',
            )  # fmt: skip
    if not _TEXT.search(columns.get("label", "")):
        yield (
            "label-type",
            "ImageDataFrame takes labels as text: an integer column, as Binary2DataFrame writes it, fails in "
            "the executors (ClassCastException)",
            'select it as text, dataframe_column_select: "cast(label as string) as label"',
        )  # fmt: skip
    if "encoded" not in columns:
        lost = ", and image_encoded does not reach the executors" if p.image_encoded else ""
        yield (
            "encoded-column",
            f"ImageDataFrame without a column encoded fails in the executors (NullPointerException){lost}",
            'add it, dataframe_column_select: "true as encoded"',
        )  # fmt: skip


def _column(expression: str) -> str:
    """The name of the column that an SQL expression of a selection gives."""
    m = _NAMED.search(expression)
    return m[1] if m else expression.strip().strip("`")


# -- CoSData -------------------------------------------------------------------------------------------------


def _cos(layer: Any, job: Job) -> _Told:
    p = layer.cos_data_param
    tops, blocks = list(layer.top), [block.name for block in p.top]
    if tops != blocks:
        yield (
            "cos-tops",
            f"the top blocks of cos_data_param must be the tops {', '.join(tops) or 'none'} in this order, "
            f"got {', '.join(blocks) or 'none'}",
            "write a block top { name ... } for each top",
        )  # fmt: skip
    if p.shuffle:
        yield (
            "cos-shuffle", "nothing reads shuffle: the images of every epoch come in the order of the frame",
            "leave it out, and shuffle the rows when the frame is written",
        )  # fmt: skip
    for block in p.top:
        yield from _axes(block)
        yield from _transformation(block)
        yield from _out(block)
        if block.HasField("transform_param"):
            yield from _means(block.transform_param, block.channels)
            if block.transform_param.crop_size and job.data.resize:
                yield _resize_and_crop()


def _axes(block: Any) -> _Told:
    axes = block.sample_num_axes
    if axes > 3:
        yield "cos-axes", f"sample_num_axes of '{block.name}' must be at most 3, got {axes}", ""
    elif block.transpose and axes != 1:
        yield (
            "cos-axes", f"transpose of '{block.name}' needs sample_num_axes 1, got {axes}",
            "write sample_num_axes: 1, or leave transpose out",
        )  # fmt: skip


def _transformation(block: Any) -> _Told:
    if block.type in _IMAGES and not block.HasField("transform_param"):
        yield (
            "cos-transform",
            f"the images of '{block.name}' need a transformation, which makes numbers of them",
            "write a transform_param into its block; transform_param { mirror: false } changes nothing",
        )  # fmt: skip
    if block.type not in _IMAGES and block.HasField("transform_param"):
        yield (
            "cos-transform",
            f"'{block.name}' is no image, and has a transform_param: that is not implemented",
            "leave transform_param out of its block",
        )  # fmt: skip


def _out(block: Any) -> _Told:
    crop = block.transform_param.crop_size
    size = (crop, crop) if crop else (block.height, block.width)
    out = (block.out_height or block.height, block.out_width or block.width)
    if block.HasField("transform_param") and out != size:
        how = f"crop_size {crop}" if crop else "a transformation without crop_size"
        yield (
            "cos-size",
            f"{how} makes images of {size[0]}x{size[1]} of '{block.name}', and the net gets "
            f"{out[0]}x{out[1]}",
            f"write out_height: {size[0]} out_width: {size[1]}",
        )  # fmt: skip
    elif crop > min(block.height, block.width):
        yield (
            "cos-size",
            f"crop_size {crop} is larger than the images of '{block.name}', {block.height}x{block.width}", "",
        )  # fmt: skip


# -- both ----------------------------------------------------------------------------------------------------


def _mean_files(net: NetFile) -> Iterator[Finding]:
    for name, place in net.means:
        if "/" in name:
            yield found(
                "mean-file",
                f"mean_file '{name}' is not a bare file name: executors get their files without folders",
                "put it beside the net, and write its bare name; or take mean_value", file=str(net.path),
            )  # fmt: skip
        elif not place.is_file():
            yield found(
                "mean-file", f"there is no mean_file '{place}'",
                "put it beside the net: --files brings it to every executor; or take mean_value",
                file=str(net.path),
            )  # fmt: skip
