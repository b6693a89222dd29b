"""The traits of a layer type: what netbuilder knows of it besides the shapes and counts that its rule infers.

Each registered type states them with its rule, in `@rule(..., traits=...)`, and other modules read them from
the type's `Rule` instead of keeping tables of layer types. A trait has three states: known, deliberately
none (False, None, "", () or `NOTHING`), and `Unknown` with the reason. `UNDECIDED` is the default of a trait
that a type does not state; it reads as unknown, and a test refuses it.

A trait that depends on the fields of a layer is a function of its `LayerParameter`; `of_layer` evaluates it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from netbuilder.layers.views import Sees, nothing

if TYPE_CHECKING:
    from netbuilder.layers.arithmetic import Window
    from netbuilder.schema import LayerParameter

__all__ = [
    "COMPUTES",
    "UNDECIDED",
    "Diff",
    "Form",
    "GradientReads",
    "Keeps",
    "Kernel",
    "Reads",
    "Scores",
    "Shares",
    "Source",
    "Spoils",
    "Tops",
    "Traits",
    "Unknown",
    "completed",
    "known",
    "of_layer",
    "undecided",
]

T = TypeVar("T")


class Unknown(NamedTuple):
    """A trait that is not known, and why."""

    why: str


UNDECIDED = Unknown("the layer type does not state it")


class Spoils(Enum):
    """What a layer computes wrong when its top is written over its bottom."""

    NOTHING = 0
    GRADIENT = 1
    VALUES = 2


class Shares(Enum):
    """Whether the tops live in the memory of the bottom (a reference, not a copy)."""

    NEVER = 0
    ALONE = 1  # only with one bottom and one top
    ALWAYS = 2


class Diff(Enum):
    """Where the gradient of a blob lies in memory, and which backward pass relies on it.

    Every blob has a diff of its own unless a layer shares it. A layer of REPLACES after one of LENT loses the
    gradient: the top of the first then has another diff than the blob whose memory it was in.
    """

    OWN = 0
    LENT = 1  # the top's diff is that of the bottom, of a parameter or of an inner net: it copies no gradient
    REPLACES = 2  # its backward pass gives the bottom the diff of the top


class GradientReads(Enum):
    """What the backward pass reads from the layer's own top; a later in-place layer must not change it."""

    NOTHING = 0
    SIGN = 1  # of each element, and only where the layer itself works in place
    ELEMENTS = 2  # each element, for its own gradient alone
    ALL = 3  # every element, also for gradients that do not pass through it


Reads = dict[int, GradientReads]  # by the place of a top


class Keeps(Enum):
    """What of each element is preserved in the top."""

    NOTHING = 0
    SIGN = 1  # positive stays positive, and nothing else becomes positive
    POSITIVE = 2  # as SIGN, and positive values do not change


class Kernel(NamedTuple):
    """The window that a layer slides over its bottom, and its groups.

    `window` takes the layer and its bottom's shape (None: unknown; two spatial axes are assumed), and
    returns None if the layer has no window. It may raise ShapeError. `group` takes the layer and the shape
    of its weight, () without one.
    """

    window: Callable[[LayerParameter, tuple[int, ...] | None], Window | None]
    group: Callable[[LayerParameter, tuple[int, ...]], int]


class Form(Enum):
    """Where a data layer's data comes from."""

    FED = "passed by the caller"
    MADE = "made by the layer"
    DATABASE = "a database"
    IMAGE_LIST = "a text file of image names and labels"
    HDF5_LIST = "a text file of names of HDF5 files"
    WINDOW_FILE = "a window file"
    FRAMES = "a video or a camera"


class Tops(Enum):
    """What the tops of a data layer hold."""

    ANY = "blobs of any shape"
    LABELLED = "a batch of images, (n, c, h, w), and optionally their labels, (n,)"
    BOXED = "a batch of images, (n, c, h, w), and optionally all boxes of the batch"


class Source(NamedTuple):
    """A data layer.

    `message` holds its batch size; `file` is the field that names its file, as `message.field`, "" if none.
    `transforms` is true if it reads `transform_param`.
    """

    form: Form
    message: str
    file: str = ""
    tops: Tops = Tops.ANY
    transforms: bool = False

    @property
    def stored(self) -> bool:
        """Whether the data comes from files or a device; each pass then advances in it."""
        return self.form not in (Form.FED, Form.MADE)

    @property
    def images(self) -> bool:
        """Whether the first top is a batch of images."""
        return self.tops is not Tops.ANY

    def file_of(self, layer: LayerParameter) -> str:
        """The file that a layer names, "" if none."""
        message, _, field = self.file.partition(".")
        return str(getattr(getattr(layer, message), field)) if field else ""


class Scores(NamedTuple):
    """How a layer reads class labels (bottom 1): the axis of the classes in bottom 0, the label to ignore."""

    axis: int
    ignored: int | None


Bottoms = tuple[int, ...]  # by number


class Traits(NamedTuple):
    """What a layer type is; the fields are in the order in which to decide them.

    `sees`: what the tops see of what the bottoms see (`netbuilder.layers.views`).
    `keeps_shape`: whether the shapes of its tops follow from those of its bottoms, so that no field of a fork
    changes them.
    `sizes_only`: the bottoms from which it reads only the shape.
    `kernel`: the window that it slides; None: it has none.
    `no_forward`: why Caffe aborts in its forward pass although it has built the layer: a function of the
    layer, the shapes of the bottoms and the phase it runs in, "" if it does not; None: it never does.
    `no_gradient`: the bottoms for which it has no gradient, so that Caffe aborts if it needs one; -1 is the
    last bottom. A function of the shapes of the bottoms, if they decide.
    `no_backward`: whether Caffe aborts in its backward pass, whichever gradients it needs.
    `unforced`: the bottoms for which `force_backward` of the net asks no gradient.
    `spoils`: what it computes wrong when it writes over its bottom.
    `gradient_reads`: what its backward pass reads from its first top.
    `reads_tops`: what it reads from further tops, or from the first where the shapes of the bottoms decide: a
    function of the layer and these shapes; None: nothing.
    `positive`: whether the top is positive everywhere.
    `keeps`: what of each element is preserved in the top.
    `shares`: whether the tops live in the memory of the bottom.
    `diff`: where the gradients of its top and its bottom lie in memory.
    `learns`: how many parameter blobs it has; a rule knows their shapes, once those of the bottoms are known.
    `normalises`: over how many values of its bottom it normalises, so that with one its top is constant:
    a function of the layer, the shape of the bottom and the phase it runs in; None: it does not normalise.
    `draws`: whether a forward pass in TRAIN draws random numbers.
    `linear`: whether it multiplies by its weights, so that its outputs are unbounded scores and a following
    BatchNorm cancels its bias.
    `weight_filler`: the message whose `weight_filler` fills the weights that it multiplies by, "" if none.
    `rebuilds`: whether it creates its parameter blobs again and ignores those in the file.
    `engine`: whether Caffe chooses the implementation by the field `engine` of its message.
    `applies`: the activation that a loss applies to its scores itself, "" if none.
    `scores`: how it reads class labels; None: it reads none, or checks them itself.
    `most`: of a loss, the value per label that stands in for an infinite one, 0 if it has none.
    `metric`: whether its tops are for people to read.
    `source`: where a data layer gets its data; None: it is not a data layer.
    `writes`: the files and folders that its forward pass writes, of a layer; None: none.
    `code`: the code that a layer names and Caffe runs; None: none.
    `defaults`: fields that `Net.add` writes if neither the call nor the net sets them.
    """

    sees: Sees | Unknown = UNDECIDED
    keeps_shape: bool | Unknown = UNDECIDED
    sizes_only: tuple[int, ...] | Unknown = UNDECIDED
    kernel: Kernel | Unknown | None = UNDECIDED
    no_forward: Callable[[LayerParameter, Sequence[tuple[int, ...]], str], str] | Unknown | None = UNDECIDED
    no_gradient: Bottoms | Callable[[Sequence[tuple[int, ...]]], Bottoms] | Unknown = UNDECIDED
    no_backward: bool | Unknown = UNDECIDED
    unforced: tuple[int, ...] | Unknown = UNDECIDED
    spoils: Spoils | Callable[[LayerParameter], Spoils] | Unknown = UNDECIDED
    gradient_reads: GradientReads | Callable[[LayerParameter], GradientReads] | Unknown = UNDECIDED
    reads_tops: Callable[[LayerParameter, Sequence[tuple[int, ...]]], Reads] | Unknown | None = UNDECIDED
    positive: bool | Callable[[LayerParameter], bool] | Unknown = UNDECIDED
    keeps: Keeps | Unknown = UNDECIDED
    shares: Shares | Unknown = UNDECIDED
    diff: Diff | Callable[[LayerParameter], Diff] | Unknown = UNDECIDED
    learns: int | Callable[[LayerParameter], int] | Unknown = UNDECIDED
    normalises: Callable[[LayerParameter, tuple[int, ...], str], int | None] | Unknown | None = UNDECIDED
    draws: bool | Callable[[LayerParameter], bool] | Unknown = UNDECIDED
    linear: bool | Unknown = UNDECIDED
    weight_filler: str | Unknown = UNDECIDED
    rebuilds: bool | Unknown = UNDECIDED
    engine: bool | Unknown = UNDECIDED
    applies: str | Unknown = UNDECIDED
    scores: Callable[[LayerParameter], Scores] | Unknown | None = UNDECIDED
    most: float | Unknown = UNDECIDED
    metric: bool | Unknown = UNDECIDED
    source: Source | Unknown | None = UNDECIDED
    writes: Callable[[LayerParameter], Sequence[str]] | Unknown | None = UNDECIDED
    code: Callable[[LayerParameter], str] | Unknown | None = UNDECIDED
    defaults: Mapping[str, object] | Unknown = UNDECIDED


def known(trait: T | Unknown, otherwise: T) -> T:
    """A trait, or `otherwise` if it is unknown."""
    return otherwise if isinstance(trait, Unknown) else trait


def of_layer(trait: T | Callable[[LayerParameter], T] | Unknown, layer: LayerParameter, otherwise: T) -> T:
    """A trait of one layer, given its `LayerParameter`; `otherwise` if it is unknown."""
    if isinstance(trait, Unknown):
        return otherwise
    return trait(layer) if callable(trait) else trait


def undecided(traits: Traits) -> list[str]:
    """The names of the traits that a type does not state."""
    return [name for name, value in zip(Traits._fields, traits, strict=True) if value is UNDECIDED]


def completed(
    traits: Traits, *, bottoms: bool, tops: bool, may_lack_bottoms: bool, loss: bool, spoils: bool
) -> Traits:
    """The traits, completed with those that follow from the rest of a rule.

    `bottoms` and `tops`: whether it can have any; `may_lack_bottoms`: whether it can have none; `loss`:
    whether it is a loss; `spoils`: whether Caffe accepts it in place and computes something else.
    """
    follows: dict[str, Any] = {}
    if not (bottoms and tops):
        follows.update(_NO_PATH)
    if not may_lack_bottoms:
        follows["source"] = None
    if not loss:
        follows.update(applies="", most=0.0)
    follows["unforced"] = (1,) if loss else ()  # loss_layer.hpp, AllowForceBackward
    if not spoils:
        follows["spoils"] = Spoils.NOTHING
    return traits._replace(**{name: follows[name] for name in undecided(traits) if name in follows})


# The traits of a type without a path from a bottom to a top.
_NO_PATH: dict[str, Any] = {
    "sees": nothing,
    "keeps_shape": False,
    "sizes_only": (),
    "kernel": None,
    "no_gradient": (),
    "no_backward": False,
    "unforced": (),
    "spoils": Spoils.NOTHING,
    "gradient_reads": GradientReads.NOTHING,
    "reads_tops": None,
    "positive": False,
    "keeps": Keeps.NOTHING,
    "shares": Shares.NEVER,
    "diff": Diff.OWN,
}

# An ordinary computing layer: deterministic, without weights, with tops in their own memory. It leaves
# `sees`, `no_gradient` and `spoils` undecided, because they have no safe default; `unforced` follows from
# whether it is a loss.
COMPUTES = Traits(
    keeps_shape=False,
    sizes_only=(),
    kernel=None,
    no_forward=None,
    gradient_reads=GradientReads.NOTHING,
    reads_tops=None,
    positive=False,
    keeps=Keeps.NOTHING,
    shares=Shares.NEVER,
    no_backward=False,
    diff=Diff.OWN,
    learns=0,
    normalises=None,
    draws=False,
    linear=False,
    weight_filler="",
    rebuilds=False,
    engine=False,
    scores=None,
    most=0.0,
    metric=False,
    writes=None,
    code=None,
    defaults={},
)
