"""Snapshots that are cut: the file is named, the last one that works is offered, and none that is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder.errors import FileError
from netbuilder.schema import message
from netbuilder.training.snapshots import SNAPSHOTS, only_offered, require_whole
from netbuilder.weights.write import write_model

RESUME = "make room, then --resume latest goes on from the last snapshot that is whole"


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three snapshots, binary ones."""
    monkeypatch.chdir(tmp_path)
    for iteration in (10, 20, 30):
        write_model(Path(f"a net_iter_{iteration}.caffemodel"), {"fc": [[[1.0, 2.0]]]})
        state = message("SolverState")(iter=iteration, learned_net="net", current_step=0)
        state.history.add(data=[1.0] * 50)
        Path(f"a net_iter_{iteration}.solverstate").write_bytes(state.SerializeToString())
    return Path("a net")


def cut(*places: str) -> None:
    for place in places:
        Path(place).write_bytes(Path(place).read_bytes()[:-5])


def refused(prefix: Path) -> tuple[str, str]:
    with pytest.raises(FileError) as error:
        require_whole(Path(f"{prefix}_iter_30.solverstate"), str(prefix), SNAPSHOTS)
    return error.value.text, error.value.hint


def test_a_whole_snapshot_is_taken(prefix: Path) -> None:
    require_whole(Path(f"{prefix}_iter_30.solverstate"), str(prefix), SNAPSHOTS)


def test_a_cut_model_beside_a_whole_state_is_named_and_the_last_that_works_offered(prefix: Path) -> None:
    cut("a net_iter_30.caffemodel", "a net_iter_20.solverstate")
    text, hint = refused(prefix)
    assert text.startswith(
        "cannot resume from 'a net_iter_30.solverstate': 'a net_iter_30.caffemodel' is cut"
    )
    assert hint == (
        "--resume 'a net_iter_10.solverstate' goes on from iteration 10, the last snapshot that works"
    )


def test_a_cut_state_is_named_and_no_other_offered_if_none_works(prefix: Path) -> None:
    cut("a net_iter_30.solverstate", "a net_iter_20.caffemodel", "a net_iter_10.caffemodel")
    text, hint = refused(prefix)
    assert text == (
        "cannot resume from 'a net_iter_30.solverstate': "
        "'a net_iter_30.solverstate' is cut short, or not a solver state"
    )
    assert hint == "no other snapshot works: leave --resume out"


def test_a_cut_hdf5_snapshot_is_named(prefix: Path) -> None:
    h5py = pytest.importorskip("h5py")
    for kind in ("caffemodel", "solverstate"):
        with h5py.File(f"b_iter_5.{kind}.h5", "w") as file:
            file["data/fc/0"] = [1.0] * 500
    state = Path("b_iter_5.solverstate.h5")
    require_whole(state, "b", SNAPSHOTS)
    for place, what in ((state, "solver state"), (SNAPSHOTS.model_of(state), "data")):
        whole = place.read_bytes()
        place.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(FileError, match=f"'{place}' is .*{what}"):
            require_whole(state, "b", SNAPSHOTS)
        place.write_bytes(whole)


@pytest.mark.parametrize(
    ("hint", "without"),
    [
        (RESUME, "make room"),
        ("a smaller batch; --resume latest goes on from the last snapshot", "a smaller batch"),
        ("--resume latest goes on from the last snapshot; try", "try"),
        ("leave --gpu out", "leave --gpu out"),
    ],
)
def test_a_hint_offers_a_snapshot_only_if_there_is_one(hint: str, without: str, prefix: Path) -> None:
    assert only_offered(hint, str(prefix), SNAPSHOTS) == hint
    assert only_offered(hint, "another", SNAPSHOTS) == without
