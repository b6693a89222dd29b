"""Rules 7 to 10: the image size that a data layer states, and the transformations of its images.

CaffeOnSpark removes transform_param from the net and transforms the images itself, with Caffe's transformer;
the results must have exactly the size of the layer. Source: CaffeOnSpark,
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

_Results = Iterator[tuple[str, str, str]]  # code, text, fix


def check_data(net: NetFile, job: Job) -> Iterator[Finding]:
    """Check the sizes, tops, transformations and columns of the two data layers."""
    taken = data_layers(net)
    for i in sorted(set(taken.values())):
        layer = net.message.layer[i]
        line, column = net.places[i]
        results: list[tuple[str, str, str]] = []
        if layer.type == "MemoryData":
            results += [*_memory(layer, job), *_frame(layer)]
        elif layer.type == "CoSData":
            results += _cos(layer, job)
        for code, text, fix in results:
            yield found(code, text, fix, file=str(net.path), line=line, column=column, layer=layer.name)
    if len(taken) == len(PHASES):
        tops = [list(net.message.layer[taken[phase]].top) for phase in PHASES]
        if tops[0] != tops[1] and all(tops):
            line, column = net.places[taken["TEST"]]
            yield found(
                "tops-differ",
                f"the tops are {' and '.join(tops[1])} in TEST and {' and '.join(tops[0])} in TRAIN",
                "give both data layers the same tops", file=str(net.path), line=line,
                column=column, layer=net.message.layer[taken["TEST"]].name,
            )  # fmt: skip
    yield from _mean_files(net)


# -- MemoryData ----------------------------------------------------------------------------------------------


def _memory(layer: Any, job: Job) -> _Results:
    p, t = layer.memory_data_param, layer.transform_param
    missing = [name for name in ("channels", "height", "width") if not getattr(p, name)]
    if missing:
        yield (
            "memory-size", f"{', '.join(missing)} of memory_data_param must be given and positive",
            "state the size of an image as the net receives it, after the crop",
        )  # fmt: skip
    if len(layer.top) != 2:
        yield (
            "memory-tops", f"MemoryData needs two tops, images and labels, got {len(layer.top)}",
            'write top: "data" top: "label"',
        )  # fmt: skip
    if not p.HasField("share_in_parallel") or p.share_in_parallel:
        yield (
            "share-in-parallel",
            "share_in_parallel defaults to true, which CaffeOnSpark's manual forbids",
            "write share_in_parallel: false in memory_data_param",
        )  # fmt: skip
    yield from _crop(t.crop_size, p.height, p.width, job)
    yield from _means(t, p.channels)


def _crop(crop: int, height: int, width: int, job: Job) -> _Results:
    if not (height and width):
        return  # "memory-size" reports it
    if crop and (height, width) != (crop, crop):
        yield (
            "crop-size",
            f"crop_size {crop} gives images of {crop}x{crop}, but memory_data_param states {height}x{width}",
            f"write height: {crop} width: {crop}, the size after the crop",
        )  # fmt: skip
    if crop and job.data.resize:
        yield _resize_and_crop()
    if not crop and not job.data.resize:
        yield (
            "image-size",
            f"without crop_size every image must be exactly {height}x{width}",
            f"crop them with crop_size, or resize them to {height}x{width} with -resize",
        )  # fmt: skip


def _resize_and_crop() -> tuple[str, str, str]:
    return (
        "resize-crop",
        "-resize makes the images as small as the crop, so every crop is the whole image",
        "remove -resize, and resize the images when you make the data set",
    )


def _means(transform: Any, channels: int) -> _Results:
    count = len(transform.mean_value)
    if count not in (0, 1, channels) and channels:
        yield (
            "mean-values", f"mean_value must be given once or {channels} times (one per channel), got "
            f"{count}",
            "give them in the order B, G, R",
        )  # fmt: skip
    if count and transform.mean_file:
        yield (
            "mean-values", "mean_value and mean_file are both given: Caffe aborts",
            "remove mean_file: mean_value needs no file on the nodes",
        )  # fmt: skip


def _frame(layer: Any) -> _Results:
    """Check the columns selected from an ImageDataFrame; the frame's own columns are unknown here."""
    if layer.source_class != f"{PREFIX}ImageDataFrame":
        return
    p = layer.memory_data_param
    columns = {_column(text): text for text in p.dataframe_column_select}
    selected = bool(columns) and not any("*" in text and "(" not in text for text in columns.values())
    for name in ("data", "label"):
        if selected and name not in columns:
            yield (
                "data-column",
                f"dataframe_column_select drops every column that it does not name, including {name}",
                f'add dataframe_column_select: "{name}"',
            )  # fmt: skip
    if not _TEXT.search(columns.get("label", "")):
        yield (
            "label-type",
            "ImageDataFrame accepts labels only as text: an integer column, as Binary2DataFrame writes it, "
            "fails in the executors (ClassCastException)",
            'select it as text, dataframe_column_select: "cast(label as string) as label"',
        )  # fmt: skip
    if "encoded" not in columns:
        lost = "; image_encoded does not reach the executors" if p.image_encoded else ""
        yield (
            "encoded-column",
            f"ImageDataFrame without a column 'encoded' fails in the executors (NullPointerException){lost}",
            'add it, dataframe_column_select: "true as encoded"',
        )  # fmt: skip


def _column(expression: str) -> str:
    """The name of the column that an SQL expression selects."""
    m = _NAMED.search(expression)
    return m[1] if m else expression.strip().strip("`")


# -- CoSData -------------------------------------------------------------------------------------------------


def _cos(layer: Any, job: Job) -> _Results:
    p = layer.cos_data_param
    tops, blocks = list(layer.top), [block.name for block in p.top]
    if tops != blocks:
        yield (
            "cos-tops",
            f"the top blocks of cos_data_param must match the tops in order: {', '.join(tops) or 'none'}; "
            f"got {', '.join(blocks) or 'none'}",
            "write one block top { name ... } per top",
        )  # fmt: skip
    if p.shuffle:
        yield (
            "cos-shuffle", "shuffle has no effect: every epoch reads the frame in its own order",
            "remove it, and shuffle the rows when you write the frame",
        )  # fmt: skip
    for block in p.top:
        yield from _axes(block)
        yield from _transformation(block)
        yield from _out(block)
        if block.HasField("transform_param"):
            yield from _means(block.transform_param, block.channels)
            if block.transform_param.crop_size and job.data.resize:
                yield _resize_and_crop()


def _axes(block: Any) -> _Results:
    axes = block.sample_num_axes
    if axes > 3:
        yield "cos-axes", f"sample_num_axes of '{block.name}' must be at most 3, got {axes}", ""
    elif block.transpose and axes != 1:
        yield (
            "cos-axes", f"transpose of '{block.name}' needs sample_num_axes 1, got {axes}",
            "write sample_num_axes: 1, or remove transpose",
        )  # fmt: skip


def _transformation(block: Any) -> _Results:
    if block.type in _IMAGES and not block.HasField("transform_param"):
        yield (
            "cos-transform",
            f"the images of '{block.name}' need a transformation, which turns them into numbers",
            "add a transform_param to its block; transform_param { mirror: false } changes nothing",
        )  # fmt: skip
    if block.type not in _IMAGES and block.HasField("transform_param"):
        yield (
            "cos-transform",
            f"'{block.name}' is not an image, but has a transform_param: CaffeOnSpark does not implement "
            "that",
            "remove transform_param from its block",
        )  # fmt: skip


def _out(block: Any) -> _Results:
    crop = block.transform_param.crop_size
    size = (crop, crop) if crop else (block.height, block.width)
    out = (block.out_height or block.height, block.out_width or block.width)
    if block.HasField("transform_param") and out != size:
        how = f"crop_size {crop}" if crop else "the transformation without crop_size"
        yield (
            "cos-size",
            f"{how} gives images of {size[0]}x{size[1]} for '{block.name}', but the block states "
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
                f"mean_file '{name}' is not a bare file name: executors receive files without folders",
                "put it beside the net and write its bare name, or use mean_value", file=str(net.path),
            )  # fmt: skip
        elif not place.is_file():
            yield found(
                "mean-file", f"mean_file '{place}' does not exist",
                "put it beside the net, from where --files ships it to every executor, or use mean_value",
                file=str(net.path),
            )  # fmt: skip
