"""A net or a solver may name any file: what is in one of another format is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import Command

SECRETS = (
    "root:SECRET:19000:0:99999:7:::\n", "-----BEGIN SECRET PRIVATE KEY-----\nSECRET\n",
    "user SECRET@example.org\n", "SECRET\n", "password = SECRET 1SECRET\n", "SECRET: SECRET {\n",
    "name\nSECRET",
)  # fmt: skip
SOLVER = 'base_lr: 0.1 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "x" '
NET = (
    'layer {{ name: "d" type: "{type}" top: "d" top: "l" {message} {{ source: "secret" {more} }} }}\n'
    'layer {{ name: "fc" type: "InnerProduct" bottom: "d" top: "fc" '
    "inner_product_param {{ num_output: 2 }} }}\n"
    'layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "l" top: "loss" }}\n'
)
LAYERS = (
    ("Data", "data_param", "batch_size: 1"), ("Data", "data_param", "batch_size: 1 backend: LMDB"),
    ("ImageData", "image_data_param", "batch_size: 1"), ("HDF5Data", "hdf5_data_param", "batch_size: 1"),
    ("WindowData", "window_data_param", "batch_size: 1"),
)  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_no_file_is_quoted_that_is_not_of_the_format(
    secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Command(capsys)
    Path("secret").write_text(secret)
    for name in ("net", "train_net", "test_net"):
        net = 'train_net: "net.prototxt" test_iter: 1 test_interval: 1 ' if name == "test_net" else ""
        Path("net.prototxt").write_text('layer { name: "x" type: "DummyData" top: "x" }')
        Path("solver.prototxt").write_text(f'{SOLVER} {net} {name}: "secret"')
        for command in (("check",), ("train", "--engine", "torch")):
            done = run(*command, "solver.prototxt")
            assert "SECRET" not in done.out + done.err
    for type, message, more in LAYERS:
        Path("net.prototxt").write_text(NET.format(type=type, message=message, more=more))
        Path("solver.prototxt").write_text(f'{SOLVER} net: "net.prototxt"')
        for words in (("check", "solver.prototxt"), ("train", "solver.prototxt", "--engine", "torch")):
            done = run(*words)
            assert "SECRET" not in done.out + done.err, (type, words)
