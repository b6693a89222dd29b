"""BatchNorm, Scale, Bias, LRN and MVN. Source: Forward_cpu and Backward_cpu in each layer's .cpp file."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from netbuilder.engines.torch.operator import Operator, canonical
from netbuilder.engines.torch.operators.across import normalized_across, ranks_of_statistics
from netbuilder.errors import EngineError
from netbuilder.net import Layer

__all__ = ["COVERED", "REFUSED", "batch_normalized", "counted"]

_WITHIN = 1


class BatchNorm(Operator):
    """Normalisation of each channel by the statistics of the batch, or by stored ones.

    Blobs: decaying sums of the means and of the variances of the batches, and the sum of their weights.
    intel/caffe adds a scale and a bias, and a ReLU. NVIDIA/caffe, with scale and bias, stores averages
    instead of sums: the last of the first two batches, and then decaying ones.
    """

    insists = True

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        p = self.proto.batch_norm_param
        if p.stats_batch_size:
            raise EngineError(
                f"BatchNorm '{layer.name}': the PyTorch engine does not compute stats_batch_size",
                where=str(layer.origin),
                hint="leave it out; the statistics are then those of the whole batch",
            )
        intel = any(p.HasField(field) for field in ("use_weight_bias", "bias_term", "filler"))
        self._averages = self.number > 3 and not intel
        self._scale = 3 if self.number > 3 else None
        self._bias = 4 if self.number > 4 else None
        self._relu = p.relu
        self._fraction = p.moving_average_fraction
        self._eps = max(p.eps, 1e-5) if self._averages else p.eps
        stored = p.use_global_stats if p.HasField("use_global_stats") else not self.trains
        self._stored = not self.trains if self._averages else stored
        self.fresh = not p.relu
        if self._averages:  # how many batches it has seen
            self.register_buffer("batches", torch.zeros((), dtype=torch.int64), persistent=False)

    def initial(self, i: int) -> float:
        """A scale starts at 1; so does NVIDIA's third blob, which nothing reads."""
        return 1.0 if i == 3 or (i == 2 and self._averages) else 0.0

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """In TRAIN, unless use_global_stats is set, it updates the stored statistics."""
        scale = None if self._scale is None else self.blob(self._scale)
        bias = None if self._bias is None else self.blob(self._bias)
        top = self.normalized(x, scale, bias)
        return functional.relu(top) if self._relu else top

    @property
    def plain(self) -> bool:
        """Whether it only normalises, as Caffe's does: no scale, bias or ReLU of a fork."""
        return self._scale is None and not self._relu

    @property
    def stored(self) -> bool:
        """Whether it normalises by stored statistics."""
        return self._stored

    @property
    def eps(self) -> float:
        """What is added to a variance."""
        return self._eps

    def normalized(self, x: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
        """The normalised bottom times a scale plus a bias, both by channel; it updates the statistics."""
        if self._stored:
            mean, variance = self.statistics()
            cudnn = torch.backends.cudnn.enabled
            return torch.batch_norm(x, scale, bias, mean, variance, False, 0.0, self._eps, cudnn)
        top, statistics = batch_normalized(x, scale, bias, self._eps)
        self.update(statistics, counted(x))
        return top

    def statistics(self) -> tuple[Tensor, Tensor]:
        """The stored mean and variance of each channel."""
        mean, variance, factor = self.blob(0), self.blob(1), self.blob(2)
        if self._averages:
            return mean, variance
        weight = torch.where(factor == 0, factor, 1 / factor)
        return mean * weight, variance * weight

    def update(self, statistics: list[Tensor], count: int) -> None:
        """Add the statistics of a batch of `count` values by channel, as `batch_normalized` returns them."""
        if not self._averages:
            sums = [self.blob(0), self.blob(1), self.blob(2)]
            torch._foreach_mul_(sums, self._fraction)
            torch._foreach_add_(sums, statistics)
            return
        mean, variance, _ = statistics
        batches = self.get_buffer("batches")
        weight = torch.where(batches > 1, 1.0 - self._fraction, 1.0).to(mean.dtype)
        self.blob(0).lerp_(mean, weight)
        self.blob(1).lerp_(variance * ((count - 1) / count) + self._eps, weight)
        batches.add_(1)


def counted(x: Tensor) -> int:
    """How many values of a channel are in the statistics of a batch."""
    return x.numel() // x.shape[1] * ranks_of_statistics()


def batch_normalized(
    x: Tensor, scale: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, list[Tensor]]:
    """The bottom normalised by its own statistics by channel; its mean, its unbiased variance, and a 1.

    The variance of a single value is 0.
    """
    if ranks_of_statistics() > 1:
        return normalized_across(x, scale, bias, eps)
    channels = x.shape[1]
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    both = torch.ones(2 * channels + 1, dtype=dtype, device=x.device)
    mean, variance, one = both.split_with_sizes((channels, channels, 1))
    if x.numel() == channels:  # PyTorch refuses one value per channel
        mean.copy_(x.detach().view(-1))
        variance.zero_()
        top = x - x
        shape = (-1, *(1,) * (x.dim() - 2))
        top = top if scale is None else top * scale.view(shape)
        return top if bias is None else top + bias.view(shape), [mean, variance, one]
    # With momentum 1 the running statistics become those of this batch.
    top = torch.batch_norm(x, scale, bias, mean, variance, True, 1.0, eps, torch.backends.cudnn.enabled)
    return top, [mean, variance, one]


class Scale(Operator):
    """The product with a factor, learnt or bottom 1, that spans some axes from `axis` on; plus a bias."""

    fresh = True

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        p = self.proto.scale_param
        self.axis = p.axis
        self._learnt = len(layer.bottoms) == 1
        self._bias = self.number - 1 if p.bias_term else None

    def initial(self, i: int) -> float:
        """The factor starts at 1, the bias at 0."""
        return 1.0 if i == 0 and self._learnt else 0.0

    def learnt(self) -> tuple[Tensor, Tensor | None]:
        """The factor and the bias, of a layer with one bottom."""
        return self.blob(0), None if self._bias is None else self.blob(self._bias)

    def forward(self, x: Tensor, factor: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """One product, and one sum, in the precision of x, which autocast may have lowered."""
        if factor is None:
            factor = self.blob(0)
        shape = spread(factor, self.axis, x)
        factor = factor.to(x.dtype).reshape(shape)
        if self._bias is None:
            return x * factor
        bias = self.blob(self._bias).to(x.dtype).view(shape)
        # The gradient of addcmul passes over x once more than these two.
        return (x * factor).add_(bias) if torch.is_grad_enabled() else torch.addcmul(bias, x, factor)


class Bias(Operator):
    """The sum with a bias, learnt or bottom 1, that spans some axes from `axis` on."""

    fresh = True

    def __init__(self, layer: Layer, phase: str) -> None:
        super().__init__(layer, phase)
        self._axis = self.proto.bias_param.axis

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """One sum, in the precision of x."""
        if bias is None:
            bias = self.blob(0)
        return x + bias.to(x.dtype).reshape(spread(bias, self._axis, x))


def spread(factor: Tensor, axis: int, x: Tensor) -> tuple[int, ...]:
    """The shape in which a factor that spans axes from `axis` on is broadcast to x."""
    if factor.dim() == 0:
        return ()
    after = x.dim() - canonical(axis, x.shape) - factor.dim()
    return (*factor.shape, *(1,) * after)


class LRN(Operator):
    """Division by a power of the mean square of the neighbouring channels, or of a square of the image.

    Within a channel Caffe ignores k, and uses 1.
    """

    precise = True
    insists = staticmethod(lambda proto: proto.lrn_param.norm_region != _WITHIN)  # that is an inner net

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        p = self.proto.lrn_param
        n = p.local_size
        square = x * x
        if p.norm_region == _WITHIN:
            mean = functional.avg_pool2d(square, n, 1, n // 2)
            k = 1.0
        else:
            rows = square.reshape(x.shape[0], 1, x.shape[1], x.shape[2] * x.shape[3])
            mean = functional.avg_pool2d(rows, (n, 1), 1, (n // 2, 0)).view(x.shape)
            k = p.k
        return x * (mean * p.alpha + k).pow(-p.beta)


class _Standardised(torch.autograd.Function):
    """(x - mean) / (deviation + eps) of each row, with Caffe's gradient.

    Caffe takes the deviation plus eps for the deviation; so a constant row has a gradient as well.
    """

    @staticmethod
    def forward(ctx, x, eps):  # type: ignore[no-untyped-def]
        centred = x - x.mean(-1, keepdim=True)
        deviation = centred.square().mean(-1, keepdim=True).sqrt_().add_(eps)
        top = centred / deviation
        ctx.save_for_backward(top, deviation)
        return top

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        top, deviation = ctx.saved_tensors
        # In Caffe's order: of a row of two values the gradient is what rounding leaves.
        along = top * (grad * top).sum(-1, keepdim=True) + grad.sum(-1, keepdim=True)
        return torch.add(grad, along, alpha=-1 / top.shape[-1]) / deviation, None


class MVN(Operator):
    """Each channel of each image, or each image, to mean 0 and deviation 1."""

    insists = True
    precise = True

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """The top always has 4 axes."""
        p = self.proto.mvn_param
        shape = (*x.shape, *(1,) * (4 - x.dim()))
        rows = x.reshape(shape).flatten(1 if p.across_channels else 2)
        if p.normalize_variance:
            top: Tensor = _Standardised.apply(rows, p.eps)  # type: ignore[no-untyped-call]
        else:
            top = rows - rows.mean(-1, keepdim=True)
        return top.view(shape)


COVERED: dict[str, type[Operator]] = {
    "BatchNorm": BatchNorm,
    "Scale": Scale,
    "Bias": Bias,
    "LRN": LRN,
    "MVN": MVN,
}
REFUSED: dict[str, str] = {}
