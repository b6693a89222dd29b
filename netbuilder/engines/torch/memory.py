"""When memory runs out: how large a batch would have fitted."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from netbuilder.errors import EngineError

__all__ = ["out_of_memory", "too_large"]

_SAID = (
    "out of memory",  # CUDA
    "can't allocate memory",  # PyTorch's allocator for the CPU
    "not enough memory",
    "could not create a memory",  # oneDNN
    "std::bad_alloc",
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, of the device or of the machine."""
    return isinstance(error, MemoryError) or any(text in str(error).lower() for text in _SAID)


def too_large(
    batch: Mapping[str, Tensor], device: torch.device, run: Callable[[Mapping[str, Tensor]], object]
) -> EngineError:
    """The error for a batch that does not fit. Parts of it are tried by `run`, each half of the one before.

    The error that brought us here must be handled first: its traceback holds the blobs of the pass.
    """
    size = next((len(blob) for blob in batch.values() if blob.dim()), 0)
    fits, number = 0, size // 2
    while number and not fits:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            run({name: _part(blob, size, number) for name, blob in batch.items()})
            fits = number
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                break  # the net works for one size only
            error.__traceback__ = None
            number //= 2
    hint = "choose a smaller batch_size, or --dtype bf16"
    if fits:
        passes = -(-size // fits)
        hint = (
            f"batch_size: {fits} fits, it was tried; with {passes} times the iter_size, an update sees as "
            "many images"
        )
    return EngineError(f"out of memory: a pass of batch {size} does not fit{_where(device)}", hint=hint)


def _part(blob: Tensor, size: int, number: int) -> Tensor:
    return blob[:number] if blob.dim() and len(blob) == size else blob


def _where(device: torch.device) -> str:
    if device.type != "cuda":
        return " into the memory of this machine"
    return f" into the {torch.cuda.get_device_properties(device).total_memory / 2**30:.1f} GiB of {device}"
