"""DavidNet: the residual net of eight layers with 94 % on CIFAR-10 in 24 epochs, and its search space.

Source: David Page, "How to Train Your ResNet", and the code cifar10-fast (`dawn_utils.net`, `experiments`,
`bag_of_tricks`). The order inside a layer is convolution, BatchNorm, ReLU, pooling, residual, extra. The
addition follows the ReLU of the residual branch, and no ReLU follows the addition. Kept from the code:
PyTorch's uniform weights within 1/sqrt(fan-in), running averages with fraction 0.9, equal decay of all
parameters, and gammas uniform in 0..1 in the backbone studies. Layer names are our own. docs/davidnet.md
lists what stock Caffe cannot express.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from legos.activation import CELULego, ReLULego
from legos.base import Lego, SequenceLego
from legos.conv import ConvLego
from legos.head import ClassifierLego, ConcatPoolLego, MaxPoolLego
from legos.loss import LabelSmoothingLossLego, LogitsScaleLego
from legos.merge import EltwiseReLULego
from legos.normalization import BNLego, GhostBNLego
from legos.pooling import HalvingMaxPoolLego
from legos.shortcut import ShortcutLego
from legos.whitening import WhiteningLego
from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.net import Net
from netbuilder.networks.registry import NetConfig, network, option, with_default
from netbuilder.networks.residual import finish, source

__all__ = ["BACKBONES", "LAYERS", "DavidNetConfig", "PageConfig", "stitch"]

LAYERS = ("layer1", "layer2", "layer3")
NONE = "none"


class Backbone(NamedTuple):
    """One of the studies that led to the final net.

    `kernel` is that of the layers' convolutions, which have stride 2 unless `pooled`; `widths` are multiples
    of prep's width; `pooling` and `bias` belong to the head; `scale` multiplies the scores.
    """

    kernel: int
    pooled: bool
    widths: tuple[int, int, int]
    pooling: type[Lego]
    bias: bool
    scale: float
    uniform_gamma: bool
    residual: tuple[str, ...]


# In the order of the studies.
BACKBONES = {
    "no_repeats": Backbone(1, False, (2, 4, 4), ConcatPoolLego, True, 1, True, ()),
    "strided": Backbone(3, False, (2, 4, 4), ConcatPoolLego, True, 1, True, ()),
    "pooled": Backbone(3, True, (2, 4, 4), ConcatPoolLego, True, 1, True, ()),
    "global_max": Backbone(3, True, (2, 4, 8), MaxPoolLego, True, 1, True, ()),
    "final": Backbone(3, True, (2, 4, 8), MaxPoolLego, False, 0.125, False, ("layer1", "layer3")),
}


@dataclass(frozen=True, kw_only=True)
class PageConfig(NetConfig):
    """The common part of Page's nets: CIFAR-10's images, initial values and learning. Raises ConfigError."""

    classes: int = with_default(NetConfig, "classes", 10)
    input_size: tuple[int, int] = with_default(NetConfig, "input_size", (32, 32))
    width: int = option(
        help="channels of the first convolution; the other widths are multiples of it", default=64
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least("width", 1)

    @property
    def features(self) -> int:
        """The number of inputs of the inner product."""
        raise NotImplementedError

    @property
    def scale_fields(self) -> dict[str, Any]:
        """The fields of all Scale layers."""
        return {"filler": {"type": "uniform", "min": 0, "max": 1}}

    def layer_defaults(self, phase: str) -> dict[str, dict[str, Any]]:
        """Initialisation as in PyTorch, normalisation and decay as in Page's; see the module docstring."""
        bound = self.features**-0.5
        uniform = {"type": "uniform", "min": -bound, "max": bound}
        own: dict[str, dict[str, Any]] = {
            "BatchNorm": {"moving_average_fraction": 0.9},
            "InnerProduct": {
                "weight_filler": uniform,
                "bias_filler": uniform,
                "param": [{"lr_mult": 1, "decay_mult": 1}] * 2,
            },
            "Scale": self.scale_fields,
        }
        shared = super().layer_defaults(phase)
        return {type: {**own.get(type, {}), **shared.get(type, {})} for type in {**own, **shared}}


@dataclass(frozen=True, kw_only=True)
class DavidNetConfig(PageConfig):
    """The options; the defaults give the final net. Raises ConfigError."""

    residual: tuple[str, ...] | None = option(
        help="layers that end in a residual block, or none (default: layer1 layer3; none in the studies)",
        default=None,
        many=True,
        parse=str,
    )
    extra: tuple[str, ...] = option(
        help="layers with a second convolution, or none", default=(NONE,), many=True, parse=str
    )
    backbone: str = option(
        help="the final backbone, or one of an earlier study", default="final", choices=tuple(BACKBONES)
    )
    logits_scale: float | None = option(
        help="factor of the scores (default: 0.125; 1 in the studies)", default=None, parse=float
    )
    label_smoothing: float | None = option(
        help="weight of the mean over all classes in the loss (Page: 0.2; default: the plain loss)",
        default=None,
        parse=float,
    )
    celu: float | None = option(
        help="alpha of CELU (Page: 0.075, then 0.3; default: ReLU)", default=None, parse=float
    )
    ghost: int | None = option(
        help="number of parts into which BatchNorm cuts a training batch (Page: 16; default: plain "
        "BatchNorm)",
        default=None,
    )
    pool_first: bool = option(
        help="max pooling before BatchNorm instead of after ReLU", default=False, switch=True
    )
    frozen_gamma: bool = option(
        help="keep gammas at 1; betas learn 64 times as fast, with the same decay", default=False, switch=True
    )
    whitening: bool = option(
        help="start with a frozen 3x3 convolution; app/cifar10/whiten.py computes its weights from images",
        default=False,
        switch=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_known("backbone", BACKBONES)
        self._check_layers("residual", self.residual or ())
        self._check_layers("extra", self.extra)
        if self.ghost is not None:
            self.check_at_least("ghost", 2)
        for key in ("celu", "logits_scale"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise ConfigError(f"{key} must be above 0, got {value:g}", key=key)
        smoothing = self.label_smoothing
        if smoothing is not None and not 0 < smoothing < 1:
            raise ConfigError(
                f"label_smoothing must be above 0 and below 1, got {smoothing:g}", key="label_smoothing"
            )
        if smoothing is not None and self.classes < 2:
            raise ConfigError("label_smoothing needs at least 2 classes, got 1", key="label_smoothing")
        if self.pool_first and not self.design.pooled:
            raise ConfigError(
                f"pool_first needs a backbone with pooling; {self.backbone} has convolutions of stride 2",
                key="pool_first",
                hint="remove pool_first, or use backbone pooled, global_max or final",
            )
        height, width = self.input_size
        if self.design.pooled and (height % 8 or width % 8):
            raise ConfigError(
                f"input_size must be a multiple of 8, since it is halved three times, got {height}x{width}",
                key="input_size",
                hint="Caffe's pooling rounds odd sizes up, but PyTorch's rounds them down",
            )

    def _check_layers(self, key: str, names: tuple[str, ...]) -> None:
        if names == (NONE,):
            return
        for name in names:
            if name not in LAYERS:
                raise ConfigError(
                    f"{key} must be none, or layers among {', '.join(LAYERS)}, got '{name}'",
                    key=key,
                    hint=did_you_mean(name, LAYERS),
                )
        if len(set(names)) < len(names):
            raise ConfigError(f"{key} names a layer twice: {' '.join(names)}", key=key)

    @property
    def design(self) -> Backbone:
        """The chosen backbone."""
        return BACKBONES[self.backbone]

    @property
    def residual_layers(self) -> tuple[str, ...]:
        """The layers that end in a residual block."""
        return self.design.residual if self.residual is None else _without_none(self.residual)

    @property
    def extra_layers(self) -> tuple[str, ...]:
        """The layers with a second convolution."""
        return _without_none(self.extra)

    @property
    def features(self) -> int:
        """The number of inputs of the inner product."""
        return self.width * self.design.widths[-1] * (2 if self.design.pooling is ConcatPoolLego else 1)

    @property
    def scale_fields(self) -> dict[str, Any]:
        """The fields of all Scale layers."""
        if self.frozen_gamma:
            learns = {"lr_mult": 64, "decay_mult": 1 / 64}
            return {"param": [{"lr_mult": 0, "decay_mult": 0}, learns]}
        return super().scale_fields if self.design.uniform_gamma else {}

    @property
    def title(self) -> str:
        """davidnet, and the options that differ from the final net."""
        parts = ["davidnet"]
        parts += [self.backbone] if self.backbone != "final" else []
        parts += [f"w{self.width}"] if self.width != 64 else []
        if self.residual_layers != self.design.residual:
            parts += ["residual", *(self.residual_layers or (NONE,))]
        parts += ["extra", *self.extra_layers] if self.extra_layers else []
        parts += ["pool_first"] if self.pool_first else []
        parts += ["celu"] if self.celu is not None else []
        parts += [f"ghost{self.ghost}"] if self.ghost else []
        parts += ["frozen_gamma"] if self.frozen_gamma else []
        parts += ["whitening"] if self.whitening else []
        return "_".join(parts)

    def unit(
        self, name: str, num_output: int, *, kernel: int = 3, stride: int = 1, pooled: bool = False
    ) -> Lego:
        """Convolution, normalisation, activation, and pooling at the place that the config states."""
        convolution = ConvLego(
            name=name, num_output=num_output, kernel=kernel, stride=stride, fan_in_uniform=True
        )
        pool_first = pooled and self.pool_first
        norm: Callable[..., Lego] = partial(BNLego, in_place=not pool_first)
        if self.ghost:
            norm = partial(GhostBNLego, splits=self.ghost)
        activation: Callable[..., Lego] = (
            ReLULego if self.celu is None else partial(CELULego, alpha=self.celu)
        )
        pool = (HalvingMaxPoolLego(name=name),) if pooled else ()
        rest = (norm(name=name), activation(name=name))
        parts = (convolution, *pool, *rest) if pool_first else (convolution, *rest, *pool)
        return SequenceLego(name=name, parts=parts)

    def prep(self) -> Lego:
        """The first unit, after the whitening if there is one."""
        if not self.whitening:
            return self.unit("prep", self.width)
        parts = (WhiteningLego(name="prep"), self.unit("prep", self.width, kernel=1))
        return SequenceLego(name="prep", parts=parts)

    def layer(self, name: str, num_output: int) -> Lego:
        """One of the three layers."""
        pooled = self.design.pooled
        parts = [
            self.unit(name, num_output, kernel=self.design.kernel, stride=1 if pooled else 2, pooled=pooled)
        ]
        if name in self.residual_layers:
            block = f"{name}_residual"
            units = tuple(self.unit(f"{block}_{i}", num_output) for i in ("res1", "res2"))
            main, merge = SequenceLego(name=block, parts=units), EltwiseReLULego(name=block, relu=False)
            parts.append(ShortcutLego(name=block, main=main, merge=merge))
        if name in self.extra_layers:
            parts.append(self.unit(f"{name}_extra", num_output))
        return SequenceLego(name=name, parts=tuple(parts))


@network("davidnet", DavidNetConfig)
def stitch(cfg: DavidNetConfig, phase: str) -> Net:
    """DavidNet for CIFAR-10, its search space, its backbone studies, and its bag of tricks."""
    net = cfg.net(phase)
    # Ghost BatchNorm needs a batch that is a multiple of its parts.
    x, label = source(cfg, net, phase, batch=cfg.ghost if phase == "train" else None)
    with net.scope("prep", comment="prep"):
        x = cfg.prep().attach(net, x)
    for name, times in zip(LAYERS, cfg.design.widths, strict=True):
        with net.scope(name, comment=f"{name}: {times * cfg.width} channels"):
            x = cfg.layer(name, times * cfg.width).attach(net, x)
    with net.scope("head", comment="head"):
        head = ClassifierLego(
            name=f"fc{cfg.classes}", num_output=cfg.classes, pooling=cfg.design.pooling, bias=cfg.design.bias
        )
        x = head.attach(net, x)
        factor = cfg.design.scale if cfg.logits_scale is None else cfg.logits_scale
        if factor != 1:
            x = LogitsScaleLego(name="logits", factor=factor).attach(net, x)
        loss = None
        if cfg.label_smoothing is not None:
            loss = LabelSmoothingLossLego(name="loss", epsilon=cfg.label_smoothing)
        finish(net, x, label, loss)
    return net


def _without_none(names: tuple[str, ...]) -> tuple[str, ...]:
    return () if names == (NONE,) else names
