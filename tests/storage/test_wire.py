"""The walker of protobuf's wire format, against protobuf's own writer."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from netbuilder.schema import NetParameter, message
from netbuilder.storage import wire


def test_it_finds_the_fields_that_protobuf_wrote() -> None:
    proto = NetParameter(name="a" * 200, input=["data"], input_dim=[1, 300, -1], force_backward=True)
    proto.layer.add(name="conv", type="Convolution").blobs.add(data=[0.5, 1.5])
    content = proto.SerializeToString()
    found = list(wire.fields(content))
    names = {f.number: f.name for f in proto.DESCRIPTOR.fields}
    assert [names[number] for number, *_ in found] == [
        "name", "input", "input_dim", "input_dim", "input_dim", "force_backward", "layer",
    ]  # fmt: skip
    starts = [0, *(end for *_, end in found)]
    assert starts[-1] == len(content)
    # Each stretch by itself is that field and nothing else.
    for (number, _, at, end), start in zip(found, starts, strict=False):
        alone = NetParameter.FromString(content[start:end])
        assert [f.name for f, _ in alone.ListFields()] == [names[number]]
        assert start < at < end
    number, kind, at, end = found[0]
    assert (number, kind, content[at:end]) == (1, wire.BYTES, b"a" * 200)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31 - 1, -1, -(2**31)])
def test_an_int32_is_read_as_protobuf_wrote_it(value: int) -> None:
    content = message("Datum")(label=value).SerializeToString()
    ((number, kind, at, end),) = wire.fields(content)
    assert (number, kind) == (5, wire.VARINT)
    assert wire.signed(wire.varint(content, at, end)[0], 32) == value


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384, 2**21])
def test_a_packed_length_is_the_one_that_protobuf_writes(size: int) -> None:
    assert (
        message("Datum")(data=bytes(size)).SerializeToString()[1:].startswith(wire.packed(size) + bytes(size))
    )


def test_doubles_and_floats_have_their_widths() -> None:
    content = message("BlobProto")(num=7).SerializeToString() + b"\x2d" + bytes(4) + b"\x41" + bytes(8)
    assert [(number, kind, end - at) for number, kind, at, end in wire.fields(content)] == [
        (1, wire.VARINT, 1),
        (5, wire.FIXED32, 4),
        (8, wire.FIXED64, 8),
    ]


def test_every_cut_inside_a_field_is_found() -> None:
    content = message("Datum")(channels=3, label=300, data=b"abc", float_data=[1.0]).SerializeToString()
    whole = {0, *(end for *_, end in wire.fields(content))}
    for size in range(len(content)):
        if size in whole:
            assert {end for *_, end in wire.fields(content[:size])} < whole
        else:
            with pytest.raises(wire.CutShort):
                list(wire.fields(content[:size]))


@pytest.mark.parametrize(
    ("content", "error", "at"),
    [
        (b"\x08\x01\x03", wire.NotAField, 2),  # a group, which no message of Caffe's has
        (b"\x08\x01\x0e", wire.NotAField, 2),  # wire type 6 does not exist
        (b"\x08\x01\x00\x01", wire.NotAField, 2),  # nor does field 0
        (b"\x08" + b"\xff" * 12, wire.EndlessNumber, 1),
        (b"\x08\x01\x08\xff", wire.CutShort, 3),
        (b"\x08\x01\x22\x05abc", wire.CutShort, 2),
    ],
)
def test_what_is_not_a_message_is_refused_with_its_place(
    content: bytes, error: type[wire.WireError], at: int
) -> None:
    with pytest.raises(error) as caught:
        list(wire.fields(content))
    assert type(caught.value) is error
    assert caught.value.at == at


def test_a_cut_field_says_what_it_needs() -> None:
    with pytest.raises(wire.CutShort) as caught:
        list(wire.fields(b"\x22\x05abc"))
    assert (caught.value.number, caught.value.needed, caught.value.found) == (4, 5, 3)


def test_its_source_runs_by_itself_in_the_python_of_caffe() -> None:
    tree = ast.parse(Path(wire.__file__).read_text(encoding="utf-8"), feature_version=(3, 7))
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert {name.partition(".")[0] for name in imported} <= set(sys.stdlib_module_names)
