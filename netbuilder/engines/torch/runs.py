"""A test and a timing of a `NetModule`, in this process; both stop after the pass that runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, saved_tensors_hooks

from netbuilder.engines.torch.network import NetModule, Outputs
from netbuilder.engines.torch.operator import Tops
from netbuilder.engines.torch.passes.fusion import leading
from netbuilder.engines.torch.passes.precision import precision
from netbuilder.layers import source_of
from netbuilder.layers.traits import Form
from netbuilder.training.events import Ended, Event, LayerTime, Tested, Testing, Timed, Timing
from netbuilder.training.plan import NetPlan

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["Means", "Sums", "TestRun", "TimeRun", "compute", "means", "precision", "sums"]

_EVERY = 0.5  # seconds between two reports of a test


def compute(
    module: NetModule, plan: NetPlan, inputs: Iterable[Mapping[str, Array]], blobs: Sequence[str]
) -> Iterator[dict[str, Array]]:
    """The values of these blobs after each pass."""
    with _Run(module, plan) as run, torch.no_grad():
        for arrays in inputs:
            out = run.once({name: torch.from_numpy(array) for name, array in arrays.items()}, blobs)
            yield {name: out[name].float().cpu().numpy() for name in blobs}


class Sums(NamedTuple):
    """The sums of the outputs and of the loss over some passes of a test."""

    outputs: dict[str, list[float]]
    loss: float


class Means(NamedTuple):
    """The means of the outputs and of the loss over the passes of a test."""

    outputs: dict[str, tuple[float, ...]]
    loss: float


def sums(
    passes: int, once: Callable[[], Outputs], stopped: Callable[[], bool]
) -> Generator[Testing, None, Sums | int]:
    """Run passes of a test and report how many are done; an int if it was stopped after so many.

    The sums stay on the device until the end.
    """
    reported = time.monotonic()
    found: dict[str, Tensor] = {}
    losses: list[Tensor] = []
    for done in range(1, passes + 1):
        with torch.no_grad():
            out = once()
        for name in sorted(out):  # in Caffe's order
            value = out[name].double().flatten()
            found[name] = found[name] + value if name in found else value
        if out.loss is not None:
            losses.append(out.loss.double())
        if stopped() and done < passes:
            return done
        if time.monotonic() - reported > _EVERY:
            reported = time.monotonic()
            yield Testing(done, passes)
    loss = float(torch.stack(losses).sum()) if losses else 0.0
    return Sums({name: value.tolist() for name, value in found.items()}, loss)


def means(parts: Sequence[Sums], passes: int) -> Means:
    """The means over all passes of a test, of which each part has some."""
    whole: dict[str, list[float]] = {}
    for part in parts:
        for name, values in part.outputs.items():
            before = whole.get(name)
            whole[name] = values if before is None else [a + b for a, b in zip(before, values, strict=True)]
    outputs = {name: tuple(value / passes for value in values) for name, values in whole.items()}
    return Means(outputs, sum(part.loss for part in parts) / passes)


class _Run:
    """What both runs share: the threads, the device, and the stop."""

    def __init__(self, module: NetModule, plan: NetPlan) -> None:
        self._module, self._plan = module, plan
        self._device = next((b.device for b in module.state_dict().values()), torch.device("cpu"))
        self._stopped = False
        self._threads = torch.get_num_threads()

    def __enter__(self) -> Any:
        torch.set_num_threads(self._plan.threads)
        return self

    def __exit__(self, *error: object) -> None:
        torch.set_num_threads(self._threads)

    def stop(self) -> None:
        """End after this pass."""
        self._stopped = True

    def kill(self) -> None:
        """End after the operator that runs: the caller raises KeyboardInterrupt."""
        self._stopped = True

    def once(self, inputs: dict[str, Tensor], keep: Sequence[str] = ()) -> Outputs:
        """One pass on the device."""
        moved = {name: value.to(self._device) for name, value in inputs.items()}
        out: Outputs = self._module(keep=keep, **moved)
        return out

    def _fed(self, forms: set[Form], value: Any) -> dict[str, Tensor]:
        """Blobs for the sources whose data the caller passes."""
        fed = {}
        for layer in self._plan.net:
            source = source_of(layer.type)
            if source is not None and source.form in forms:
                fed.update({top.name: value(top.known_shape, device=self._device) for top in layer.tops})
        return fed


class TestRun(_Run):
    """The means of the outputs over the passes. Input blobs are zeros, as in Caffe."""

    __test__ = False  # pytest takes it for tests

    def __iter__(self) -> Iterator[Event]:
        passes, inputs = self._plan.iterations, self._fed({Form.FED}, torch.zeros)
        found = yield from sums(passes, lambda: self.once(inputs), lambda: self._stopped)
        if isinstance(found, int):
            yield Ended("stopped", found)
            return
        yield Tested(0, 0, passes, *means([found], passes))
        yield Ended("done", passes)


class TimeRun(_Run):
    """The seconds of each layer, forward and backward, in each pass; and the memory of a pass.

    Input blobs are drawn. The backward pass starts at the losses, or else at all outputs. The time of layers
    that a pass has merged is that of the first of them.
    """

    def __iter__(self) -> Iterator[Event]:
        passes = self._plan.iterations
        torch.manual_seed(0)
        inputs = self._fed({Form.FED}, torch.rand)
        memory = self._memory(inputs)  # the first pass also allocates what later passes use again
        clocks = {
            leading(step.operator): _Clock(step.operator, self._device) for step in self._module.steps()
        }
        seen: dict[Node, None] = {}
        for done in range(1, passes + 1):
            for clock in clocks.values():
                clock.begin(seen)
            self._backward(self.once(inputs))
            seen.clear()
            for clock in clocks.values():
                clock.end()
            yield Timing(done, passes)
            if self._stopped and done < passes:
                yield Ended("stopped", done)
                return
        for clock in clocks.values():
            clock.remove()
        nothing = (0.0,) * passes
        layers = []
        for operator in self._module.operators().values():
            times = clocks.get(operator)
            forward, backward = (times.forward, times.backward) if times else (nothing, nothing)
            layers.append(LayerTime(operator.name, operator.proto.type, tuple(forward), tuple(backward)))
        yield Timed(tuple(layers), memory=memory)
        yield Ended("done", passes)

    def _backward(self, out: Outputs) -> None:
        heads = [out.loss] if out.loss is not None else list(out.values())
        heads = [head for head in heads if head.requires_grad]
        if heads:
            torch.autograd.backward(heads, [torch.ones_like(head) for head in heads])
        self._module.zero_grad(set_to_none=True)

    def _memory(self, inputs: dict[str, Tensor]) -> dict[str, int]:
        """The bytes of the parameters, of what a pass keeps for the backward pass, and at most on a GPU."""
        own = {blob.data_ptr(): blob.nbytes for blob in self._module.state_dict().values()}
        kept: dict[int, int] = {}
        held: list[Tensor] = []  # freed memory would be counted twice under another address

        def pack(value: Tensor) -> Tensor:
            storage = value.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
                held.append(value.detach())
            return value.detach()

        gpu = self._device.type == "cuda"
        if gpu:
            torch.cuda.reset_peak_memory_stats(self._device)
        with saved_tensors_hooks(pack, lambda value: value):
            out = self.once(inputs)
        held.clear()
        self._backward(out)
        memory = {"parameters": sum(own.values()), "kept for backward": sum(kept.values())}
        if gpu:
            memory["peak on the GPU"] = torch.cuda.max_memory_allocated(self._device)
        return memory


class _Clock:
    """Times one operator: its forward pass, and each node that it adds to the graph of gradients."""

    def __init__(self, operator: nn.Module, device: torch.device) -> None:
        self.forward: list[float] = []
        self.backward: list[float] = []
        self._gpu = device if device.type == "cuda" else None
        self._seen: dict[Node, None] = {}
        self._sums = [0.0, 0.0]
        self._since = 0.0
        self._hooks = [
            operator.register_forward_pre_hook(self._before),
            operator.register_forward_hook(self._after),
        ]

    def begin(self, seen: dict[Node, None]) -> None:
        """A pass begins; `seen` are the nodes of the layers before, which all clocks of a pass share."""
        self._seen = seen
        self._sums = [0.0, 0.0]

    def end(self) -> None:
        """A pass has ended."""
        self.forward.append(self._sums[0])
        self.backward.append(self._sums[1])

    def remove(self) -> None:
        """Leave the operator as it was."""
        for hook in self._hooks:
            hook.remove()

    def _now(self) -> float:
        if self._gpu is not None:
            torch.cuda.synchronize(self._gpu)
        return time.perf_counter()

    def _start(self, *_: object) -> None:
        self._since = self._now()

    def _before(self, operator: object, bottoms: tuple[Tensor | None, ...]) -> None:
        for bottom in bottoms:
            if isinstance(bottom, Tensor) and bottom.grad_fn is not None:
                self._seen[bottom.grad_fn] = None
        self._start()

    def _after(self, operator: object, bottoms: object, tops: Tops) -> None:
        self._sums[0] += self._now() - self._since
        found = [top.grad_fn for top in (tops if isinstance(tops, tuple) else (tops,))]
        while found:
            node = found.pop()
            if node is None or node in self._seen:
                continue
            self._seen[node] = None
            node.register_prehook(self._start)
            node.register_hook(self._stop)
            found += [following for following, _ in node.next_functions]

    def _stop(self, *_: object) -> None:
        self._sums[1] += self._now() - self._since
