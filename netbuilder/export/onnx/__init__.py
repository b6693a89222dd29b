"""Nets as ONNX files: `export` writes one from a net and its weights, checks it and runs it.

Needs the packages onnx and NumPy, and to run the file onnxruntime. See docs/onnx.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from netbuilder.errors import EngineError, FileError
from netbuilder.net import Net
from netbuilder.storage import temporary
from netbuilder.storage.files import reason

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["Exported", "export"]


class Exported(NamedTuple):
    """What was written.

    `inputs` and `outputs` have the shapes by name; a letter is a size that the caller chooses, None one that
    follows. `difference` is that to what `engine` computes, by the largest value. It is None where the file
    was not run (`engine` is "" then), and where the net gives values that are not finite.
    """

    files: tuple[Path, ...]
    inputs: dict[str, list[int | str | None]]
    outputs: dict[str, list[int | str | None]]
    opset: int
    nodes: int
    engine: str
    difference: float | None


def export(
    net: Net,
    path: str | Path,
    *,
    weights: str | Path | Mapping[str, Sequence[Array]] | None = None,
    opset: int = 17,
    dynamic: Collection[str] = (),
    fold: bool = False,
    float16: bool = False,
    metadata: Mapping[str, str] | None = None,
    verify: bool | None = None,
    engine: str = "torch",
    force: bool = False,
) -> Exported:
    """Write a TEST net with Input layers as an ONNX file, let `onnx` check it, and run it.

    `weights` is a .caffemodel, or the parameter blobs by layer name. `dynamic` has what the caller of the
    file may choose: "batch", "size" (of images). `fold` folds BatchNorm and Scale into the weights. With
    `float16` weights and arithmetic are of 16 bits; inputs and outputs stay float32. With `verify`
    onnxruntime runs the file, and `engine` ("torch" or "caffe") the net; None: where both are installed.

    Nothing is written if anything fails. Raises ConfigError for a layer without an ONNX form (a net with data
    layers goes through `netbuilder.transforms.deploy.deployed` first), for weights that do not fit, and for
    an open size that the net fixes; FileError; EngineError for a missing program.
    """
    from netbuilder.export.onnx.build import built, check, complete, variants
    from netbuilder.export.onnx.file import checked, opsets, write
    from netbuilder.export.onnx.verify import can_verify, difference

    opsets()  # before anything else, whether there is an onnx
    target = Path(path)
    if target.exists() and not force:
        raise FileError(f"cannot write '{path}': it exists already", hint="give another name, or use --force")
    missing = can_verify(engine)
    if verify and missing:
        raise EngineError(
            f"the file cannot be run: {missing}", hint="pip install onnxruntime, or use --no-verify"
        )
    check(net)
    arrays = complete(net, _arrays(net, weights))
    small, folded = _folded(net, arrays) if fold else (net, arrays)
    made = built(small, folded, opset=opset, dynamic=dynamic, float16=float16)
    found = None
    with _whole(target) as inside:
        files = write(made, inside, metadata or {})
        del folded
        checked(inside)
        if verify is not False and not missing:
            found = difference(inside, variants(net, dynamic)[-1], arrays, engine, made.computed)
    return Exported(
        tuple(target.with_name(file.name) for file in files),
        {value.name: made.dims(value) for value in made.inputs},
        {value.name: made.dims(value) for value in made.outputs},
        opset,
        len(made.graph.nodes),
        engine if verify is not False and not missing else "",
        found,
    )


def _arrays(net: Net, weights: str | Path | Mapping[str, Sequence[Array]] | None) -> dict[str, list[Array]]:
    """The parameter blobs by layer name, with the fixed filters that a model leaves out."""
    from netbuilder.checks.weights import require_all
    from netbuilder.weights.arrays import read_arrays
    from netbuilder.weights.fill import fixed_arrays, is_fixed

    if isinstance(weights, (str, Path)):
        require_all(net, str(weights))
        names = {layer.name for layer in net}
        stored = {x.layer.name: list(x.arrays) for x in read_arrays(weights) if x.layer.name in names}
    else:
        stored = {name: list(arrays) for name, arrays in (weights or {}).items()}
    for layer in net:
        if layer.name not in stored and is_fixed(layer):
            stored[layer.name] = fixed_arrays(layer)
    return stored


def _folded(net: Net, arrays: Mapping[str, Sequence[Array]]) -> tuple[Net, dict[str, list[Array]]]:
    from netbuilder.transforms.fold import fold

    found = fold(net, arrays.__getitem__)
    return found.net, dict(found.arrays(arrays.items()))


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A place to write the model and its arrays, which replace those at the target once all went well."""
    folder = None
    try:
        folder = Path(temporary.new_folder(str(target.parent), target.name))
        yield folder / target.name
        arrays = sorted(file for file in folder.iterdir() if file.name != target.name)
        if arrays:
            target.unlink(missing_ok=True)  # with new arrays it would be wrong
        for file in (*arrays, folder / target.name):
            file.replace(target.with_name(file.name))
    except OSError as error:
        raise FileError(f"cannot write '{target}': {reason(error)}", hint="choose another place") from None
    finally:
        if folder:
            temporary.remove(str(folder))
