"""Constraints and objectives: a small grammar of figures and numbers, with a hand-written parser.

    constraint:  sum (<= | < | >= | > | == | !=) sum, once or twice: 1G <= macs <= 1.5G
    objective:   (minimise | maximise) sum
    sum:         products with + and -;  product: values with * and /
    value:       a figure, a number (1.5G, 10M, 64MiB), a sum in brackets, or - value

k, M, G, T are powers of 1000; Ki, Mi, Gi, Ti of 1024; a B may follow either.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, NoReturn

from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.measure.counts import FIGURES

__all__ = [
    "OF_TRAINING",
    "Bound",
    "Constraint",
    "Expression",
    "Number",
    "Objective",
    "constraint",
    "number",
    "objective",
]

# Figures of a whole training, by engine. They need the whole nets, so they are counted only where named.
OF_TRAINING = {"caffe_training_bytes": "caffe", "torch_training_bytes": "torch"}
NAMES = (*FIGURES, *OF_TRAINING)

Number = int | float
Figures = Mapping[str, Number]

_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}
_TOKEN = re.compile(
    r"\s*(?:(\d[\w.]*(?:(?<=[eE])[-+]\d+)?|\.\d\w*)|([A-Za-z_]\w*)|(<=|>=|==|!=|[-+*/()<>])|(\S))"
)
_NUMBER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:[eE]([-+]?\d{1,3}))?([kKMGT]?)(i?)(B?)")
_COMPARE: dict[str, Callable[[Number, Number], bool]] = {
    "<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_COMBINE: dict[str, Callable[[Number, Number], Number]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip
_SENSES = {"minimise": 1, "minimize": 1, "maximise": -1, "maximize": -1}
DEEPEST = 30  # levels of nested brackets
LONGEST = 200  # words


@dataclass(frozen=True)
class Expression:
    """A sum: `value(figures)` computes it; `figures` lists the figures that it names."""

    value: Callable[[Figures], Number]
    figures: frozenset[str]


class Bound(NamedTuple):
    """A figure with a bound: an upper one if `way` is 1, a lower one if it is -1."""

    name: str
    expression: Expression
    way: int
    limit: Number


class Constraint(NamedTuple):
    """A condition on a net: `sides` with an operator between each pair of neighbours."""

    text: str
    sides: tuple[Expression, ...]
    operators: tuple[str, ...]

    def holds(self, figures: Figures) -> bool:
        """Whether a net with these figures satisfies the constraint."""
        values = [side.value(figures) for side in self.sides]
        return all(_COMPARE[op](a, b) for op, a, b in zip(self.operators, values, values[1:], strict=False))

    @property
    def bound(self) -> Bound | None:
        """The bound of a constraint of the form `figures <= number` (or >=); None for any other form."""
        if len(self.sides) != 2 or self.sides[1].figures:
            return None
        (sign,) = self.operators
        way = {"<": 1, "<=": 1, ">": -1, ">=": -1}.get(sign)
        return (
            None
            if way is None
            else Bound(self.text.partition(sign)[0].strip(), self.sides[0], way, self.sides[1].value({}))
        )


class Objective(NamedTuple):
    """A sum to minimise (`sense` 1) or maximise (-1)."""

    text: str
    name: str
    expression: Expression
    sense: int


def constraint(text: str) -> Constraint:
    """Parse a constraint; raises ConfigError, which suggests the nearest figure."""
    reader = _Reader(text, "constraint")
    sides, operators = [reader.sum()], list[str]()
    while reader.token in _COMPARE and len(operators) < 2:
        operators.append(reader.next())
        sides.append(reader.sum())
    if not operators:
        reader.refuse(f"compares nothing at {reader.place}", "for example macs <= 1.5G")
    reader.end()
    if not any(side.figures for side in sides):
        reader.refuse("names no figure", f"the figures are {', '.join(NAMES)}")
    return Constraint(" ".join(text.split()), tuple(sides), tuple(operators))


def objective(text: str) -> Objective:
    """Parse an objective; raises ConfigError, which suggests the nearest figure."""
    sense, _, rest = text.strip().partition(" ")
    if sense not in _SENSES:
        raise ConfigError(
            f"objective '{text}' must begin with minimise or maximise",
            hint=did_you_mean(sense.partition("_")[0], ("minimise", "maximise"))
            or "for example minimise macs",
        )
    reader = _Reader(rest, "objective")
    expression = reader.sum()
    reader.end()
    if not expression.figures:
        reader.refuse("names no figure", f"the figures are {', '.join(NAMES)}")
    name = " ".join(rest.split())
    word = "minimise" if _SENSES[sense] == 1 else "maximise"
    return Objective(f"{word} {name}", name, expression, _SENSES[sense])


def number(text: str) -> Number:
    """A number with a unit, 1.5G or 64MiB, as an int if it is whole. Raises ConfigError."""
    match = _NUMBER.fullmatch(text.strip())
    if not match or (match[4] and not match[3]):
        raise ConfigError(f"'{text}' is not a number", hint="for example 1.5G, 10M or 64MiB")
    mantissa, exponent, unit, binary, _ = match.groups()
    base = 1024 if binary else 1000
    value = Fraction(mantissa) * Fraction(10) ** int(exponent or 0) * base ** _POWERS[unit]
    return int(value) if value.denominator == 1 else float(value)


class _Reader:
    """The words of one constraint or objective, read from left to right."""

    def __init__(self, text: str, kind: str) -> None:
        self._text = " ".join(text.split())
        self._kind = kind
        self._tokens = [match.group().strip() for match in _TOKEN.finditer(text)]
        self._depth = 0
        if len(self._tokens) > LONGEST:
            self.refuse(f"has {len(self._tokens)} words; at most {LONGEST} are allowed")

    @property
    def token(self) -> str:
        """The next word, or ""."""
        return self._tokens[0] if self._tokens else ""

    @property
    def place(self) -> str:
        """The next word, for an error text."""
        return f"'{self.token}'" if self.token else "its end"

    def next(self) -> str:
        """Consume and return the next word."""
        return self._tokens.pop(0)

    def refuse(self, what: str, hint: str = "") -> NoReturn:
        """Raise ConfigError about this text."""
        raise ConfigError(f"{self._kind} '{self._text}' {what}", hint=hint)

    def end(self) -> None:
        """Raise ConfigError if any words are left."""
        if self._tokens:
            self.refuse(f"should end before {self.place}")

    def sum(self) -> Expression:
        """Products with + and - between them."""
        return self._chain(self._product, "+-")

    def _product(self) -> Expression:
        return self._chain(self._value, "*/")

    def _chain(self, part: Callable[[], Expression], signs: str) -> Expression:
        whole = part()
        while self.token and self.token in signs:
            combine, left, right = _COMBINE[self.next()], whole.value, part()
            whole = Expression(_combined(combine, left, right.value), whole.figures | right.figures)
        return whole

    def _value(self) -> Expression:
        token = self.token
        if token == "(" or token == "-":
            self._depth += 1
            if self._depth > DEEPEST:
                self.refuse("is nested too deeply")
            self.next()
            if token == "-":
                inner = self._value()
                expression = Expression(_negated(inner.value), inner.figures)
            else:
                expression = self.sum()
                if self.token != ")":
                    self.refuse(f"lacks a ) before {self.place}")
                self.next()
            self._depth -= 1
            return expression
        if token[:1].isdigit() or token[:1] == ".":
            try:
                constant = number(token)
            except ConfigError as error:
                self.refuse(f"has '{token}', which is not a number", error.hint)
            self.next()
            return Expression(lambda figures: constant, frozenset())
        if token.isidentifier():
            if token not in NAMES:
                self.refuse(
                    f"names '{token}', which is not a figure",
                    did_you_mean(token, NAMES) or f"the figures are {', '.join(NAMES)}",
                )
            self.next()
            return Expression(operator.itemgetter(token), frozenset((token,)))
        self.refuse(f"needs a figure or a number instead of {self.place}")


def _combined(
    combine: Callable[[Number, Number], Number],
    left: Callable[[Figures], Number],
    right: Callable[[Figures], Number],
) -> Callable[[Figures], Number]:
    return lambda figures: combine(left(figures), right(figures))


def _negated(inner: Callable[[Figures], Number]) -> Callable[[Figures], Number]:
    return lambda figures: -inner(figures)
