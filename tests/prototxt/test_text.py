"""Text format: what is read, what is refused and in which words, and what is written.

The judge of both directions is protobuf's own text_format, where it agrees with the C++ reader inside Caffe.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from netbuilder.errors import PrototxtError
from netbuilder.prototxt.text import format_fields, format_layer, parse
from netbuilder.schema import BlobProto, LayerParameter, NetParameter, SolverParameter, message

Datum = message("Datum")


def wire(m: Any) -> bytes:
    return bytes(m.SerializeToString(deterministic=True))


def refusal(text: str, message_type: Any = NetParameter) -> PrototxtError:
    with pytest.raises(PrototxtError) as caught:
        parse(text, message_type)
    return caught.value


# ---- accepted spellings ------------------------------------------------------------------------------------

SPELLINGS = [
    ("", ""),
    ("  \t\r\n # nothing but a comment", ""),
    ("name:'a'", 'name: "a"'),
    ('name: "a" # why\n # and so on\n"b"\t\'c\'', 'name: "abc"'),
    ('name\n#x\n:\n#y\n"a"#z', 'name: "a"'),
    ('name: "a",force_backward:true;', 'name: "a" force_backward: true'),
    ('name: "a"force_backward: true', 'name: "a" force_backward: true'),
    ('name: "# } {"', 'name: "# } {"'),
    ('name: "it\'s"', 'name: "it\'s"'),
    ("layer {}", "layer { }"),
    ("layer: {}", "layer { }"),
    ("layer <>", "layer { }"),
    ("layer: < name: 'x' >;", 'layer { name: "x" }'),
    ("layer { relu_param < > }, layer {};", "layer { relu_param { } } layer { }"),
    ("layer: [{name: 'a'}, <name: 'b'>] layer {}", 'layer { name: "a" } layer { name: "b" } layer { }'),
    ("layer [{ }]", "layer { }"),
    ("layer: []", ""),
    ("input_dim: [1, 2, -3] input_dim: 4", "input_dim: 1 input_dim: 2 input_dim: -3 input_dim: 4"),
    ("input_dim: [ ]", ""),
    ("input: ['a' 'b', \"c\"]", 'input: "ab" input: "c"'),
    ("input_dim: 0x1F input_dim: -0XA input_dim: 017 input_dim: 0", "input_dim: [31, -10, 15, 0]"),
    ("input_dim: - # minus\n 5", "input_dim: -5"),
    ("input_dim: -2147483648 input_dim: 2147483647", "input_dim: [-2147483648, 2147483647]"),
    ("state { phase: 0 }", "state { phase: TRAIN }"),
    ("state { phase: 0x1 }", "state { phase: TEST }"),
    ("name: 'a'\r\nforce_backward: true\r\n", 'name: "a" force_backward: true'),
    ("input: 'b' name: 'a' input: 'c'", 'name: "a" input: ["b", "c"]'),
]


@pytest.mark.parametrize(("text", "plain"), SPELLINGS)
def test_a_spelling_is_read_like_the_plain_one(text: str, plain: str) -> None:
    assert parse(text, NetParameter).message == text_format.Parse(plain, NetParameter())


@pytest.mark.parametrize("word", ["true", "True", "t", "1", "01", "0x1"])
def test_words_for_true(word: str) -> None:
    assert parse(f"force_backward: {word}", NetParameter).message.force_backward is True


@pytest.mark.parametrize("word", ["false", "False", "f", "0", "00"])
def test_words_for_false(word: str) -> None:
    net = parse(f"force_backward: {word}", NetParameter).message
    assert net.HasField("force_backward")
    assert net.force_backward is False


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1", 1.0),
        ("-2", -2.0),
        ("1.5f", 1.5),
        ("2F", 2.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("- .5", -0.5),
        ("1e3", 1000.0),
        ("1E+3", 1000.0),
        ("25e-2f", 0.25),
        ("0.5", 0.5),
        ("1e99", math.inf),
        ("inf", math.inf),
        ("-Infinity", -math.inf),
        ("340282350000000000000000000000000000000", 3.4028234663852886e38),
    ],
)
def test_spellings_of_floats(word: str, value: float) -> None:
    assert parse(f"base_lr: {word}", SolverParameter).message.base_lr == value


@pytest.mark.parametrize("word", ["nan", "-nan", "NaN"])
def test_nan_is_read(word: str) -> None:
    assert math.isnan(parse(f"base_lr: {word}", SolverParameter).message.base_lr)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\a\b\f\n\r\t\v\\\?\'\""', b"\a\b\f\n\r\t\v\\?'\""),
        (r'"\0\1018\x41\x4g"', b"\0A8A\x04g"),
        (r'"\377" "\xff"', b"\xff\xff"),
        (r'"\u00e9\U0001F600\ud83d\ude00"', "\u00e9\U0001f600\U0001f600".encode()),
        ("'\u00e9'", "\u00e9".encode()),
    ],
)
def test_escapes_in_strings(text: str, value: bytes) -> None:
    assert parse(f"data: {text}", Datum).message.data == value


def test_escaped_bytes_of_one_character_make_up_text() -> None:
    assert parse(r'name: "\303" "\251"', NetParameter).message.name == "\u00e9"


def test_locations_of_top_level_messages_are_recorded() -> None:
    text = 'name: "n"\n# layer {}\nlayer {}\n  layer { name: "layer {" }\n\tinput_shape {} layer: [{},\n {}]'
    found = parse(text, NetParameter).locations
    assert found == {
        "layer": [(3, 1), (4, 3), (5, 25), (6, 2)],
        "layers": [],
        "input_shape": [(5, 2)],
    }


# ---- refused, and how --------------------------------------------------------------------------------------

REFUSED = [
    (
        "layer {\n  convolution_param { kernal_size: 3 }\n}",
        "ConvolutionParameter has no field 'kernal_size'",
        (2, 23),
        "did you mean 'kernel_size'?",
    ),
    ("layer {\n  qqqq: 3\n}", "LayerParameter has no field 'qqqq'", (2, 3), ""),
    (
        "layer {\n  convolution_param { num_output: 64.0 }\n}",
        "'num_output' takes an integer from 0 to 4294967295, found 64.0",
        (2, 35),
        "",
    ),
    (
        'layer { convolution_param { num_output: "64" } }',
        "'num_output' takes an integer from 0 to 4294967295, found \"64\"",
        (1, 41),
        "write it without quotes: num_output: 64",
    ),
    (
        'layer { pooling_param { pool: "MAX" } }',
        "'pool' takes one of MAX, AVE, STOCHASTIC, found \"MAX\"",
        (1, 31),
        "write it without quotes: pool: MAX",
    ),
    (
        "state { phase: test }",
        "'phase' takes one of TRAIN, TEST, found test",
        (1, 16),
        "did you mean 'TEST'?",
    ),
    ("state { phase: 2 }", "'phase' takes one of TRAIN, TEST, found 2", (1, 16), ""),
    (
        "layer {\n  type: ReLU\n}",
        "'type' takes a string in quotes, found ReLU",
        (2, 9),
        'put it in quotes: type: "ReLU"',
    ),
    ("force_backward: yes", "'force_backward' takes true or false, found yes", (1, 17), ""),
    (
        'layer {\n  name: "a"\n  name: "b"\n}',
        "'name' is given a second time in 'layer' of line 1, which takes it once",
        (3, 3),
        "",
    ),
    ("state {} state {}", "'state' is given a second time in NetParameter, which takes it once", (1, 10), ""),
    (
        'layer {\n  name: "conv1\n  type: "ReLU"\n}',
        "the string that begins here has no closing quote on its line",
        (2, 9),
        "",
    ),
    ("name: 'a\\'", "the string that begins here has no closing quote on its line", (1, 7), ""),
    (
        '\nlayer {\n  relu_param {\n  }\n  name: "a"',
        "'layer' is opened here and never closed: expected '}' before the end of the file",
        (2, 1),
        "",
    ),
    (
        'layer {\n  name: "a"\nlayer {\n  name: "b"\n}\n',
        "LayerParameter has no field 'layer'",
        (3, 1),
        "is a '}' missing? 'layer' of line 1 is still open",
    ),
    ("layer { } }", "'}' closes nothing: every message is closed already", (1, 11), ""),
    ("layer <\n}", "expected '>', which closes 'layer' of line 1, found '}'", (2, 1), ""),
    ('name "a"', "expected ':' after 'name', found \"a\"", (1, 6), ""),
    ("layer: 3", "'layer' takes a message in braces, found 3", (1, 8), ""),
    ("layer { name: }", "'name' takes a string in quotes, found '}'", (1, 15), ""),
    ("name:", "'name' takes a string in quotes, found the end of the file", (1, 6), ""),
    ("name: { }", "'name' takes a string in quotes, found '{'", (1, 7), ""),
    ("force_backward { }", "'force_backward' takes true or false, found '{'", (1, 16), ""),
    ("= 3", "expected a field name, found '='", (1, 1), ""),
    ("layer { = }", "expected a field name or '}', found '='", (1, 9), ""),
    ("name: 'a',, input: 'b'", "expected a field name, found ','", (1, 11), ""),
    ("[some.extension]: 3", "expected a field name, found '['", (1, 1), ""),
    ("input_dim: [1 2]", "expected ',' or ']' in the list of 'input_dim', found 2", (1, 15), ""),
    (
        "input_dim: [1, ]",
        "'input_dim' takes an integer from -2147483648 to 2147483647, found ']'",
        (1, 16),
        "",
    ),
    ("layer: [{} {}]", "expected ',' or ']' in the list of 'layer', found '{'", (1, 12), ""),
    ("name: ['a']", "'name' takes a string in quotes, found '['", (1, 7), ""),
    (r'name: "a\qb"', r"'\q' is not an escape sequence", (1, 9), r"a backslash itself is written \\"),
    (r'name: "\377"', "'name' takes text, and the bytes given here are not UTF-8", (1, 7), ""),
    ("layer {\n clip_param { }\n}", "ClipParameter needs 'min' and 'max'", (2, 2), ""),
    (
        "name: 'a'\nna\0me: 'b'",
        "a NUL byte cannot stand in a prototxt",
        (2, 3),
        "is this a binary file, or UTF-16?",
    ),
    (
        "\ufeffname: 'a'",
        "the file begins with a byte order mark, which Caffe refuses",
        (1, 1),
        "save it without the mark",
    ),
    ("name: 'a\udc80'", "this character cannot be written as UTF-8", (1, 9), ""),
    ("name: 'a' \u00e9", "expected a field name, found \u00e9", (1, 11), ""),
]


@pytest.mark.parametrize(("text", "told", "place", "hint"), REFUSED)
def test_a_mistake_is_reported_in_these_words(
    text: str, told: str, place: tuple[int, int], hint: str
) -> None:
    error = refusal(text)
    assert (error.text, (error.line, error.column), error.hint) == (told, place, hint)


def test_an_error_prints_with_its_file() -> None:
    with pytest.raises(PrototxtError) as caught:
        parse("layer {\n  nam: 3\n}", NetParameter, path="nets/a.prototxt")
    assert str(caught.value) == (
        "LayerParameter has no field 'nam'\n  where:   nets/a.prototxt:2:3\n  hint:    did you mean 'name'?"
    )


@pytest.mark.parametrize("text", ["name: 'a'\r\n\r\n  nam: 3", "name: 'a'\n\n  nam: 3"])
def test_line_ends_of_both_kinds_count_alike(text: str) -> None:
    error = refusal(text)
    assert (error.line, error.column) == (3, 3)


@pytest.mark.parametrize(
    "word", ["08", "0x", "0xG", "1.0", "1e2", "3a", "2147483648", "+1", "--1", "1" * 5000]
)
def test_words_that_are_not_an_int32(word: str) -> None:
    assert refusal(f"input_dim: {word}").column == 12


@pytest.mark.parametrize("word", ["-1", "-0", "4294967296", "- 1"])
def test_words_that_are_not_a_uint32(word: str) -> None:
    assert refusal(f"crop_size: {word}", message("TransformationParameter")).column == 12


@pytest.mark.parametrize(
    "word", ["0x10", "010", "1e", "1.2.3", "1e5.5", "e5", ".", "1..2", "infinite", "1ff"]
)
def test_words_that_are_not_a_float(word: str) -> None:
    assert refusal(f"base_lr: {word}", SolverParameter).column == 10


@pytest.mark.parametrize("word", ["TRUE", "yes", "2", "-1", "1.0", '"true"'])
def test_words_that_are_not_a_bool(word: str) -> None:
    assert refusal(f"debug_info: {word}").column == 13


@pytest.mark.parametrize("escape", [r"\q", r"\x", r"\xg", r"\u12", r"\U00110000", r"\8", r"\X41"])
def test_escapes_that_do_not_exist(escape: str) -> None:
    assert refusal(f'data: "ab{escape}"', Datum).column == 10


def test_a_required_field_is_missed_at_the_top_level_too() -> None:
    assert refusal("min: 0", message("ClipParameter")).text == "ClipParameter needs 'max'"


def test_nesting_is_bounded_without_recursion() -> None:
    # Caffe's own messages cannot nest without end; this one of protobuf's can.
    error = refusal("nested_type {\n" * 5000, descriptor_pb2.DescriptorProto)
    assert (error.text, error.line) == ("messages are nested more than 100 deep", 101)
    deep = "nested_type { " * 100 + "}" * 100
    parsed = parse(deep, descriptor_pb2.DescriptorProto).message
    assert parsed == text_format.Parse(deep, descriptor_pb2.DescriptorProto())


@pytest.mark.parametrize("filler", [" ", "#", "# ", "#\n", "a", '"', "'a' ", "1", "-", "[", "\\", "a:"])
def test_long_garbage_is_refused_quickly(filler: str) -> None:
    for start in ("", "name", "name:"):
        refusal(f"{start}{filler * 20_000}\n=")


# ---- written text ------------------------------------------------------------------------------------------

WRITTEN = """\
layer {
  name: "conv_1"
  type: "Convolution"
  bottom: "data"
  top: "conv_1"
  param { lr_mult: 0 decay_mult: 0 }
  include { phase: TRAIN }
  convolution_param { num_output: 64 bias_term: false pad: 3 kernel_size: 7 weight_filler { type: "msra" } }
  input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } }
}
"""


def test_the_layout_of_a_layer() -> None:
    layer = parse(WRITTEN, NetParameter).message.layer[0]
    assert format_layer(layer) == WRITTEN
    assert format_fields(NetParameter(layer=[layer])) == WRITTEN
    assert format_fields(NetParameter(layer=[layer]), indent=2) == re.sub("(?m)^(?=.)", "    ", WRITTEN)


def test_a_message_too_long_for_a_line_gets_several() -> None:
    layer = LayerParameter(name="d")
    layer.python_param.module = "m" * 60
    layer.python_param.param_str = "p" * 60
    assert format_layer(layer) == (
        'layer {\n  name: "d"\n  python_param {\n'
        f'    module: "{"m" * 60}"\n    param_str: "{"p" * 60}"\n  }}\n}}\n'
    )
    assert max(map(len, format_layer(layer).splitlines())) < 120


def test_an_empty_message_is_a_pair_of_braces() -> None:
    assert format_fields(LayerParameter(include=[{}])) == "include {}\n"
    assert format_fields(NetParameter()) == ""


def test_layers_are_blocks_however_short() -> None:
    assert format_fields(NetParameter(layer=[{"name": "a"}])) == 'layer {\n  name: "a"\n}\n'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (1e-5, "1e-05"),
        (0.999, "0.999"),
        (1.0, "1"),
        (-2.0, "-2"),
        (0.0, "0"),
        (-0.0, "-0"),
        (224.0, "224"),
        (1e6, "1000000"),
        (1e10, "1e+10"),
        (1 / 3, "0.33333334"),
        (3.4028234663852886e38, "3.4028235e+38"),
        (1e-45, "1e-45"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
    ],
)
def test_a_float_is_the_shortest_that_is_read_back(value: float, text: str) -> None:
    assert format_fields(SolverParameter(base_lr=value)) == f"base_lr: {text}\n"


def test_a_double_is_the_shortest_that_is_read_back() -> None:
    assert format_fields(BlobProto(double_data=[0.1, 2.0])) == "double_data: 0.1\ndouble_data: 2\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain # text", '"plain # text"'),
        ('say "a\\b"', r'"say \"a\\b\""'),
        ("a\n\r\tb", r'"a\n\r\tb"'),
        ("\x00" + "1\x7f", r'"\0001\177"'),
        ("caf\u00e9", '"caf\u00e9"'),
        ("\u2028", r'"\342\200\250"'),
    ],
)
def test_a_string_is_escaped_where_it_must_be(value: str, text: str) -> None:
    assert format_fields(NetParameter(name=value)) == f"name: {text}\n"


def test_bytes_are_escaped_to_ascii() -> None:
    assert format_fields(Datum(data=b'a"\xff\x001')) == 'data: "a\\"\\377\\0001"\n'


# ---- against protobuf --------------------------------------------------------------------------------------

SCALARS: dict[int, st.SearchStrategy[Any]] = {
    1: st.floats(allow_nan=False),
    2: st.floats(width=32, allow_nan=False),
    3: st.integers(-(2**63), 2**63 - 1),
    5: st.integers(-(2**31), 2**31 - 1),
    8: st.booleans(),
    9: st.text(max_size=12),
    12: st.binary(max_size=12),
    13: st.integers(0, 2**32 - 1),
}


@st.composite
def messages(draw: st.DrawFn, message_type: Any, depth: int = 4) -> Any:
    """A message of a type with a few of its fields set, the required ones always."""
    m = message_type()
    fields = [f for f in m.DESCRIPTOR.fields if depth > 0 or f.message_type is None]
    chosen = draw(st.lists(st.sampled_from(fields), max_size=4, unique_by=lambda f: f.name)) if fields else []
    if m.DESCRIPTOR.name == "ClipParameter":
        chosen = fields
    for f in chosen:
        if f.message_type is not None:
            value = messages(message(f.message_type.full_name), depth - 1)
        elif f.enum_type is not None:
            value = st.sampled_from(sorted(f.enum_type.values_by_number))
        else:
            value = SCALARS[f.type]
        current = getattr(m, f.name)
        if hasattr(current, "extend"):
            current.extend(draw(st.lists(value, max_size=3)))
        elif f.message_type is not None:
            current.CopyFrom(draw(value))
            current.SetInParent()
        else:
            setattr(m, f.name, draw(value))
    return m


@pytest.mark.parametrize("name", ["LayerParameter", "NetParameter", "SolverParameter"])
def test_what_we_write_is_read_alike_by_protobuf_and_by_us(name: str) -> None:
    @settings(max_examples=100, deadline=None)
    @given(messages(message(name)))
    def check(m: Any) -> None:
        text = format_fields(m)
        assert wire(text_format.Parse(text, message(name)())) == wire(m)
        assert wire(parse(text, message(name)).message) == wire(m)
        assert format_fields(parse(text, message(name)).message) == text

    check()


@pytest.mark.parametrize("name", ["LayerParameter", "NetParameter", "SolverParameter"])
@pytest.mark.parametrize("style", [{}, {"as_one_line": True}, {"pointy_brackets": True, "as_utf8": True}])
def test_what_protobuf_writes_is_read_by_us(name: str, style: dict[str, Any]) -> None:
    @settings(max_examples=40, deadline=None)
    @given(messages(message(name)))
    def check(m: Any) -> None:
        assert wire(parse(text_format.MessageToString(m, **style), message(name)).message) == wire(m)

    check()


@settings(max_examples=300, deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_no_shorter_decimal_would_do_for_a_float(value: float) -> None:
    text = format_fields(SolverParameter(base_lr=value)).removeprefix("base_lr: ").strip()
    bits = struct.pack("<f", value)
    assert struct.pack("<f", float(text)) == bits
    digits = len(re.sub(r"e.*|[-.]", "", text).strip("0"))
    if digits > 1:
        try:
            shorter = struct.pack("<f", float(f"{value:.{digits - 2}e}"))
        except OverflowError:
            return
        assert shorter != bits


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("layer name:{}<>[]\"'\\#,;\n\r01-.ef x\0\u00e9"), max_size=40))
def test_any_text_is_read_or_refused_and_never_crashes(text: str) -> None:
    place = (1, 1)
    try:
        parse(text, NetParameter)
    except PrototxtError as error:
        place = (error.line, error.column)
    lines = text.split("\n")
    assert 1 <= place[0] <= len(lines)
    assert 1 <= place[1] <= len(lines[place[0] - 1]) + 1
