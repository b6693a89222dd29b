"""PyTorch's files: the tensors of a state_dict, wherever it stands in what was saved.

The files are pickles. They are read by PyTorch's own `weights_only`, which makes tensors and containers and
refuses everything else, so that no code of a file is run.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.errors import FileError, did_you_mean
from netbuilder.storage.files import reason
from netbuilder.weights.tensors import Checkpoint, Tensor

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    Array = npt.NDArray[np.float32]

__all__ = ["read_pickle", "require_torch"]

# The names under which training programs save a state_dict, the likeliest first.
_USUAL = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights")
_EMA = re.compile(r"ema|average", re.IGNORECASE)
# What else they save, which holds tensors too.
_OTHERS = re.compile(r"optim|sched|scaler|rng|loss|criterion|history|metric", re.IGNORECASE)
_DEPTH = 3
_LARGE = 2**28  # bytes of a tensor that repeats numbers: a small file may claim any number


def read_pickle(path: Path, key: str | None = None) -> Checkpoint:
    """The tensors of a .pth or .pt file, in its order; see `netbuilder.weights.checkpoint.read_checkpoint`.

    Without `key`, of several dictionaries of tensors the usual name counts, and never a moving average (EMA)
    beside it. Raises FileError.
    """
    stored = _load(path)
    found = dict(_dictionaries(stored))
    if not found:
        raise FileError(
            f"'{path}' has no dictionary of tensors in it",
            hint="save the tensors by name: torch.save(model.state_dict(), FILE)",
        )
    name = _chosen(path, found, key)
    tensors = {n: _tensor(path, n, t) for n, t in found[name].items() if _is_tensor(t)}
    others = [f"'{other}'" for other in found if other != name]
    notes = [f"the tensors are those of '{name}'"] if name else []
    if others:
        notes.append(f"not read: {', '.join(others)} (--key NAME chooses it)")
    return Checkpoint(str(path), tensors, tuple(notes))


def require_torch(path: Path) -> Any:
    """PyTorch, or FileError without it."""
    try:
        import torch
    except ImportError:
        raise FileError(
            f"'{path}' is a file of PyTorch, which is not installed",
            hint="pip install 'caffe-netbuilder[torch]', or save the weights as .safetensors or .npz",
        ) from None
    return torch


def _load(path: Path) -> object:
    torch = require_torch(path)
    by_name = tuple(int(n) for n in torch.__version__.split(".")[:2]) >= (2, 6)
    allowed = torch.serialization.safe_globals(_harmless()) if by_name else contextlib.nullcontext()
    with path.open("rb") as file:
        mapped = file.read(2) == b"PK"  # the older format cannot be mapped
    try:
        with allowed, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old pickles; what matters is raised
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError as error:
        raise FileError(f"cannot read '{path}': {reason(error)}") from None
    except Exception as error:  # PyTorch raises errors of many kinds for damaged files
        raise _refused(path, str(error)) from None


def _harmless() -> list[Any]:
    """What training programs save beside tensors, options and numbers of NumPy: to make them runs no code."""
    import argparse

    import numpy as np

    core: Any = getattr(np, "_core", None) or np.__dict__["core"]  # NumPy 2 and 1
    functions = {"scalar": core.multiarray.scalar, "_reconstruct": core.multiarray._reconstruct}
    places = ("numpy.core.multiarray", "numpy._core.multiarray")
    numbers = (np.bool_, np.int32, np.int64, np.float32, np.float64)
    return [
        argparse.Namespace, np.dtype, np.ndarray,
        *{type(np.dtype(number)) for number in numbers},
        *((function, f"{place}.{name}") for name, function in functions.items() for place in places),
    ]  # fmt: skip


def _refused(path: Path, text: str) -> FileError:
    """The error for a file that PyTorch does not read."""
    if "TorchScript" in text:
        return FileError(
            f"'{path}' is a TorchScript program, which is not run",
            hint="save its tensors in PyTorch: torch.save(torch.jit.load(FILE).state_dict(), OTHER)",
        )
    code = re.search(r"(?:GLOBAL|class|global:?|function) `?([\w.]+\.\w+)", text)
    if code or ("weights_only" in text.lower() and "Unsupported" in text):
        what = f" ({code[1]})" if code else ""
        return FileError(
            f"'{path}' holds Python objects{what}, which may run code: they are not read",
            hint="save the tensors alone, in the program that made the file: "
            "torch.save(model.state_dict(), FILE)",
        )
    first = text.strip().splitlines()[0] if text.strip() else "it ends too early"
    return FileError(f"'{path}' is cut short or damaged: {first[:200]}")


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _dictionaries(value: object, name: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The dictionaries that hold tensors by name, and their own names, joined by dots."""
    if not isinstance(value, Mapping) or depth > _DEPTH or (name and _OTHERS.search(name)):
        return
    named = {key: item for key, item in value.items() if isinstance(key, str)}
    if any(_is_tensor(item) and item.dim() for item in named.values()):
        yield name, named
        return
    for key, item in named.items():
        yield from _dictionaries(item, f"{name}.{key}" if name else key, depth + 1)


def _chosen(path: Path, found: Mapping[str, object], key: str | None) -> str:
    names = list(found)
    if key is not None:
        if key not in found:
            listed = ", ".join(f"'{n}'" for n in names if n) or "none: its tensors are at the top"
            raise FileError(
                f"'{path}' has no dictionary of tensors '{key}'",
                hint=did_you_mean(key, names) or f"there is {listed}",
            )
        return key
    plain = [name for name in names if not _EMA.search(name)] or names
    for usual in _USUAL:
        if usual in plain:
            return usual
    if len(plain) > 1:
        raise FileError(
            f"'{path}' has {len(plain)} dictionaries of tensors: {_some(plain)}", hint="choose by --key NAME"
        )
    return plain[0]


def _some(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:6]) + (", ..." if len(names) > 6 else "")


def _tensor(path: Path, name: str, tensor: torch.Tensor) -> Tensor:
    kind = str(tensor.dtype).removeprefix("torch.")
    return Tensor(name, tuple(tensor.shape), kind, lambda: _numbers(path, name, tensor))


def _numbers(path: Path, name: str, tensor: torch.Tensor) -> Array:
    import torch

    if tensor.is_quantized or tensor.layout != torch.strided or tensor.is_complex():
        kind = "quantized" if tensor.is_quantized else "sparse or complex"
        raise FileError(f"'{path}' has tensor '{name}' in a form that is not read: it is {kind}")
    size = tensor.numel() * tensor.element_size()
    if size > max(_LARGE, tensor.untyped_storage().nbytes()):
        raise FileError(
            f"'{path}' has tensor '{name}' of {size >> 20} MiB, made of fewer numbers that it repeats",
            hint="save it whole: tensor.contiguous()",
        )
    array: Array = tensor.detach().to(torch.float32).contiguous().numpy()
    return array
