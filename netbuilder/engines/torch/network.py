"""`NetModule`: a Net as an `nn.Module`, an interpreter over a flat list of steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from netbuilder.checks.backward import Step as Planned
from netbuilder.checks.backward import backward
from netbuilder.engines.torch.cuts import cut_bottoms, lends
from netbuilder.engines.torch.fillers import fill
from netbuilder.engines.torch.operator import Operator
from netbuilder.engines.torch.operators import OPERATORS
from netbuilder.engines.torch.passes import chosen, rewritten
from netbuilder.engines.torch.passes.channels_last import lay_out
from netbuilder.engines.torch.passes.precision import lowered, precision, widened
from netbuilder.engines.torch.steps import Step, freed
from netbuilder.errors import EngineError, did_you_mean
from netbuilder.graph import is_loss
from netbuilder.layers import RULES, is_source
from netbuilder.net import Blob, Layer, Net
from netbuilder.storage.files import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

    from netbuilder.checks.weights import Fit

__all__ = ["NetModule", "Outputs"]


class Outputs(dict[str, Tensor]):
    """The output blobs of a pass by name, and those asked for.

    `loss` is the sum of all tops with a loss weight, None if there is none.
    """

    loss: Tensor | None = None


def _flatten(out: Outputs) -> tuple[list[Any], Any]:
    return [*out.values(), out.loss], list(out)


def _unflatten(values: Iterable[Any], names: Any) -> Outputs:
    *blobs, loss = values
    out = Outputs(zip(names, blobs, strict=True))
    out.loss = loss
    return out


def _flatten_with_keys(out: Outputs) -> tuple[list[tuple[Any, Any]], Any]:
    keys = [*map(pytree.MappingKey, out), pytree.GetAttrKey("loss")]
    values, names = _flatten(out)
    return list(zip(keys, values, strict=True)), names


# For torch.export, DistributedDataParallel and others that look for the tensors of a result.
pytree.register_pytree_node(
    Outputs,
    _flatten,
    _unflatten,
    serialized_type_name="netbuilder.Outputs",
    flatten_with_keys_fn=_flatten_with_keys,
)


class NetModule(nn.Module):
    """A net that computes what Caffe computes, in the phase of the Net.

    Its children are the operators by layer name, so that the keys of `state_dict` are `<layer>.<index>`, of
    Caffe's parameter blobs. `train()` and `eval()` do not change the phase. What runs are the steps of the
    net after its passes, which depend on the blobs that the caller asks for. A Net may bring operators
    of its own (`operators`, makers by layer type), which fill their parameters themselves.
    """

    def __init__(
        self,
        net: Net,
        *,
        seed: int | None = None,
        passes: Iterable[str] | None = None,
        dtype: str = "float32",
    ) -> None:
        super().__init__()
        self._others: Mapping[str, Callable[[Layer, str], Operator]] = getattr(net, "operators", {})
        self.net_name, self.phase = net.name, net.phase
        self.passes, self.dtype = chosen(passes), dtype
        self._rewritten: dict[tuple[int, ...], list[Step]] = {}  # by the slots that are asked for
        self._steps: list[Step] = []
        self._inputs: dict[str, int] = {}  # slots of the tops of sources, by blob name
        self._outputs: dict[str, int] = {}
        self._names: dict[str, int] = {}  # the slot of the last version of each blob
        self._replaced: dict[int, float] = {}  # loss weights of slots whose gradient Caffe replaces
        self._size = 0
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        self._build(net, generator)
        self._rewritten[()] = rewritten(self._steps, self._outputs.values(), self.passes)
        if "channels_last" in self.passes:
            lay_out(self.operators().values())
        if "compile" in self.passes:
            self.compile()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if "compile" in self.passes:
            self.compile()

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the passes to come, as `torch.nn.Module.compile` does."""
        _own_caches()
        super().compile(*args, **options)

    # -- building ------------------------------------------------------------------------------------------

    def _build(self, net: Net, generator: torch.Generator) -> None:
        slots: dict[Blob, int] = {}
        owners: dict[str, tuple[Operator, int]] = {}
        steps: list[Step] = []
        plan = backward(net)
        cuts = cut_bottoms(plan)
        losses, replaced = _loss_weights(plan)
        for layer in net:
            operator = self._operator(layer, net, generator)
            self._share(operator, owners)
            if bool(net.proto.force_backward):
                for param in operator.parameters(recurse=False):
                    param.requires_grad_(True)
            for top in layer.tops:
                slots[top] = self._size
                self._names[top.name] = self._size
                self._size += 1
                if is_source(layer.proto):
                    self._inputs[top.name] = slots[top]
            tops = [slots[top] for top in layer.tops]
            bottoms = tuple(slots[bottom] for bottom in layer.bottoms)
            weights = losses[layer]
            for _ in range(len(weights) - len(tops)):  # the top of a loss that the file omits
                tops.append(self._size)
                self._size += 1
            steps.append(Step(operator, bottoms, tuple(tops), (), cuts[layer], weights, operator.precise))
        self._replaced = {slots[layer.tops[0]]: weight for layer, weight in replaced.items()}
        self._outputs = {blob.name: slots[blob] for blob in net.outputs}
        self._steps = steps

    def _operator(self, layer: Layer, net: Net, generator: torch.Generator) -> Operator:
        make = self._others.get(layer.type) or OPERATORS.get(layer.type)
        if make is None:
            raise EngineError(
                f"the PyTorch engine does not compute {layer.type} '{layer.name}': "
                f"{OPERATORS.why_not(layer.type)}",
                where=str(layer.origin),
                hint="--engine caffe runs it, if the installed Caffe has it",
            )
        if layer.unknown and not is_source(layer.proto):
            raise EngineError(
                f"{layer.type} '{layer.name}' cannot be built: {layer.unknown}",
                where=str(layer.origin),
                hint="give the shapes of the data by inputs={...} when the file is read",
            )
        operator: Operator = make(layer, net.phase)
        name, number = layer.name, 1
        while name in self._modules or not name:
            number += 1
            name = f"{layer.name}#{number}"
        # Directly, since `add_module` refuses dots and the names of Module's own attributes.
        self._modules[name] = operator
        if layer.params and layer.type not in self._others:
            shapes = [bottom.known_shape for bottom in layer.bottoms]
            facts = RULES[layer.type].infer(layer.proto, shapes)
            for i, fact in enumerate(facts.params):
                given = layer.proto.blobs[i] if i < len(layer.proto.blobs) else None
                with torch.no_grad():
                    fill(operator.blob(i), fact.filler, given, operator.initial(i), generator)
        return operator

    def _share(self, operator: Operator, owners: dict[str, tuple[Operator, int]]) -> None:
        for i, spec in enumerate(operator.proto.param):
            if spec.name and i < operator.number:
                if spec.name in owners:
                    owner, j = owners[spec.name]
                    operator.share(i, owner, j)
                    # One place may give the multipliers for all. Source: net.cpp, AppendParam.
                    for field, of in ("lr_mult", "lr_mults"), ("decay_mult", "decay_mults"):
                        if spec.HasField(field):
                            getattr(owner, of)[j] = getattr(spec, field)
                        getattr(operator, of)[i] = getattr(owner, of)[j]
                else:
                    owners[spec.name] = operator, i

    # -- running -------------------------------------------------------------------------------------------

    @property
    def params(self) -> dict[str, list[Tensor]]:
        """The parameter blobs of each layer that has any, in Caffe's order and shapes."""
        return {name: op.blobs() for name, op in self.operators().items() if op.number}

    def operators(self) -> dict[str, Operator]:
        """The operators by layer name, in the net's order."""
        return {name: op for name, op in self._modules.items() if isinstance(op, Operator)}

    def by_name(self) -> tuple[dict[str, Operator], dict[str, Operator]]:
        """The first and the last operator of each layer name, which need not be unique."""
        last = {op.name: op for op in self.operators().values()}
        first = {op.name: op for op in reversed(self.operators().values())}
        return first, last

    def load_caffemodel(self, path: str | Path) -> Fit:
        """Copy the parameters of a model (binary or HDF5) into the layers of the same name, as Caffe does.

        Returns which layers were taken, which are new in the net and which are unused in the model.
        Raises EngineError if shapes differ; nothing is copied then. Raises FileError, PrototxtError.
        """
        from netbuilder.engines.torch.weights import load

        return load(self, path)

    def save_caffemodel(self, path: str | Path, *, force: bool = False) -> None:
        """Write all parameter blobs as a .caffemodel. Raises FileError; only `force` replaces a file."""
        from netbuilder.engines.torch.weights import save

        save(self, path, force=force)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The blobs that the caller may give, in the net's order: the tops of Input and data layers."""
        return tuple(self._inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The blobs that no layer reads, which a pass returns."""
        return tuple(self._outputs)

    def has(self, name: str) -> bool:
        """Whether it has a blob of this name, which `keep` takes."""
        return name in self._names

    def forward(self, *args: Tensor, keep: Sequence[str] = (), **inputs: Tensor) -> Outputs:
        """One pass. Blobs are given by name, or in the order of `inputs`; data layers read what is not given.

        Returns the output blobs, and those in `keep`: of a blob that a layer writes over, what it holds last.
        Raises EngineError for an input that is missing or unknown.
        """
        given = self._given(args, inputs)
        device = self._device(given)
        with precision(device, self.dtype):
            return self._pass(given, keep, lowered(device))

    def _pass(self, given: Mapping[int, Tensor], keep: Sequence[str], low: bool) -> Outputs:
        wanted = {**self._outputs, **{name: self._slot(name) for name in keep}}
        slots: list[Tensor | None] = [None] * self._size
        loss: Tensor | None = None
        for step in self.steps(keep):
            if step.bottoms or not step.tops or step.tops[0] not in given:
                tops = _run(step, slots, low)
            else:
                tops = tuple(given[slot] for slot in step.tops if slot in given)
            for slot, top in zip(step.tops, tops, strict=False):
                slots[slot] = given.get(slot, top)
            for weight, top in zip(step.weights, tops, strict=False):
                if weight:
                    term = top if top.dim() == 0 else top.sum()
                    term = term if weight == 1 else term * weight
                    loss = term if loss is None else loss + term
            for slot in self._replaced.keys() & step.tops if self._replaced else ():
                term = slots[slot].detach() * self._replaced[slot]  # type: ignore[union-attr]
                loss = term if loss is None else loss + term
            for slot in step.free:
                slots[slot] = None
        out = Outputs()
        for name, slot in wanted.items():
            value = slots[slot]
            assert value is not None
            out[name] = value
        out.loss = loss
        return out

    def replace(self, number: int, operator: nn.Module) -> None:
        """Let another operator compute the step of this number; the passes run again."""
        self._steps[number] = self._steps[number]._replace(operator=operator)
        self._rewritten = {(): rewritten(self._steps, self._outputs.values(), self.passes)}

    def part(self, first: int, last: int) -> list[Step]:
        """The steps of layers that follow one another, merged where only the last top is asked for."""
        steps = self._steps[first : last + 1]
        return rewritten(steps, steps[-1].tops, [p for p in self.passes if p in ("batch_norm", "in_place")])

    def steps(self, keep: Sequence[str] = ()) -> list[Step]:
        """What runs, one step after another, for a caller who asks for these blobs too."""
        held = tuple(sorted({self._slot(name) for name in keep} - set(self._outputs.values())))
        if held not in self._rewritten:
            kept = {*self._outputs.values(), *held}
            if torch.compiler.is_compiling():  # which traces the steps, but not how they are made
                return freed(self._steps, kept)
            self._rewritten[held] = rewritten(self._steps, kept, self.passes)
        return self._rewritten[held]

    def _device(self, given: Mapping[int, Tensor]) -> torch.device:
        """The device that it computes on: that of its parameters, else of its inputs."""
        blob: Tensor | None = next(self.parameters(), None)
        if blob is None:
            blob = next(iter(given.values()), None)
        return torch.device("cpu") if blob is None else blob.device

    def _given(self, args: Sequence[Tensor], inputs: Mapping[str, Tensor]) -> dict[int, Tensor]:
        if len(args) > len(self._inputs):
            raise EngineError(
                f"{len(args)} inputs are given, and the net has {len(self._inputs)}: {self.inputs}"
            )
        named = {**dict(zip(self._inputs, args, strict=False)), **inputs}
        for name in named:
            if name not in self._inputs:
                raise EngineError(
                    f"'{name}' is not an input of the net", hint=did_you_mean(name, self._inputs)
                )
        return {self._inputs[name]: torch.as_tensor(value) for name, value in named.items()}

    def _slot(self, name: str) -> int:
        if name not in self._names:
            raise EngineError(f"the net has no blob '{name}'", hint=did_you_mean(name, self._names))
        return self._names[name]

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """On a GPU, leave out TF32, which rounds what convolutions and products read to 10 bits.

        The switches are PyTorch's own, for the whole process; its convolutions use TF32 unless told.
        """
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if any(blob.is_cuda for blob in self.parameters()):
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False
        return self

    def _load_from_state_dict(self, state: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Report the keys that no blob has; Module's own check fails for layers with a dot in their name."""
        metadata, strict, missing, unexpected, errors = rest
        super()._load_from_state_dict(state, prefix, metadata, strict, missing, [], errors)
        known = {f"{prefix}{name}.{key}" for name, op in self.operators().items() for key in op.state_dict()}
        if strict:
            unexpected += [key for key in state if key.startswith(prefix) and key not in known]


def _run(step: Step, slots: Sequence[Tensor | None], low: bool) -> tuple[Tensor, ...]:
    bottoms = [slots[i] for i in step.bottoms]
    for i in step.cut:
        bottom = bottoms[i]
        bottoms[i] = None if bottom is None else bottom.detach()
    if step.channels_last:
        bottoms = [_channels_last(bottom) for bottom in bottoms]
    if low and step.precise:
        bottoms = widened(bottoms)
        with torch.autocast(_type(bottoms), enabled=False):
            tops = step.operator(*bottoms)
    else:
        tops = step.operator(*bottoms)
    return tops if isinstance(tops, tuple) else (tops,)


def _channels_last(bottom: Tensor | None) -> Tensor | None:
    if bottom is None or bottom.dim() != 4:
        return bottom
    return bottom.contiguous(memory_format=torch.channels_last)


def _type(bottoms: Iterable[Tensor | None]) -> str:
    return next((bottom.device.type for bottom in bottoms if bottom is not None), "cpu")


Losses = dict[Layer, tuple[float, ...]]


def _loss_weights(plan: Sequence[Planned]) -> tuple[Losses, dict[Layer, float]]:
    """The loss weights of the tops of each layer, and those of losses that count without a gradient.

    A weighted top that is read, too, goes to a Split, which takes its weight over; all other weights of the
    layer are lost then. A loss without a weight in the file has 1; if its top is read, its gradient is the
    reader's, or none. Source: insert_splits.cpp, InsertSplits; net.cpp, Init; layer.hpp, SetLossWeights.
    """
    read = {name for step in plan for name in step.bottoms}
    asked, replacing = _asked(plan)
    found: dict[Layer, list[float]] = {}
    replaced = {}
    for step in plan:
        if step.layer is not None:
            layer = step.layer
            found[layer] = step.losses[: max(len(layer.tops), is_loss(layer))]
            top = step.tops[0] if step.tops else ""
            own = is_loss(layer) and top not in step.bottoms  # no other has a weight of its own
            if own and top in read and found[layer][0] and (top in asked or not step.runs):
                replaced[layer], found[layer][0] = replacing.get(top, found[layer][0]), 0.0
        else:  # the Split of a top of that layer
            i = next(i for i, top in enumerate(layer.tops) if top.name == step.bottoms[0])
            found[layer][i] += step.losses[0]
    return {layer: tuple(weights) for layer, weights in found.items()}, replaced


def _asked(plan: Sequence[Planned]) -> tuple[set[str], dict[str, float]]:
    """The blobs whose gradient a reader writes; the weights that a loss gets from a Reshape of it.

    The top of a Reshape has its gradient where the bottom has it, so that it writes none, and a weight of the
    top replaces that of the bottom.
    """
    found: set[str] = set()
    weights: dict[str, float] = {}
    for step in reversed(plan):
        lent = step.layer is not None and lends(step.layer)
        if lent and step.bottoms and (weight := weights.get(step.tops[0], step.losses[0])):
            weights[step.bottoms[0]] = weight
        if step.runs and (not lent or any(step.losses) or not found.isdisjoint(step.tops)):
            found.update(name for name, need in zip(step.bottoms, step.needs, strict=True) if need)
    return found, weights


def _own_caches() -> None:
    """Keep PyTorch's compiler from making a folder in the system's temporary one.

    Its name there is foreseeable, and what it compiles is read from it again.
    """
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        try:
            folder = cache_folder() / "torchinductor"
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError):  # no home
            return
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
