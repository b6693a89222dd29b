"""Training recipes: find the shipped ones, and read a recipe's YAML file as a `Recipe`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.config.places import SHIPPED
from netbuilder.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from netbuilder.config.items import Item
    from netbuilder.solvers import Recipe

__all__ = ["RECIPES", "read_extras", "read_recipe"]

RECIPES = SHIPPED / "solvers"


def read_recipe(name: str, own: Mapping[str, object] | None = None) -> Recipe:
    """Read a shipped recipe by name, or a YAML file; `own` replaces values.

    Raises ConfigError with file and line.
    """
    from netbuilder.config.items import read_file, refusal
    from netbuilder.config.values import convert, field_types
    from netbuilder.solvers import Recipe

    is_file = name.endswith((".yaml", ".yml"))
    path = Path(name) if is_file else RECIPES / f"{name}.yaml"
    if not is_file and not path.is_file():
        known = sorted(p.stem for p in RECIPES.glob("*.yaml"))
        raise ConfigError(
            f"unknown recipe '{name}'", key="recipe",
            hint=did_you_mean(name, known) or f"the recipes are {', '.join(known)}",
        )  # fmt: skip
    items = read_file(path, name if is_file else f"solvers/{name}.yaml")
    fields = {f.name: f for f in dataclasses.fields(Recipe)}
    types = field_types(Recipe)
    values: dict[str, Any] = {}
    for key, item in items.items():
        if key not in fields:
            raise refusal(f"unknown key '{key}' in a recipe", item.place, key, did_you_mean(key, fields))
        values[key] = _plain(item) if key in ("fields", "extras") else convert(item, types[key], fields[key])
    values |= own or {}
    missing = [n for n, f in fields.items() if n not in values and _required(f)]
    if missing:
        raise ConfigError(f"the recipe lacks {', '.join(missing)}", key=missing[0], path=name)
    try:
        return Recipe(**values)
    except ConfigError as error:
        error.where = error.where or (str(items[error.key].place) if error.key in items else name)
        raise


def read_extras(name: str) -> tuple[dict[str, object], tuple[str, ...]]:
    """The extras in a YAML file, by name, and what the recipe lacks; whoever trains checks the extras.

    Raises FileError, ConfigError.
    """
    from netbuilder.config.items import read_file, refusal

    items = read_file(Path(name), name)
    lacks = items.pop("lacks", None)
    texts = _plain(lacks) if lacks else []
    if lacks and not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
        raise refusal("lacks must be a list of texts", lacks.place, "lacks")
    return {key: _plain(item) for key, item in items.items()}, tuple(texts)  # type: ignore[arg-type]


def _required(field: dataclasses.Field[object]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _plain(item: Item) -> object:
    if isinstance(item.value, dict):
        return {key: _plain(value) for key, value in item.value.items()}
    return [_plain(one) for one in item.value] if isinstance(item.value, list) else item.value
