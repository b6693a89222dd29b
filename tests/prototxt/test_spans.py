"""Where fields stand: every spelling that the reader takes, and files of the corpus put together again."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder.prototxt.spans import Span, spans

CORPUS = sorted((Path(__file__).parents[1] / "ground_truth" / "formats").glob("*.prototxt"))


def texts(text: str, found: tuple[Span, ...]) -> list[tuple[str, str]]:
    return [(s.name, text[s.value : s.end]) for s in found]


def test_every_spelling_of_a_field_is_found() -> None:
    text = (
        'name: "a" "b" # "c"\n'
        "  'd'\n"
        "layer { type: 'ReLU' top: \"x{}#\" ; relu_param < negative_slope: - 1e-3f >, }\n"
        "layer: { blobs { data: [1, 2 # ]\n ] } }\n"
        "force_backward: true"
    )
    found = spans(text)
    assert [s.name for s in found] == ["name", "layer", "layer", "force_backward"]
    assert texts(text, found[1].fields or ()) == [
        ("type", "'ReLU'"),
        ("top", '"x{}#"'),
        ("relu_param", "< negative_slope: - 1e-3f >"),
    ]
    slope = found[1].find("relu_param", "negative_slope")
    assert slope is not None
    assert text[slope.value : slope.end] == "- 1e-3f"
    data = found[2].find("blobs", "data")
    assert data is not None
    assert text[data.start : data.end] == "data: [1, 2 # ]\n ]"
    assert text[found[3].value : found[3].end] == "true"
    assert found[0].find("x") is None


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: p.stem)
def test_the_fields_of_a_file_cover_all_of_it_but_comments_and_separators(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    done, between = 0, ""
    for span in spans(text):
        between += text[done : span.start]
        done = span.end
    between += text[done:]
    assert all(not line.strip() or line.strip().startswith("#") for line in between.splitlines())


OPAQUE = ('{ "x" }', "{ [1, 2] }", "{ a b c }", '{ "}" # }\n }', "< { ; } >", "{ }", "{ :: }")


@pytest.mark.parametrize("value", OPAQUE)
def test_a_block_of_an_unknown_field_holds_anything_with_its_brackets_closed(value: str) -> None:
    """As the lenient reader takes it; `check --fix` met a ValueError there."""
    text = f'name: "a" foo {value} layer {{ name: "b" }}'
    found = spans(text)
    assert [(span.name, text[span.value : span.end]) for span in found] == [
        ("name", '"a"'), ("foo", value), ("layer", '{ name: "b" }'),
    ]  # fmt: skip
