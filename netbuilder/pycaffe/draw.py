"""A net as a graph in Graphviz' language, drawn by its program `dot` or, without it, by Pillow."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from netbuilder.errors import EngineError
from netbuilder.pycaffe.pictures import FORMATS, picture
from netbuilder.pycaffe.proto import caffe_pb2

__all__ = [
    "Graph",
    "choose_color_by_layertype",
    "draw_net",
    "draw_net_to_file",
    "get_edge_label",
    "get_layer_label",
    "get_pooling_types_dict",
    "get_pydot_graph",
]

_COLOURS = {
    "Convolution": "#FF5050", "Deconvolution": "#FF5050", "Pooling": "#FF9900", "InnerProduct": "#CC33FF",
}  # fmt: skip
_OTHERS, _BLOBS = "#6495ED", "#E0E0E0"
_TEXT = ("dot", "raw", "canon")  # what needs no program


class Graph:
    """A directed graph: nodes with their attributes by name, and edges with their labels."""

    def __init__(self, name: str, rankdir: str) -> None:
        self.name, self.rankdir = name, rankdir
        self.nodes: dict[str, dict[str, str]] = {}
        self.edges: list[tuple[str, str, str]] = []

    def to_string(self) -> str:
        """The graph in Graphviz' language."""
        lines = [f"digraph {_quoted(self.name or 'Net')} {{", f"  rankdir={self.rankdir};"]
        for name, attributes in self.nodes.items():
            shown = ", ".join(f"{key}={_quoted(value)}" for key, value in attributes.items())
            lines.append(f"  {_quoted(name)} [{shown}];")
        for tail, head, label in self.edges:
            lines.append(f"  {_quoted(tail)} -> {_quoted(head)} [label={_quoted(label)}];")
        return "\n".join([*lines, "}", ""])

    def create(self, format: str = "png") -> bytes:
        """The drawing in a format of Graphviz, by its program; without it, Pillow draws simple pictures.

        Raises EngineError for a format that neither gives.
        """
        text = self.to_string().encode()
        if format in _TEXT:
            return text
        program = shutil.which("dot")
        if program is None:
            if format in FORMATS and importlib.util.find_spec("PIL") is not None:
                return picture(self, format)
            raise EngineError(
                f"drawing {format} needs the program dot of Graphviz",
                hint='install graphviz, or draw to a file that ends in ".dot"; Pillow draws .png',
            )
        done = subprocess.run([program, f"-T{format}"], input=text, capture_output=True)
        if done.returncode:
            raise EngineError(f"dot failed: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def write(self, path: Any, format: str = "raw") -> None:
        """Write the drawing to a file."""
        Path(path).write_bytes(self.create(format))


def get_pooling_types_dict() -> dict[int, str]:
    """The names of the kinds of pooling by number."""
    return {number: name for name, number in caffe_pb2.PoolingParameter.PoolMethod.items()}


def get_edge_label(layer: Any) -> str:
    """What is written at the edges from a layer: how many outputs it makes."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    return str(layer.inner_product_param.num_output) if layer.type == "InnerProduct" else ""


def get_layer_label(layer: Any, rankdir: str, display_lrm: bool = False) -> str:
    """What is written into the node of a layer; `display_lrm` adds the multipliers of its learning rate."""
    lines = list(_details(layer))
    if display_lrm and layer.param:
        lines.append("lr mult: " + ", ".join(f"{spec.lr_mult:g}" for spec in layer.param))
    return (" " if rankdir in ("TB", "BT") else "\n").join([f"{layer.name} ({layer.type})", *lines])


def _details(layer: Any) -> Iterator[str]:
    if layer.type in ("Convolution", "Deconvolution"):
        p = layer.convolution_param
        for what, values, otherwise in (
            ("kernel size", p.kernel_size or (p.kernel_h, p.kernel_w), 1),
            ("stride", p.stride or (p.stride_h, p.stride_w), 1),
            ("pad", p.pad or (p.pad_h, p.pad_w), 0),
        ):
            given = [value or otherwise for value in values]
            yield f"{what}: {'x'.join(map(str, given[:1] if len(set(given)) == 1 else given))}"
    elif layer.type == "Pooling":
        p = layer.pooling_param
        yield f"({get_pooling_types_dict()[p.pool]} Pooling)"
        if not p.global_pooling:
            yield f"kernel size: {p.kernel_size or f'{p.kernel_h}x{p.kernel_w}'}"
            yield f"stride: {p.stride}"
            yield f"pad: {p.pad}"


def choose_color_by_layertype(layertype: str) -> str:
    """The colour of the nodes of a layer type."""
    return _COLOURS.get(layertype, _OTHERS)


def get_pydot_graph(
    caffe_net: Any,
    rankdir: str,
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> Graph:
    """The graph of a NetParameter, in one phase if it is given: a node for each layer and for each blob."""
    graph = Graph(caffe_net.name, rankdir)
    for number, layer in enumerate(caffe_net.layer):
        if phase is not None and not _in_phase(layer, phase):
            continue
        node = f"{layer.name}_{number}"
        in_place = list(layer.bottom) == list(layer.top) and len(layer.top) == 1
        graph.nodes[node] = {
            "label": get_layer_label(layer, rankdir, display_lrm),
            "shape": "record" if not in_place else "box",
            "style": "filled",
            "fillcolor": choose_color_by_layertype(layer.type),
        }
        for blob in (*layer.bottom, *layer.top):
            graph.nodes[f"{blob}_blob"] = {
                "label": blob, "shape": "octagon", "style": "filled", "fillcolor": _BLOBS,
            }  # fmt: skip
        graph.edges += [(f"{blob}_blob", node, "") for blob in layer.bottom]
        label = get_edge_label(layer) if label_edges else ""
        graph.edges += [(node, f"{blob}_blob", label) for blob in layer.top]
    return graph


def _in_phase(layer: Any, phase: int) -> bool:
    """Whether the rules of a layer leave it in a phase, whatever they say of levels and stages."""
    if layer.include:
        return any(not rule.HasField("phase") or rule.phase == phase for rule in layer.include)
    return not any(rule.HasField("phase") and rule.phase == phase for rule in layer.exclude)


def draw_net(
    caffe_net: Any, rankdir: str, ext: str = "png", phase: int | None = None, display_lrm: bool = False
) -> bytes:
    """The drawing of a NetParameter, in a format of Graphviz."""
    return get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm).create(format=ext)


def draw_net_to_file(
    caffe_net: Any,
    filename: Any,
    rankdir: str = "LR",
    phase: int | None = None,
    display_lrm: bool = False,
) -> None:
    """Draw a NetParameter into a file, whose ending is the format."""
    ext = os.path.splitext(filename)[1][1:] or "png"
    Path(filename).write_bytes(draw_net(caffe_net, rankdir, ext, phase, display_lrm))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
