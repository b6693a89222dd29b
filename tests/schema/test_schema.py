"""Our schema is Caffe's: every name, number, type and default, and the bytes on the wire.

tests/ground_truth/schema-facts.json was dumped from the descriptors of a real Caffe; its `source` says which.
What forks add has numbers from FORK on, and messages of its own; the dialects say whose it is.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netbuilder import schema as proto
from netbuilder.schema import BlobProto, BlobShape, LayerParameter, NetParameter, message
from netbuilder.schema.compiler import compile_schema
from netbuilder.schema.dialects import ANY, DIALECTS, FORK

FACTS = json.loads((Path(__file__).parents[1] / "ground_truth" / "schema-facts.json").read_text())

TYPES = {
    1: "double",
    2: "float",
    3: "int64",
    5: "int32",
    8: "bool",
    9: "string",
    11: "message",
    12: "bytes",
    13: "uint32",
    14: "enum",
}


def label_of(field: Any) -> str:
    if hasattr(field, "is_repeated"):
        return "repeated" if field.is_repeated else "required" if field.is_required else "optional"
    return {1: "optional", 2: "required", 3: "repeated"}[field.label]


def is_packed(field: Any) -> bool:
    return bool(field.is_packed if hasattr(field, "is_packed") else field.GetOptions().packed)


def described(field: Any) -> dict[str, Any]:
    """A field in the words of the facts; its default apart."""
    out = {
        "name": field.name,
        "number": field.number,
        "type": TYPES[field.type],
        "label": label_of(field),
        "packed": is_packed(field),
        "has_explicit_default": field.has_default_value,
    }
    if field.message_type or field.enum_type:
        out["type_name"] = (field.message_type or field.enum_type).full_name
    return out


FILE = NetParameter.DESCRIPTOR.file


def of_forks() -> set[str]:
    """The fields and labels that forks add to BVLC's messages and enums, as dialects name them."""
    found = set()
    for name, fields in ((name, message(name).DESCRIPTOR) for name in FACTS["messages"]):
        short = name.removeprefix("caffe.")
        found |= {f"{short}.{f.name}" for f in fields.fields if f.number >= FORK}
        found |= {
            f"{short}.{enum.name}.{v.name}"
            for enum in fields.enum_types
            for v in enum.values
            if v.number >= FORK
        }
    return found


@pytest.mark.parametrize("name", sorted(FACTS["messages"]))
def test_a_message_has_the_fields_of_the_real_one(name: str) -> None:
    descriptor = message(name).DESCRIPTOR
    expected = {fact["name"]: fact for fact in FACTS["messages"][name]["fields"]}
    fields = [field for field in descriptor.fields if field.number < FORK]
    assert sorted(field.name for field in fields) == sorted(expected)
    for field in fields:
        fact = expected[field.name]
        ours = described(field)
        assert ours == {key: fact[key] for key in ours}
        if label_of(field) == "repeated" or field.message_type:
            continue
        if field.type == 14:
            assert field.default_value == fact["default_number"]
            assert field.enum_type.values_by_number[field.default_value].name == fact["default"]
        elif isinstance(fact["default"], float):
            assert math.isclose(field.default_value, fact["default"], rel_tol=1e-6)
        else:
            assert field.default_value in (fact["default"], str(fact["default"]).encode())


def test_every_message_and_enum_of_the_real_one_is_there_and_what_is_more_is_the_forks() -> None:
    messages = {m.full_name: m for m in FILE.message_types_by_name.values()}
    assert set(FACTS["messages"]) < set(messages)
    assert not any(m.nested_types for m in messages.values())
    enums = [*FILE.enum_types_by_name.values(), *(e for m in messages.values() for e in m.enum_types)]
    real = {e.full_name: {v.name: v.number for v in e.values if v.number < FORK} for e in enums}
    assert {name: real[name] for name in FACTS["enums"]} == FACTS["enums"]
    reached, queue = set(), [messages["caffe.NetParameter"], messages["caffe.SolverParameter"]]
    while queue:
        for field in queue.pop().fields:
            inner = field.message_type or field.enum_type
            if inner and inner.full_name not in reached:
                reached.add(inner.full_name)
                queue += [field.message_type] if field.message_type else []
    more = (set(messages) | set(real)) - set(FACTS["messages"]) - set(FACTS["enums"])
    assert more <= reached, "a fork's message that no field leads to"


def test_every_field_and_label_of_a_fork_belongs_to_a_dialect_and_the_other_way_round() -> None:
    assert of_forks() == ANY.adds == frozenset().union(*(d.adds for d in DIALECTS.values()))
    assert len(ANY.adds) > 100


def test_no_message_of_a_fork_requires_a_field_since_its_rule_says_what_is_missing() -> None:
    for name in set(FILE.message_types_by_name) - {n.removeprefix("caffe.") for n in FACTS["messages"]}:
        assert not any(label_of(field) == "required" for field in message(name).DESCRIPTOR.fields)


def test_a_binary_net_of_caffeonspark_is_read_with_its_own_fields() -> None:
    layer = LayerParameter.FromString(b"\x8a\xf1\x04\x01a")  # field 10001
    assert (layer.source_class, layer.ByteSize()) == ("a", 5)
    numbers = {f.name: f.number for f in message("MemoryDataParameter").DESCRIPTOR.fields if f.number >= FORK}
    assert numbers == {
        "share_in_parallel": 10000,
        "source": 10001,
        "dataframe_column_select": 10002,
        "image_encoded": 10003,
        "dataframe_format": 10004,
    }
    assert LayerParameter.DESCRIPTOR.fields_by_name["cos_data_param"].number == 10010


def test_a_message_is_found_by_its_short_and_its_full_name() -> None:
    assert message("LayerParameter") is message("caffe.LayerParameter") is LayerParameter
    assert LayerParameter.DESCRIPTOR.full_name == "caffe.LayerParameter"


@pytest.mark.parametrize("name", ["LayerParam", "caffe.Nothing", "Phase", ""])
def test_an_unknown_message_is_a_key_error(name: str) -> None:
    with pytest.raises(KeyError):
        message(name)


def test_every_public_name_is_a_message_class() -> None:
    for name in set(proto.__all__) - {"message"}:
        assert getattr(proto, name) is message(name)


def test_a_layer_has_the_bytes_that_its_field_numbers_prescribe() -> None:
    layer = LayerParameter(name="c", type="ReLU", bottom=["x"], top=["y"], phase="TEST")
    layer.relu_param.negative_slope = 0.5
    assert (
        layer.SerializeToString(deterministic=True)
        == (
            b"\x0a\x01c" + b"\x12\x04ReLU" + b"\x1a\x01x" + b"\x22\x01y"
            b"\x50\x01"  # phase, field 10
            b"\xda\x07\x05\x0d\x00\x00\x00\x3f"  # relu_param, field 123, holds 0.5 as field 1
        )
    )


def test_packed_and_unpacked_arrays_are_both_read() -> None:
    packed, unpacked = b"\x0a\x02\x01\x03", b"\x08\x01\x08\x03"
    assert list(BlobShape.FromString(packed).dim) == list(BlobShape.FromString(unpacked).dim) == [1, 3]
    assert BlobShape(dim=[1, 3]).SerializeToString() == packed
    floats = BlobProto.FromString(b"\x2d\x00\x00\x80\x3f\x2a\x04\x00\x00\x00\x40")
    assert list(floats.data) == [1.0, 2.0]


OTHER_CAFFE = """
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

def other():
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    net = file.message_type.add(name="NetParameter")
    net.field.add(name="forked", number=7, label=1, type=5)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))

def ours():
    from netbuilder.schema import NetParameter
    return NetParameter
"""


@pytest.mark.parametrize("order", ["Fork, Net = other(), ours()", "Net, Fork = ours(), other()"])
def test_another_caffe_schema_can_be_in_the_same_process(order: str) -> None:
    script = f"""{OTHER_CAFFE}
{order}
assert Fork(forked=3).SerializeToString() == b"\\x38\\x03"
assert Net.FromString(b"\\x38\\x01").debug_info and not hasattr(Net(), "forked")
"""
    subprocess.run([sys.executable, "-c", script], check=True)


SAME_FIELDS = """
import sys
from netbuilder.schema import LayerParameter, message
layer = LayerParameter(name="conv", type="Convolution", bottom=["data"])
layer.convolution_param.weight_filler.type = "msra"
layer.param.add(lr_mult=2)
copy = message("LayerParameter").FromString(layer.SerializeToString())
assert copy == layer and type(copy.convolution_param) is type(layer.convolution_param)
print(layer.SerializeToString().hex(), "google.protobuf.internal.python_message" in sys.modules)
"""


def test_messages_are_the_same_with_the_c_core_of_protobuf_and_without() -> None:
    told = []
    for kind in ("upb", "python"):
        env = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": kind}
        done = subprocess.run([sys.executable, "-c", SAME_FIELDS], env=env, stdout=subprocess.PIPE, text=True)
        assert done.returncode == 0
        told.append(done.stdout.split())
    assert told[0][0] == told[1][0]
    assert [loaded for _, loaded in told] == ["False", "True"], "the core is enough"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("package p;\nmessage A {\n  optional sint32 x = 1 [lazy = true];\n}\n", "not understood"),
        ("package p;\nmessage A {\n", "A is not closed"),
        ("package p;\nmessage A {\n  message B {\n", "B is nested"),
        ("package p;\noptional int32 x = 1;\n", "x stands outside of a message"),
        ("package p;\nX = 1;\n", "X stands outside of an enum"),
        ("}\n", "a brace closes nothing"),
    ],
)
def test_a_schema_beyond_what_ours_needs_is_an_internal_error(text: str, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        compile_schema(text, "test.proto")


def test_what_is_compiled_of_the_schema_is_up_to_date() -> None:
    tool = Path(__file__).parents[2] / "tools" / "compile_schema.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("up to date\n", ""), "run tools/compile_schema.py"
