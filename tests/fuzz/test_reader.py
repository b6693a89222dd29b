"""A small run of the reader's fuzzer (`tools/fuzz.py --reader N` is the long one), and what it found."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netbuilder import prototxt
from netbuilder.errors import NetBuilderError, PrototxtError
from tests.fuzz import reader

QUICK = settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


@QUICK
@given(st.randoms(use_true_random=False))
def test_a_text_that_is_nearly_right_is_read_or_refused(rng: random.Random) -> None:
    reader.try_text(reader.text(rng))


SIGNS = [*"{}<>[]:;,#\"'\\ \n0-9.eE+xaf_", "layer", "name", "dim", "input"]


@QUICK
@given(st.lists(st.sampled_from(SIGNS), max_size=40).map("".join))
def test_a_text_of_the_right_signs_is_read_or_refused(text: str) -> None:
    reader.try_text(text)


@QUICK
@given(st.binary(max_size=80))
def test_any_bytes_are_a_model_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    reader.try_model(content, tmp_path_factory.getbasetemp() / "any.caffemodel")


@QUICK
@given(st.randoms(use_true_random=False))
def test_a_model_that_is_nearly_right_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, rng: random.Random
) -> None:
    reader.try_model(reader.model(rng), tmp_path_factory.getbasetemp() / "near.caffemodel")


def test_both_verdicts_are_there_and_a_seed_gives_the_same(tmp_path: Path) -> None:
    drawn = [random.Random(f"reader:{i}") for i in range(60)]
    texts = Counter(reader.try_text(reader.text(rng)) for rng in drawn)
    models = Counter(reader.try_model(reader.model(rng), tmp_path / "m") for rng in drawn)
    assert min(texts["read"], texts["refused"], models["read"], models["refused"]) > 3, (texts, models)
    assert reader.text(random.Random("reader:1")) == reader.text(random.Random("reader:1"))


# ---- found by fuzzing and by hand ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "#\n" * 10**5,  # the search kept something for each comment: gigabytes for 100 MB
        'name: ' + '"" ' * 10**5,  # likewise for each string
        "x" * 10**6,  # compared with every field name, in the square of its length
        "layer { top: 'a' " + "".join(f"top: 't{i}' " for i in range(30_000)) + "}",  # each with all before
    ],
    ids=["comments", "strings", "a long word", "many tops"],
)  # fmt: skip
def test_what_once_took_minutes_or_gigabytes_is_quick(text: str) -> None:
    begin = time.perf_counter()
    try:
        prototxt.parse(text, unknown="keep")
    except NetBuilderError:
        pass
    assert time.perf_counter() - begin < 10


def test_an_unknown_field_of_an_old_layer_does_not_become_one_of_today() -> None:
    """Kept as it stands, `phase {}` of 2014 was written into a layer of today, where phase is a word."""
    text = 'layers { name: "n" type: LRN phase { local_size: 5 } }'
    with pytest.raises(PrototxtError) as caught:
        prototxt.parse(text, unknown="keep")
    assert str(caught.value) == "layer 'n': 'layers' has no field 'phase'\n  where:   <text>:1:1"


@pytest.mark.parametrize("end", ["\r", "\x0b", "\x0c", "\u2028"])
def test_a_line_end_of_another_kind_in_a_kept_field_is_written_as_it_stood(end: str) -> None:
    """A comment that it stands in went on after it, and a string was broken by it."""
    text = f'foo {{ a: "x{end}y" # c{end}d\n b: 1 }}\n'
    net = prototxt.parse(text, unknown="keep")
    assert prototxt.dumps(net).endswith(f'foo {{ a: "x{end}y" # c{end}d\n b: 1 }}\n')
    assert reader.try_text(text) == "read"
