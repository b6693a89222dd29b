"""Files of older Caffes: every layer as Caffe's own upgrade makes it, and the net as real Caffe builds it.

`ground_truth/formats/NAME.prototxt` are the files; `NAME.upgraded` is what Caffe 1.0's tool
upgrade_net_proto_text (Debian's build of commit 99bd997) wrote of each. Where that Caffe is installed,
`--update-goldens` writes them again, and the tests compare with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from netbuilder import prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import NetBuilderError
from netbuilder.prototxt import text as text_format
from netbuilder.prototxt.upgrade import upgrade
from netbuilder.schema import NetParameter, message
from netbuilder.schema.old_types import type_of_v0, type_of_v1

FORMATS = Path(__file__).parents[1] / "ground_truth" / "formats"
FILES = sorted(FORMATS.glob("*.prototxt"))
# Not lenet_v1 and batch_norm_v2 in TRAIN, which need a database.
LOADABLE = [(name, phase) for name in ("lenet_v0", "groups_v0", "shared_v1") for phase in ("TEST", "TRAIN")]
LOADABLE += [("lenet_v1", "TEST"), ("batch_norm_v2", "TEST")]


def upgraded(text: str) -> str:
    """Our upgrade of a text, as text."""
    net, layers, *_ = upgrade(text_format.parse(text, NetParameter))
    net.layer.extend(layers)
    return text_format.format_fields(net)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_each_layer_is_what_caffes_own_tool_makes_of_it(path: Path) -> None:
    theirs = text_format.parse(path.with_suffix(".upgraded").read_text(), NetParameter).message
    assert upgraded(path.read_text()).splitlines() == text_format.format_fields(theirs).splitlines()


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_tool_of_the_installed_caffe_says_the_same(
    path: Path, real_caffe: Caffe, update_goldens: bool
) -> None:
    install = real_caffe.install
    tool = shutil.which("upgrade_net_proto_text", path=f"{install.root}/usr/bin" if install.root else None)
    if tool is None:
        pytest.skip("this Caffe has no upgrade_net_proto_text")
    inside, command = "", [tool]
    if install.root:
        inside = str(install.root).rstrip("/")
        command = [*install.command[:-1], tool[len(inside) :]]
    with tempfile.TemporaryDirectory(dir=f"{inside}/tmp" if inside else None) as folder:
        source, target = Path(folder, "in"), Path(folder, "out")
        source.write_bytes(path.read_bytes())
        arguments = [str(p)[len(inside) :] for p in (source, target)]
        env = {**os.environ, "GLOG_logtostderr": "1"}  # or it leaves log files behind
        subprocess.run([*command, *arguments], capture_output=True, env=env)
        said = target.read_text()
    golden = path.with_suffix(".upgraded")
    if update_goldens:
        golden.write_text(said)
    assert said == golden.read_text()


@pytest.mark.parametrize(("name", "phase"), LOADABLE)
def test_an_old_net_has_the_layers_and_shapes_that_caffe_gives_it(
    name: str, phase: str, real_caffe: Caffe
) -> None:
    text = (FORMATS / f"{name}.prototxt").read_text()
    net = prototxt.parse(text, phase)
    theirs = real_caffe.load(text, phase=phase).layers_as_written()
    assert [(x.name, x.type, [b.name for b in x.bottoms], [b.name for b in x.tops]) for x in net] == [
        (x.name, x.type, list(x.bottoms), list(x.tops)) for x in theirs
    ]
    assert [[b.shape for b in x.tops] for x in net] == [list(x.top_shapes) for x in theirs]
    assert [[p.shape for p in x.params] for x in net] == [list(x.params) for x in theirs]


def test_every_type_of_v1_and_v0_has_a_name_of_today() -> None:
    values = message("V1LayerParameter").DESCRIPTOR.fields_by_name["type"].enum_type.values
    by_tool = text_format.parse((FORMATS / "types_v1.upgraded").read_text(), NetParameter).message
    theirs = {layer.name: layer.type for layer in by_tool.layer}
    assert {v.name: type_of_v1(v.number) for v in values} == {v.name: theirs[v.name] for v in values}
    assert (type_of_v1(99), type_of_v0("innerproduct"), type_of_v0("mine")) == ("", "InnerProduct", "mine")


def test_multipliers_and_names_become_params() -> None:
    net = prototxt.parse((FORMATS / "shared_v1.prototxt").read_text())
    spec = net["conv_b"].proto.param
    assert [(s.name, s.share_mode, s.HasField("lr_mult")) for s in spec] == [("w", 1, False), ("b", 0, False)]
    assert [p.shared_with for p in net["conv_b"].params] == ["conv_a", "conv_a"]
    assert [(s.lr_mult, s.decay_mult) for s in net["conv_a"].proto.param] == [(1, 1), (2, 1)]


def test_an_old_net_is_written_in_todays_format() -> None:
    net = prototxt.parse((FORMATS / "lenet_v0.prototxt").read_text())
    written = prototxt.dumps(net)
    assert "layers" not in written
    assert prototxt.dumps(prototxt.parse(written)) == written


PLAIN = 'input: "x" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'layers { name: "a" type: RELU top: "a" }\nlayer { name: "b" }',
            "the file has both 'layer' and 'layers', and Caffe takes one format or the other\n"
            "  where:   net.prototxt:1:1\n"
            "  hint:    rewrite each 'layers { type: RELU }' as 'layer { type: \"ReLU\" }'",
        ),
        (
            PLAIN + 'layers { layer { name: "a" type: "cnov" } bottom: "x" top: "a" }',
            "unknown layer type 'cnov' in 'layers { layer { } }'\n"
            "  where:   net.prototxt:2:1\n"
            "  hint:    did you mean 'conv'?",
        ),
        (
            PLAIN
            + 'layers { layer { name: "p" type: "padding" pad: 1 } bottom: "x" top: "p" }\n'
            + 'layers { layer { name: "r" type: "relu" } bottom: "p" top: "r" }',
            "relu 'r': only conv and pool can follow a padding layer\n  where:   net.prototxt:3:1",
        ),
        (
            PLAIN + 'layers { layer { name: "r" type: "relu" } bottom: "y" top: "r" }',
            "relu 'r': bottom 'y' is not the top of any layer before\n  where:   net.prototxt:2:1",
        ),
        (
            PLAIN
            + 'layers { layer { name: "p" type: "padding" pad: 1 } bottom: "x" top: "p" }\n\n'
            + 'layers { layer { name: "c" type: "conv" num_output: 2 } bottom: "p" top: "c" }',
            "Convolution 'c': kernel_size is missing: 2 spatial axes need it once or 2 times\n"
            "  where:   net.prototxt:4\n"
            "  bottoms: x (1,3,8,8) from input",
        ),
        (
            'input: "x" input: "y" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8',
            "2 inputs need input_dim four times per input, got 4\n"
            "  where:   net.prototxt:1:12\n"
            "  hint:    give input 'y' its shape: Caffe reads sizes from beyond the list",
        ),
        (
            'name: "n"\n\ninput: "x"\ninput_dim: 1 input_dim: 3 input_dim: 8\n'
            'layers { name: "r" type: RELU bottom: "x" top: "r" }',
            "1 input needs input_dim four times per input, got 3\n"
            "  where:   net.prototxt:3:1\n"
            "  hint:    give input 'x' its shape: Caffe reads sizes from beyond the list",
        ),
        (
            'input: "x"  # the first\n  input: [ "y" ,\n "z" ]\n'
            "input_shape { dim: 1 }\ninput_shape { dim: 2 }\n"
            'layers { name: "r" type: RELU bottom: "x" top: "r" }',
            "3 inputs need input_shape once per input, got 2\n"
            "  where:   net.prototxt:2:3\n"
            "  hint:    give input 'z' its shape: Caffe reads sizes from beyond the list",
        ),
        (
            'input: "x"\ninput_dim: 1 input_dim: 3 input_dim: 8\ninput_shape { dim: 1 }\n'
            'layers { layer { name: "r" type: "relu" } bottom: "x" top: "r" }',
            "1 input needs input_dim four times per input, got 3\n"
            "  where:   net.prototxt:1:1\n"
            "  hint:    give input 'x' its shape: Caffe reads sizes from beyond the list",
        ),
        (
            'input: "x"\ninput_shape { dim: 1 }\n'
            'layers { layer { name: "r" type: "relu" } bottom: "x" top: "r" }',
            "ReLU 'r': bottom 'x' is not the top of any layer before\n"
            "  where:   net.prototxt:3\n"
            "  hint:    Caffe drops input 'x', which has no shape: give it four input_dim or, but for "
            "files of V0, an input_shape",
        ),
        (
            'input: "x"\nlayer { name: "r" type: "ReLU" bottom: "x" top: "r" }',
            "ReLU 'r': bottom 'x' is not the top of any layer before\n"
            "  where:   net.prototxt:2\n"
            "  hint:    Caffe drops input 'x', which has no shape: give it four input_dim or, but for "
            "files of V0, an input_shape",
        ),
    ],
)
def test_a_fault_in_an_old_file_is_reported_at_its_line(text: str, expected: str) -> None:
    with pytest.raises(NetBuilderError) as caught:
        prototxt.parse(text, path="net.prototxt")
    assert str(caught.value) == expected


@pytest.mark.parametrize("spelling", ["type: WARP", "type:WARP", "type : # of a fork\n  WARP"])
def test_a_forks_type_of_v1_is_kept_in_any_spelling(spelling: str) -> None:
    text = f'layers {{ name: "w" {spelling} top: "w" }}'
    _, layers, *_ = upgrade(text_format.parse(text, NetParameter, lenient=True), lenient=True)
    assert [(layer.name, layer.type) for layer in layers] == [("w", "WARP")]
