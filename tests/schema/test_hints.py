"""A hint names the true cause of an unknown field, or is not given."""

from __future__ import annotations

import pytest

from netbuilder.errors import did_you_mean
from netbuilder.schema import message
from netbuilder.schema.fields import field_hint

OLD = "it is of Caffe's old format: write param { %s: ... }, once for each blob"


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("ConvolutionParameter", "kernal_size", "did you mean 'kernel_size'?"),
        ("ConvolutionParameter", "numoutput", "did you mean 'num_output'?"),
        ("ConvolutionParameter", "weight_fillers", "did you mean 'weight_filler'?"),
        ("ConvolutionParameter", "dilatoin", "did you mean 'dilation'?"),
        ("ConvolutionParameter", "kernal_pad", ""),
        ("ConvolutionParameter", "kernel", ""),  # of kernel_size, kernel_h or kernel_w
        ("ConvolutionParameter", "pad_type", ""),
        ("ConvolutionParameter", "lr_mult", "it belongs in the layer itself: param { lr_mult: ... }"),
        ("PoolingParameter", "bottom", "it belongs in the layer itself"),
        ("LayerParameter", "blobs_lr", OLD % "lr_mult"),
        ("LayerParameter", "weight_decay", OLD % "decay_mult"),
        ("LayerParameter", "local_size", "it belongs in lrn_param"),
        ("LayerParameter", "botom", "did you mean 'bottom'?"),
        ("SolverParameter", "eval_type", ""),
        ("SolverParameter", "learning_rate", ""),
        ("SolverParameter", "max_iters", "did you mean 'max_iter'?"),
        ("SolverParameter", "weigth_decay", "did you mean 'weight_decay'?"),
    ],
)
def test_a_field_that_a_message_lacks(kind: str, name: str, hint: str) -> None:
    descriptor = message(kind).DESCRIPTOR
    known = [field.name for field in descriptor.fields if field.number < 10_000]
    assert field_hint(descriptor, name, known) == hint


@pytest.mark.parametrize(
    ("word", "near"),
    [("cuont", "count"), ("Build", "build"), ("show_config", "show-config"), ("conf", ""), ("train_net", "")],
)
def test_a_word_is_near_another_by_a_slip_not_by_a_shared_part(word: str, near: str) -> None:
    verbs = ["build", "check", "count", "show-config", "train"]
    assert did_you_mean(word, verbs) == (f"did you mean '{near}'?" if near else "")
