"""Which images a folder gives, through links and past them."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder.data.lists import folder_listing
from netbuilder.data.output import Output
from netbuilder.errors import FileError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of one image each, one of them in a folder of its own."""
    for name in ("root/cat/deep/1.png", "root/dog/2.png", "elsewhere/3.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    return tmp_path / "root"


@pytest.mark.parametrize("aim", ["..", ".", "../../../root", "../../../root/cat", "/ABOVE"])
def test_a_link_to_a_folder_above_itself_is_refused(root: Path, aim: str) -> None:
    """It gave the same images again and again, or went on for ever."""
    (root / "cat/deep/again").symlink_to(aim.replace("/ABOVE", str(root.parent)))
    with pytest.raises(FileError, match="is a link to a folder above it") as raised:
        folder_listing(root)
    assert raised.value.hint == "remove the link"


def test_two_links_that_lead_to_each_other_are_refused(root: Path) -> None:
    (root / "cat/deep/there").symlink_to(root.parent / "elsewhere")
    (root.parent / "elsewhere/back").symlink_to(root / "cat")
    with pytest.raises(FileError, match="is a link to a folder above it"):
        folder_listing(root)


def test_links_to_other_folders_and_files_are_followed(root: Path) -> None:
    (root / "cat/more").symlink_to(root.parent / "elsewhere")
    (root / "dog/4.png").symlink_to(root.parent / "elsewhere/3.png")
    (root / "bird").symlink_to(root.parent / "elsewhere")
    found = [(source.path, source.label) for source in folder_listing(root).sources]
    assert found == [
        ("bird/3.png", 0), ("cat/deep/1.png", 1), ("cat/more/3.png", 1), ("dog/2.png", 2), ("dog/4.png", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("place", ["/", ".", ""])
def test_a_place_without_a_name_is_no_database(place: str) -> None:
    with pytest.raises(FileError, match="is not a name for a database"):
        Output(Path(place), {}, {}, force=True, resume=False)
