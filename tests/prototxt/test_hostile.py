"""Files that nobody means well with: each gives a clear error or a right answer, in bounded time and memory.

The large ones are counted by the command itself, in a process of limited memory; exit code 2 is an error that
is told, and a traceback is a failure.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netbuilder import Net, counts, prototxt
from netbuilder.engines import caffe
from netbuilder.errors import FileError, NetBuilderError, PrototxtError, ShapeError
from netbuilder.schema import NetParameter

resource = pytest.importorskip("resource")  # not on Windows

ROOT = Path(__file__).parents[2]
MEMORY = 2**31  # bytes of addresses
SECONDS = 60  # far above what any of them takes; a machine may be busy

DATA = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'
)


def layer(type: str, body: str = "", bottom: str = "data", top: str = "x") -> str:
    return f'layer {{ name: "{top}" type: "{type}" bottom: "{bottom}" top: "{top}" {body} }}\n'


def command(verb: str, path: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `netbuilder VERB FILE` in limited memory."""
    done = subprocess.run(
        [sys.executable, "-m", "netbuilder.cli.main", verb, str(path)],
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
        capture_output=True,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def refused(text: str, **options: object) -> NetBuilderError:
    with pytest.raises(NetBuilderError) as caught:
        prototxt.parse(text, **options)  # type: ignore[arg-type]
    return caught.value


# ---- size ------------------------------------------------------------------------------------------------

MB100 = 10**8
CONVOLUTION = 'layer { name: "x" type: "Convolution" bottom: "data" top: "x" '
# Each: how the file begins, what it repeats until it has so many bytes, how it ends, what is told.
LARGE = {
    "braces": ("", "{", MB100, "", "expected a field name, found '{'"),
    "closed messages": ("", "}", MB100, "", "'}' closes nothing: every message is closed already"),
    "layers in layers": ("", "layer{", MB100, "", "LayerParameter has no field 'layer'"),
    "unknown messages": ("", "foo{", MB100, "", "messages are nested more than 100 deep"),
    "a word": ("", "a", 10**6, "", "expected ':' after 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    "comments": ("", "#\n", 10**6, "", "there is no layer for phase TEST in this file"),
    "dimensions": (
        'layer { name: "d" type: "Input" top: "d" input_param { shape { ',
        "dim: 2 ",
        700_000,
        "} } }",
        "a blob has at most 32 axes, got 100000",
    ),
    "an inline blob": (
        DATA + CONVOLUTION + "convolution_param { num_output: 3 kernel_size: 3 } blobs { ",
        "data: 1 ",
        800_000,
        "} }",
        "blob 0 in the file has 100000 numbers for the shape ()",
    ),
}


@pytest.mark.parametrize("case", LARGE)
def test_a_large_file_of_nonsense_is_refused(case: str, tmp_path: Path) -> None:
    begin, unit, size, end, said = LARGE[case]
    path = tmp_path / "net.prototxt"
    path.write_text(begin + unit * (size // len(unit)) + end)
    code, _, told = command("count", path)
    path.unlink()
    assert code == 2
    assert said in told
    assert len(told) < 1000


def test_a_hundred_thousand_layers_are_counted(tmp_path: Path) -> None:
    path, deep = tmp_path / "net.prototxt", 100_000
    path.write_text(
        DATA + "".join(layer("PReLU", "", f"x{i}" if i else "data", f"x{i + 1}") for i in range(deep))
    )
    code, out, told = command("count", path)
    assert (code, told) == (0, "")
    assert f"{deep * 3:,}" in out
    assert f"{(deep + 1) * 192:,}" in out


def test_a_layer_may_have_a_hundred_thousand_tops_and_bottoms() -> None:
    names = [f"t{i}" for i in range(100_000)]
    split = 'layer { name: "s" type: "Split" bottom: "data" ' + " ".join(f'top: "{n}"' for n in names) + "}\n"
    join = 'layer { name: "c" type: "Concat" top: "c" ' + " ".join(f'bottom: "{n}"' for n in names) + "}\n"
    begin = time.perf_counter()
    net = prototxt.parse(DATA + split + join)
    assert net.blobs["c"].shape == (1, 300_000, 8, 8)
    assert counts.count(net).macs == 0
    assert time.perf_counter() - begin < SECONDS


def test_names_of_megabytes_are_not_compared_or_repeated() -> None:
    error = refused("x" * 10**6 + ": 1")
    assert error.text == f"NetParameter has no field '{'x' * 57}...'"
    assert len(str(refused(DATA + layer("Pooling", f"pooling_param {{ pool: {'M' * 10**6} }}")))) < 1000


def test_comments_and_strings_in_any_number_are_read() -> None:
    comments = "# c\n" * 1000
    text = f'{comments}name{comments}:{comments}"a"{comments}"b"{comments};{comments}{DATA}{comments}'
    assert prototxt.parse(text).name == "ab"
    assert prototxt.parse("name: " + '"" ' * 10**5 + '"z"').name == "z"
    net = prototxt.parse(DATA.replace("{", "{" + comments).replace("}", comments + "}" + comments))
    assert net.blobs["data"].shape == (1, 3, 8, 8)


# ---- numbers ---------------------------------------------------------------------------------------------

MOST = 2**31 - 1
CONV = "convolution_param {{ num_output: 1 kernel_size: 1 bias_term: false {} }}"
POOL = "pooling_param {{ {} }}"
BEYOND = {
    "kernel_size: 4294967295": ("Convolution", "convolution_param { num_output: 1 kernel_size: 4294967295 }"),
    "kernel 2^32": ("Convolution", "convolution_param { num_output: 1 kernel_size: 4294967296 }"),
    "kernel -1": ("Convolution", "convolution_param { num_output: 1 kernel_size: -1 }"),
    "stride": ("Convolution", CONV.format("stride: 4294967295")),
    "stride 2^31": ("Convolution", CONV.format("stride: 2147483648")),
    "pooling kernel": ("Pooling", POOL.format("kernel_size: 4294967295 pad: 2147483647")),
    "pooling stride": ("Pooling", POOL.format("kernel_size: 2 stride: 4294967294")),
    "num_output": ("Convolution", "convolution_param { num_output: 4294967295 kernel_size: 1 }"),
    "group": ("Convolution", CONV.format("group: 4294967295")),
    "fc": ("InnerProduct", "inner_product_param { num_output: 4294967295 }"),
    "tiles": ("Tile", "tile_param { tiles: 2147483647 }"),
    "tiles -1": ("Tile", "tile_param { tiles: -1 }"),
    "pyramid": ("SPP", "spp_param { pyramid_height: 4294967295 }"),
    "top_k": ("ArgMax", "argmax_param { top_k: 4294967295 }"),
    "embed": ("Embed", "embed_param { num_output: 4294967295 input_dim: 4294967295 }"),
    "axis": ("Flatten", "flatten_param { axis: -2147483648 }"),
    "deconvolution": ("Deconvolution", CONV.format("stride: 2147483647")),
}


# Those that Caffe itself is asked about; each abort costs it a start.
ASKED = ("kernel_size: 4294967295", "stride 2^31", "pooling stride", "group", "tiles -1")


@pytest.mark.parametrize("case", BEYOND)
def test_a_number_on_which_caffe_aborts_is_refused(case: str) -> None:
    assert refused(DATA + layer(*BEYOND[case])).where.startswith("<text>:2")


@pytest.mark.parametrize("case", ASKED)
def test_caffe_aborts_on_such_numbers(case: str, real_caffe: caffe.Caffe) -> None:
    with pytest.raises(caffe.CaffeRefused):
        real_caffe.load(DATA + layer(*BEYOND[case]))


@pytest.mark.parametrize(
    ("type", "body", "said"),
    [
        (
            "Convolution",
            CONV.format("pad: 4294967295"),
            "pad 4294967295 is more than 2147483647, and Caffe reads -1",
        ),
        (
            "Convolution",
            CONV.format("dilation: 4294967294"),
            "dilation 4294967294 is more than 2147483647, and Caffe reads -2",
        ),
        (
            "Pooling",
            POOL.format("kernel_size: 2 stride: 2147483648"),
            "stride 2147483648 is more than 2147483647, and Caffe reads -2147483648",
        ),
    ],
)
def test_a_number_that_caffe_takes_for_a_negative_one_is_refused(type: str, body: str, said: str) -> None:
    assert refused(DATA + layer(type, body)).text == f"{type} 'x': {said}"


def shaped(*dims: int) -> str:
    text = " ".join(f"dim: {n}" for n in dims)
    return f'layer {{ name: "d" type: "Input" top: "d" input_param {{ shape {{ {text} }} }} }}'


@pytest.mark.parametrize(
    "dims", [(MOST,), (MOST, 0, MOST), (0, 0), (65536, 32767), (46340, 46341), (1,) * 32], ids=str
)
def test_the_largest_shapes_of_caffe_are_read(dims: tuple[int, ...], real_caffe: caffe.Caffe) -> None:
    assert prototxt.parse(shaped(*dims)).blobs["d"].shape == dims
    assert real_caffe.load(shaped(*dims)).blobs["d"] == dims


@pytest.mark.parametrize(
    "dims", [(2**31,), (65536, 32768), (2**63 - 1, 3), (2**16,) * 4, (-1, 3), (-(2**31),), (1,) * 33], ids=str
)
def test_larger_ones_are_refused(dims: tuple[int, ...]) -> None:
    assert isinstance(refused(shaped(*dims)), ShapeError)


@pytest.mark.parametrize("dims", [(65536, 32768), (-1, 3)], ids=str)
def test_caffe_aborts_on_such_shapes(dims: tuple[int, ...], real_caffe: caffe.Caffe) -> None:
    with pytest.raises(caffe.CaffeRefused):
        real_caffe.load(shaped(*dims))


@pytest.mark.parametrize("dims", [(2**32 + 1,), (2**40, 0), (-(2**32),)], ids=str)
def test_sizes_of_which_caffe_reads_a_part_are_refused(dims: tuple[int, ...]) -> None:
    assert isinstance(refused(shaped(*dims)), ShapeError)


def test_numbers_of_a_million_digits() -> None:
    digits = "1" * 10**6
    error = refused(DATA + layer("Convolution", f"convolution_param {{ num_output: {digits} }}"))
    assert error.text == f"'num_output' takes an integer from 0 to 4294967295, found {'1' * 57}..."
    for number in (digits, f"1e{digits}", "1e400", f"0.{digits}", "-inf"):  # floats have no end
        prototxt.parse(DATA + layer("Power", f"power_param {{ power: {number} }}"))


# ---- wiring ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (layer("ReLU", bottom="b", top="a") + layer("ReLU", bottom="a", top="b"), "'b'"),
        (layer("ReLU", bottom="a", top="a"), "'a'"),
        (DATA + layer("ReLU", bottom="nope"), "'nope'"),
        (layer("ReLU", bottom=""), "''"),
    ],
)
def test_bottoms_in_a_circle_or_from_nowhere_are_refused(text: str, missing: str) -> None:
    assert f"bottom {missing} is not the top of any layer before" in refused(text).text


def test_a_solver_that_names_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text(f'net: "{path}"\nbase_lr: 0.1\n')
    with pytest.raises(PrototxtError, match="as a net, which is no prototxt"):
        prototxt.read(path)


# ---- bytes -----------------------------------------------------------------------------------------------


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "net.prototxt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'name: "\xff"', "it is not text (byte 7 is not UTF-8)"),
        (b'name: "\xed\xa0\x80"', "it is not text (byte 7 is not UTF-8)"),
        (b'name: "a\0b"', "a NUL byte cannot stand in a prototxt"),
        ('name: "a"'.encode("utf-16"), "it is not text (byte 0 is not UTF-8)"),
        (b'\xef\xbb\xbfname: "a"', "the file begins with a byte order mark, which Caffe refuses"),
        (b'name: "a', "the string that begins here has no closing quote on its line"),
        (b"layer {", "'layer' is opened here and never closed: expected '}' before the end of the file"),
    ],
)
def test_bytes_that_are_not_text_are_refused(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises((FileError, PrototxtError)) as caught:
        prototxt.read(written(tmp_path, content))
    assert caught.value.text.endswith(said)


def test_every_way_to_end_a_line_is_read_as_by_caffe(tmp_path: Path, real_caffe: caffe.Caffe) -> None:
    ends = {"\r\n": "x", "\n": "x", "\r": ""}  # a comment goes on after a lone carriage return
    for end, name in ends.items():
        text = DATA.replace("\n", end) + f'# comment{end}name: "x"{end}'
        assert prototxt.read(written(tmp_path, text.encode())).name == name
    doubled = DATA + '# comment\rname: "x" name: "y"\r'
    assert len(real_caffe.load(doubled).layers) == len(prototxt.read(written(tmp_path, doubled.encode())))


def test_a_pipe_is_read_and_a_device_without_end_is_refused(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m netbuilder.cli.main count /dev/stdin"
    done = subprocess.run(
        shell,
        shell=True,
        input=DATA,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 layer" in done.stdout
    code, _, told = command("count", Path("/dev/zero"))
    assert (code, told) == (
        2, "FileError: cannot read '/dev/zero': it has more than 512 MiB, too much for text\n",
    )  # fmt: skip


def test_a_name_with_a_nul_in_it_is_not_a_file() -> None:
    for read in (prototxt.read, prototxt.read_model):
        with pytest.raises(FileError) as caught:
            read("a\0b")
        assert caught.value.text == r"cannot read 'a\x00b': embedded null byte"


# ---- models ----------------------------------------------------------------------------------------------


def model(net: Net) -> bytes:
    """A .caffemodel of the net, all numbers 0."""
    proto = NetParameter(name=net.name)
    for x in net:
        out = proto.layer.add(name=x.name, type=x.type)
        for param in x.params:
            blob = out.blobs.add()
            blob.shape.dim.extend(param.shape)
            blob.data.extend([0.0] * param.size)
    return bytes(proto.SerializeToString())


@pytest.fixture(scope="module")
def trained() -> bytes:
    return model(
        prototxt.parse(DATA + layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 }"))
    )


def test_a_model_cut_short_anywhere_is_refused_or_whole(trained: bytes, tmp_path: Path) -> None:
    for size in range(len(trained)):
        path = written(tmp_path, trained[:size])
        try:
            layers = prototxt.read_model(path).layers
        except PrototxtError:
            continue
        assert [x.name for x in layers] == ["data"]  # cut between two layers


def test_a_damaged_model_is_refused_or_read(trained: bytes, tmp_path: Path) -> None:
    for at in range(min(len(trained), 120)):
        for value in (0, 1, 127, 128, 255):
            damaged = bytearray(trained)
            damaged[at] = value
            try:
                prototxt.read_model(written(tmp_path, bytes(damaged)))
            except PrototxtError:
                pass


def varint(n: int) -> bytes:
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def part(field: int, length: int) -> bytes:
    return varint(field << 3 | 2) + varint(length)


def test_a_model_of_a_gigabyte_is_listed_in_little_memory(tmp_path: Path) -> None:
    numbers = 2**28
    shape = (
        b"\x3a"
        + bytes((1 + 1 + len(varint(numbers)),))
        + b"\x0a"
        + bytes((len(varint(numbers)),))
        + varint(numbers)
    )
    blob = shape + part(5, 4 * numbers)
    name = b"\x0a\x04conv"
    inner = name + part(7, len(blob) + 4 * numbers) + blob
    head = part(100, len(inner) + 4 * numbers) + inner
    path = tmp_path / "net.caffemodel"
    with path.open("wb") as file:  # a hole on disk
        file.write(head)
        file.truncate(len(head) + 4 * numbers)
    code, out, told = command("count", path)
    assert (code, told) == (0, "")
    assert f"{numbers:,}" in out
    with path.open("r+b") as file:
        file.truncate(len(head) + 4 * numbers - 1)
    code, _, told = command("count", path)
    assert code == 2
    assert "is cut short or damaged in a layer" in told


def test_a_gigabyte_of_zeros_is_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    with path.open("wb") as file:
        file.truncate(2**30)
    code, _, told = command("count", path)
    assert code == 2
    assert "is not a .caffemodel: what stands here is not a field of a protobuf message (byte 0)" in told


def test_a_model_of_nothing_but_fields_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from netbuilder.weights import model as binary

    monkeypatch.setattr(binary, "_MAX_FIELDS", 1000)
    path = written(tmp_path, b"\x18\x00" * 5000)
    with pytest.raises(PrototxtError, match="it has more than 1000 fields"):
        prototxt.read_model(path)
