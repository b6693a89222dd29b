"""What is sent to Caffe: only the fields that name files change, wherever the same words stand."""

from __future__ import annotations

import os

import pytest

from netbuilder.engines.caffe.jobs import seen_net
from netbuilder.prototxt import text as text_format
from netbuilder.schema import message


def sent(text: str) -> str:
    return seen_net(text, lambda path: os.path.join("/seen", os.path.normpath(path)))


@pytest.mark.parametrize(
    "text",
    [
        """layer { type: "Python" python_param { param_str: "source: 'train.txt'" } }""",
        """layer { type: "Python" python_param { param_str: '{"mean_file": "a"}' } }""",
        """layer { name: "root_folder: 'a'" } # source: "comment" """,
        'layer { name: "source" type: "Data" data_param { source: "" } }',
    ],
)
def test_text_that_only_looks_like_a_path_is_sent_as_it_is(text: str) -> None:
    assert sent(text) == text


@pytest.mark.parametrize(
    ("literal", "path"),
    [
        ('"db"', "db"),
        ("'it\"s'", 'it"s'),
        (r'"a\"b"', 'a"b'),
        (r'"tab\there"', "tab\there"),
        ('"two" # and\n "parts"', "twoparts"),
        ('"ä b"', "ä b"),
    ],
)
def test_a_path_is_read_and_written_as_a_string(literal: str, path: str) -> None:
    net = text_format.parse(
        sent(f"layer {{ image_data_param <source:{literal}, root_folder: {literal}> }}"),
        message("NetParameter"),
    ).message
    p = net.layer[0].image_data_param
    assert (p.source, p.root_folder) == (f"/seen/{path}", f"/seen/{path}")


def test_the_slash_of_a_root_folder_stays_and_old_layers_count() -> None:
    assert sent("layer { image_data_param { root_folder: 'a/' } }") == (
        'layer { image_data_param { root_folder: "/seen/a/" } }'
    )
    assert sent("layers { layer { source: 'a' meanfile: 'm' } }") == (
        'layers { layer { source: "/seen/a" meanfile: "/seen/m" } }'
    )
