"""Every registered layer type decides every trait, in agreement with its rule and the schema."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from netbuilder import prototxt
from netbuilder.layers import COMPUTES, RULES, Coverage, Rule, Traits, Unknown
from netbuilder.layers.base import Facts
from netbuilder.layers.traits import GradientReads, Shares, Source, Spoils, of_layer, undecided
from netbuilder.prototxt import data_shapes
from netbuilder.schema import LayerParameter
from netbuilder.schema.dialects import ANY, DIALECTS
from netbuilder.training import labels
from tests.fuzz.generate import case

PACKAGE = Path(__file__).parents[2] / "netbuilder"
# These may name layer types in tables: what consumers and dialects have, CaffeOnSpark's own classes, and the
# names in Caffe's older formats.
OWN_TABLES = (
    "checks/consumers/",
    "schema/dialects.py",
    "schema/old_types.py",
    "caffeonspark/layer_rules.py",
    "pycaffe/",  # what the functions of pycaffe itself name
    "networks/",  # the defaults of the layers that a network emits
)


def gaps(rules: dict[str, Rule]) -> list[str]:
    """What the registered types have left undecided, for those who must decide it."""
    return [
        f"{type} does not decide the trait {name}: state it in @rule({type!r}, ..., traits=...); "
        "netbuilder/layers/traits.py says what it means, and Unknown(why) is an answer"
        for type, rule in rules.items()
        for name in undecided(rule.traits)
    ]


def test_every_layer_type_decides_every_trait() -> None:
    assert gaps(RULES) == []


def a_rule(**given: Any) -> Rule:
    return Rule("Warp", (), (1, 1), (1, 1), lambda layer, bottoms: Facts(()), **given)


def test_a_forgotten_trait_is_named_with_its_type_and_its_place() -> None:
    assert [text.partition(":")[0] for text in gaps({"Warp": a_rule(traits=COMPUTES)})] == [
        f"Warp does not decide the trait {name}"
        for name in ("sees", "no_gradient", "unforced", "spoils", "applies", "source")
    ]
    assert "@rule('Warp', ..., traits=...)" in gaps({"Warp": a_rule(traits=COMPUTES)})[0]
    assert len(gaps({"Warp": a_rule()})) == len(Traits._fields)


# Of forks, and known by name alone: their shapes follow from a source that has not been read.
WITHOUT_RULE = {"DetectNetTransformation", "MKLBatchNorm", "MnActivation", "TRT"}


def test_every_layer_type_of_a_dialect_has_a_rule() -> None:
    lacking = {type for dialect in DIALECTS.values() for type in dialect.types} - RULES.keys()
    assert lacking == WITHOUT_RULE, "write its rule in netbuilder/layers, or take it out of the dialects"


def test_every_rule_is_of_a_type_that_some_dialect_has() -> None:
    assert [
        f"no dialect has {type}: add it to the types of those that do, in netbuilder/schema/dialects.py"
        for type in RULES
        if type not in ANY.types
    ] == []


def test_the_messages_of_every_rule_are_in_the_schema() -> None:
    fields = LayerParameter.DESCRIPTOR.fields_by_name
    assert [
        f"{type} reads {name}, which LayerParameter lacks: add it to netbuilder/schema/caffe.proto"
        for type, rule in RULES.items()
        for name in rule.params
        if name not in fields
    ] == []


@pytest.mark.parametrize("type", sorted(RULES))
def test_the_fields_that_traits_name_are_in_the_schema(type: str) -> None:
    rule, layer = RULES[type], LayerParameter(type=type)
    traits = rule.traits
    if traits.engine is True:
        assert "engine" in getattr(layer, rule.params[0]).DESCRIPTOR.fields_by_name
    if isinstance(traits.weight_filler, str) and traits.weight_filler:
        assert "weight_filler" in getattr(layer, traits.weight_filler).DESCRIPTOR.fields_by_name
    if isinstance(traits.source, Source):
        assert traits.source.file_of(layer) == ""
        assert traits.source.message in rule.params
        assert traits.source.transforms or "transform_param" not in rule.params
        assert bool(traits.source.file) == traits.source.stored
    if not isinstance(traits.defaults, Unknown):
        own = getattr(layer, rule.params[0]).DESCRIPTOR.fields_by_name if rule.params else {}
        assert all(name in own or name in layer.DESCRIPTOR.fields_by_name for name in traits.defaults)


@pytest.mark.parametrize("type", sorted(RULES))
def test_the_traits_of_a_type_do_not_contradict_its_rule(type: str) -> None:
    rule = RULES[type]
    traits = rule.traits
    if not isinstance(traits.no_gradient, Unknown) and not callable(traits.no_gradient):
        most = rule.bottoms[1]
        assert all(most is None or -most <= i < most for i in traits.no_gradient)
    if rule.in_place == "refused":
        assert traits.spoils is Spoils.NOTHING
    if rule.in_place == "wrong":
        assert traits.spoils is not Spoils.NOTHING or rule.bottoms[1] == 0 or rule.tops[1] == 0
    if rule.in_place == "exact" and traits.gradient_reads is GradientReads.ALL:
        assert traits.positive is True  # nothing else may follow a Softmax in place
    if traits.shares is not Shares.NEVER and not isinstance(traits.shares, Unknown):
        assert not isinstance(traits.spoils, Spoils) or traits.spoils is Spoils.NOTHING
    if rule.auto_top:
        assert traits.metric is False
    assert traits.applies in ("", "Softmax", "Sigmoid") or isinstance(traits.applies, Unknown)


# ---- tables by layer type ------------------------------------------------------------------------------


def receptive_fields() -> Coverage[Any]:
    sees = {type: rule.traits.sees for type, rule in RULES.items()}
    return Coverage(
        "the receptive fields (the trait `sees`)",
        {type: made for type, made in sees.items() if not isinstance(made, Unknown)},
        {type: made.why for type, made in sees.items() if isinstance(made, Unknown)},
    )


@pytest.mark.parametrize(
    "table", [receptive_fields(), data_shapes.READERS, labels.READERS], ids=lambda table: table.where
)
def test_a_table_of_layer_types_covers_or_refuses_each_of_them(table: Coverage[Any]) -> None:
    assert table.gaps() == []


def test_a_gap_in_a_table_is_named_with_its_type_and_its_place() -> None:
    table = Coverage(
        "engine.OPERATORS",
        {"ReLU": abs, "Data": abs},
        {"ReLU": "both", "TanH": " "},
        lambda rule: rule.type in ("ReLU", "TanH", "Softmax"),
    )
    assert table.gaps() == [
        "engine.OPERATORS does not say what it does with Softmax: put a function for it into `covered`, or "
        "the reason why there is none into `refused`",
        "engine.OPERATORS has Data, which it is not for",
        "engine.OPERATORS both covers and refuses ReLU: choose one",
        "engine.OPERATORS refuses TanH without a reason",
    ]
    assert (table.get("TanH"), table["Data"], table.why_not("ReLU")) == (None, abs, "")
    assert table.why_not("Tile") == "Tile is not a layer type that engine.OPERATORS is for"


def _names(node: ast.AST) -> list[str]:
    """The layer types among the members of a literal or the words of a string."""
    members: list[ast.expr | None] = []
    if isinstance(node, ast.Dict):
        members = [*node.keys]
    elif isinstance(node, ast.Set | ast.Tuple | ast.List):
        members = [*node.elts]
    words = [m.value for m in members if isinstance(m, ast.Constant) and isinstance(m.value, str)]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        split = node.value.split()
        words = split if all(word in RULES for word in split) else []
    return [word for word in words if word in RULES]


def _makes_coverage(node: ast.AST) -> bool:
    """A call of Coverage, or one of the two tables that a family of operators gives to one."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id in ("COVERED", "REFUSED")
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Coverage"


def tables(path: Path) -> list[str]:
    """Literals in a module that list two layer types or more, but for tables of a `Coverage`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    covered = {id(part) for node in ast.walk(tree) if _makes_coverage(node) for part in ast.walk(node)}
    return [
        f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}: {', '.join(names)}"
        for node in ast.walk(tree)
        if id(node) not in covered and len(names := _names(node)) > 1
    ]


def test_no_table_of_layer_types_is_outside_of_their_rules() -> None:
    modules = [path for path in sorted(PACKAGE.rglob("*.py")) if "layers" not in path.parts]
    found = [table for path in modules for table in tables(path)]
    assert [
        f"{table}: make it a trait (netbuilder/layers/traits.py), or a Coverage"
        for table in found
        if not table.startswith(OWN_TABLES)
    ] == []


def test_the_number_of_parameters_is_the_rules_own() -> None:
    """`learns` is asked where the shapes of the bottoms are unknown; elsewhere the rule knows."""
    compared = set()
    for i in range(300):
        made = case(f"learns:{i}")
        refused: list[Any] = []
        net = prototxt.parse(made.text, made.phase, refused=refused)
        for layer in net.layers:
            if not layer.unknown and (layer.params or RULES[layer.type].traits.learns):
                assert of_layer(RULES[layer.type].traits.learns, layer.proto, 0) == len(layer.params), layer
                compared.add(layer.type)
    learning = "Convolution Deconvolution InnerProduct Embed BatchNorm Scale Bias PReLU LSTM RNN Parameter"
    assert compared >= set(learning.split())
