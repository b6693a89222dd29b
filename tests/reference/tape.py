"""Forward and backward of the few operations that the reference nets need, in NumPy and double precision.

Written from the definitions of the operations, without Caffe and without any of our code; `test_tape.py`
compares each gradient with finite differences. An operation appends its backward step to the tape, and
`backward` runs them in reverse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any


class Var:
    """A value and, after `Tape.backward`, the gradient of the loss by it."""

    def __init__(self, value: Array) -> None:
        self.value = np.asarray(value, np.float64)
        self.grad = np.zeros_like(self.value)


class Tape:
    """The operations in the order in which they ran."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], None]] = []

    def backward(self, top: Var, grad: Array = 1) -> None:
        """Fill in the gradients of the sum of top * grad; by default those of a scalar."""
        top.grad += grad
        for step in reversed(self._steps):
            step()

    def _made(self, value: Array, step: Callable[[Array], None]) -> Var:
        top = Var(value)
        self._steps.append(lambda: step(top.grad))
        return top

    def conv(self, x: Var, weight: Var, stride: int = 1, bias: Var | None = None) -> Var:
        """Convolution (cross-correlation) padded by half the kernel: (n, c, h, w), (o, c, k, k)."""
        k = weight.value.shape[2]
        p, (height, width) = k // 2, x.value.shape[2:]
        padded = np.pad(x.value, ((0, 0), (0, 0), (p, p), (p, p)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(2, 3))
        windows = windows[:, :, ::stride, ::stride]
        out = np.tensordot(windows, weight.value, ([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2)
        rows, columns = out.shape[2:]

        def step(grad: Array) -> None:
            weight.grad += np.tensordot(grad, windows, ([0, 2, 3], [0, 2, 3]))
            if bias is not None:
                bias.grad += grad.sum((0, 2, 3))
            back = np.zeros_like(padded)
            for i in range(k):
                for j in range(k):
                    part = np.tensordot(grad, weight.value[:, :, i, j], ([1], [0])).transpose(0, 3, 1, 2)
                    back[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride] += part
            x.grad += back[:, :, p : p + height, p : p + width]

        return self._made(out if bias is None else out + bias.value[:, None, None], step)

    def batch_norm(self, x: Var, gamma: Var, beta: Var, stored: tuple[Array, Array] | None = None) -> Var:
        """Normalisation by channel with the batch's statistics or with stored (mean, variance); eps 1e-5."""
        axes, shape = (0, 2, 3), (1, -1, 1, 1)
        mean, variance = (x.value.mean(axes), x.value.var(axes)) if stored is None else stored
        deviation = np.sqrt(np.reshape(variance, shape) + 1e-5)
        normal = (x.value - np.reshape(mean, shape)) / deviation
        factor = gamma.value.reshape(shape)

        def step(grad: Array) -> None:
            gamma.grad += (grad * normal).sum(axes)
            beta.grad += grad.sum(axes)
            inner = grad * factor
            if stored is None:
                inner = (
                    inner
                    - inner.mean(axes, keepdims=True)
                    - normal * (inner * normal).mean(axes, keepdims=True)
                )
            x.grad += inner / deviation

        return self._made(normal * factor + beta.value.reshape(shape), step)

    def relu(self, x: Var) -> Var:
        def step(grad: Array) -> None:
            x.grad += grad * (x.value > 0)

        return self._made(np.maximum(x.value, 0), step)

    def celu(self, x: Var, alpha: float) -> Var:
        """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))."""
        low = np.exp(np.minimum(x.value, 0) / alpha)

        def step(grad: Array) -> None:
            x.grad += grad * low

        return self._made(np.maximum(x.value, 0) + alpha * (low - 1), step)

    def add(self, a: Var, b: Var) -> Var:
        def step(grad: Array) -> None:
            a.grad += grad
            b.grad += grad

        return self._made(a.value + b.value, step)

    def scale(self, x: Var, factor: float) -> Var:
        def step(grad: Array) -> None:
            x.grad += grad * factor

        return self._made(x.value * factor, step)

    def concat(self, *parts: Var) -> Var:
        """Along the channels."""
        ends = np.cumsum([part.value.shape[1] for part in parts])[:-1]

        def step(grad: Array) -> None:
            for part, piece in zip(parts, np.split(grad, ends, 1), strict=True):
                part.grad += piece

        return self._made(np.concatenate([part.value for part in parts], 1), step)

    def every_other(self, x: Var) -> Var:
        """Pixels 0, 2, 4, ... of both axes."""

        def step(grad: Array) -> None:
            x.grad[:, :, ::2, ::2] += grad

        return self._made(x.value[:, :, ::2, ::2], step)

    def every_nth_image(self, x: Var, n: int, first: int) -> Var:
        """Images first, first + n, first + 2n, ... of the batch."""

        def step(grad: Array) -> None:
            x.grad[first::n] += grad

        return self._made(x.value[first::n], step)

    def interleave(self, *parts: Var) -> Var:
        """The images of the parts in turn: what `every_nth_image` took apart."""
        n = len(parts)
        out = np.concatenate([part.value for part in parts])
        for first, part in enumerate(parts):
            out[first::n] = part.value

        def step(grad: Array) -> None:
            for first, part in enumerate(parts):
                part.grad += grad[first::n]

        return self._made(out, step)

    def max_pool(self, x: Var) -> Var:
        """Maximum of each 2x2 square, of even sizes."""
        n, c, height, width = x.value.shape
        cells = x.value.reshape(n, c, height // 2, 2, width // 2, 2).transpose(0, 1, 2, 4, 3, 5)
        cells = cells.reshape(n, c, height // 2, width // 2, 4)
        best = cells.argmax(-1)[..., None]

        def step(grad: Array) -> None:
            back = np.zeros_like(cells)
            np.put_along_axis(back, best, grad[..., None], -1)
            back = back.reshape(n, c, height // 2, width // 2, 2, 2).transpose(0, 1, 2, 4, 3, 5)
            x.grad += back.reshape(x.value.shape)

        return self._made(np.take_along_axis(cells, best, -1)[..., 0], step)

    def image_mean(self, x: Var) -> Var:
        """(n, c, h, w) -> (n, c)."""

        def step(grad: Array) -> None:
            x.grad += grad[:, :, None, None] / np.prod(x.value.shape[2:])

        return self._made(x.value.mean((2, 3)), step)

    def image_max(self, x: Var) -> Var:
        """(n, c, h, w) -> (n, c)."""
        flat = x.value.reshape(*x.value.shape[:2], -1)
        best = flat.argmax(-1)[..., None]

        def step(grad: Array) -> None:
            back = np.zeros_like(flat)
            np.put_along_axis(back, best, grad[..., None], -1)
            x.grad += back.reshape(x.value.shape)

        return self._made(np.take_along_axis(flat, best, -1)[..., 0], step)

    def linear(self, x: Var, weight: Var, bias: Var | None = None) -> Var:
        def step(grad: Array) -> None:
            weight.grad += grad.T @ x.value
            x.grad += grad @ weight.value
            if bias is not None:
                bias.grad += grad.sum(0)

        return self._made(x.value @ weight.value.T + (0 if bias is None else bias.value), step)

    def cross_entropy(self, scores: Var, targets: Array) -> Var:
        """Mean over the images of -sum(targets * log softmax); the targets of an image sum to 1."""
        logs = scores.value - scores.value.max(1, keepdims=True)
        logs = logs - np.log(np.exp(logs).sum(1, keepdims=True))

        def step(grad: Array) -> None:
            scores.grad += grad * (np.exp(logs) - targets) / len(targets)

        return self._made(-(targets * logs).sum() / len(targets), step)
