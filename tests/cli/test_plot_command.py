"""`netbuilder plot` as a command: what a RUN may be, what it writes, what it refuses."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.command import Command
from tests.training.test_tensorboard import scalars

ROOT = Path(__file__).parents[2]
LOG = ROOT / "tests" / "engines" / "resumed.log.gz"
SVG = "{http://www.w3.org/2000/svg}"

TRAIN = "iteration,loss,lr,output loss,seconds\n" + "".join(
    f"{i},{2 / (1 + i / 50)},{0.1 if i < 100 else 0.01},1.0,{i / 4}\n" for i in range(0, 201, 10)
)
TEST = "iteration,net,passes,output,value\n" + "".join(
    f"{i},0,4,accuracy,{0.1 + i / 1000}\n{i},0,4,loss,{87.3365 if i == 0 else 1.5}\n"
    for i in range(0, 201, 50)
)


@pytest.fixture
def plot(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The verb, in a folder with two trainings and a log."""
    monkeypatch.chdir(tmp_path)
    for name, run in (("a", {"batch": 32, "images": 640}), ("b", {})):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "x_train.csv").write_text(TRAIN)
        (folder / "x_test.csv").write_text(TEST)
        (folder / "x_run.json").write_text(json.dumps({"version": 1, "end": "done", **run}))
    (tmp_path / "train.log").write_bytes(gzip.decompress(LOG.read_bytes()))
    return Command(capsys, "plot")


def texts(path: str) -> list[str]:
    return [node.text or "" for node in ElementTree.parse(path).iter(f"{SVG}text")]


def test_several_runs_are_in_one_figure_by_their_short_names(plot: Command) -> None:
    ran = plot("runs/a", "runs/b/x_run.json", "train.log", "-o", "all.svg")
    assert (ran.code, ran.out, ran.err) == (0, "", "wrote all.svg\n")
    found = texts("all.svg")
    assert found[:3] == ["runs/a/x", "runs/b/x", "train"]
    assert {"loss", "accuracy", "learning rate", "iteration"} <= set(found)
    assert plot("runs/a", "runs/b", "-o", "two.svg").code == 0
    assert texts("two.svg")[:2] == ["a", "b"]
    assert plot("base=runs/a", "runs/b", "runs/a", "-o", "named.svg").code == 0
    assert texts("named.svg")[:3] == ["base", "b", "loss"]  # the same one twice is drawn once


@pytest.mark.parametrize(
    "word", ["runs/a", "runs/a/x_run.json", "runs/a/x_train.csv", "runs/a/x", "runs/a/x_test.csv"]
)
def test_a_record_is_named_by_any_of_its_files(word: str, plot: Command) -> None:
    (run,) = json.loads(plot(word, "--json").out)["runs"]
    assert (run["rows"], run["tests"], run["iteration"]) == (21, 5, 200)
    assert (run["batch"], run["images"]) == (32, 640)
    assert run["last_tests"] == [
        {"net": 0, "iteration": 200, "outputs": {"accuracy": [pytest.approx(0.3)], "loss": [1.5]}}
    ]
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")


def test_without_its_tables_a_record_is_read_from_its_summary(plot: Command) -> None:
    rows = [{"iteration": 0, "loss": None, "lr": 0.5, "seconds": 1.0, "outputs": {"l": 2.0}}]
    tests = [{"iteration": 0, "net": 0, "loss": None, "passes": 1, "outputs": {"a": [0.5, None]}}]
    Path("y_run.json").write_text(json.dumps({"version": 1, "train": rows, "tests": tests}))
    (run,) = json.loads(plot("y_run.json", "--json").out)["runs"]
    assert (run["name"], run["rows"], run["tests"], run["loss"], run["lr"]) == ("y", 1, 1, None, 0.5)


def test_a_table_under_another_name_is_read(plot: Command) -> None:
    Path("mine.csv").write_text(TRAIN)
    (run,) = json.loads(plot("mine.csv", "--x", "time", "--json").out)["runs"]
    assert (run["name"], run["rows"], run["tests"]) == ("mine", 21, 0)


def test_a_training_under_way_is_drawn_up_to_a_row_cut_short(plot: Command) -> None:
    with open("runs/b/x_train.csv", "a") as file:
        file.write("210,0.5")
    (run,) = json.loads(plot("runs/b", "--json").out)["runs"]
    assert run["iteration"] == 200


def test_epochs_are_those_of_the_record_or_as_given(plot: Command) -> None:
    assert plot("runs/a", "-o", "a.svg").code == 0
    assert texts("a.svg")[-1] == "epoch"
    assert {"2", "4", "6", "8", "10"} <= set(texts("a.svg"))  # 200 iterations of 32 images of 640
    refused = plot("runs/b", "--x", "epochs")
    assert refused.code == 2
    assert "give --batch N" in refused.err
    assert "give --epoch-images N" in plot("train.log", "--x", "epochs").err  # its batch is in the log
    assert plot("train.log", "--x", "epochs", "--epoch-images", "700", "-o", "l.svg").code == 0
    assert {"0", "0.5", "1.0", "1.5", "2.0", "epoch"} <= set(texts("l.svg"))  # 100 iterations of 14


def test_panels_and_smoothing_are_as_asked_for(plot: Command) -> None:
    assert plot("runs/a", "--y", "accuracy", "rate", "--smooth", "5", "-o", "a.svg").code == 0
    found = texts("a.svg")
    assert {"accuracy", "learning rate"} <= set(found)
    assert "loss" not in found
    assert plot("runs/a", "--y", "loss", "--smooth", "4", "-o", "b.svg").code == 0
    assert "train, mean of 5" in texts("b.svg")
    assert "87.3" in texts("b.svg")  # the first test, above


def test_event_files_are_written_for_each_run(plot: Command) -> None:
    ran = plot("runs/a", "runs/b", "--tensorboard", "tb", "--json")
    assert ran.code == 0
    assert sorted(path.name for path in Path("tb").iterdir()) == ["a", "b"]
    assert not Path("curves.png").exists()  # nobody asked for a picture
    found = scalars(Path("tb/a"))
    assert [step for step, _ in found["train/loss"]] == [*range(0, 201, 10)]
    assert found["test/loss"][0] == (0, pytest.approx(87.3365))
    assert json.loads(ran.out)["files"] == [
        f"tb/{name}/events.out.tfevents.0000000000.netbuilder" for name in "ab"
    ]
    assert plot("../x=runs/a", "--tensorboard", "tb2").code == 0
    assert [path.name for path in Path("tb2").iterdir()] == ["_x"]  # a name leads nowhere else


def test_a_picture_of_ours_is_replaced_and_another_file_is_not(plot: Command) -> None:
    for kind in ("png", "svg", "pdf"):
        assert plot("runs/a", "-o", f"a.{kind}").code == 0
        assert plot("runs/a", "--y", "loss", "-o", f"a.{kind}").code == 0
        Path(f"b.{kind}").write_text("theirs")
        assert "--force" in plot("runs/a", "-o", f"b.{kind}").err
        assert Path(f"b.{kind}").read_text() == "theirs"
        assert plot("runs/a", "-o", f"b.{kind}", "--force").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nosuch",), "there is no file or folder 'nosuch'"),
        (("empty",), "there is no training in 'empty'"),
        (("notes.txt",), "'notes.txt' is neither the log of a training nor the record of one"),
        (("bad_run.json",), "cannot read 'bad_run.json'"),
        (("list_run.json",), "'list_run.json' is not the record of a training"),
        (("rows_run.json",), "'rows_run.json' is not the record of a training"),
        (("huge_run.json",), "'huge_run.json' is not the record of a training"),
        (("endless_run.json",), "'endless_run.json' is not the record of a training"),
        (("other.csv",), "'other.csv' cannot be read, it is not the record of a training"),
        (("runs/a", "-o", "a.gif"), "png, svg or pdf"),
        (("runs/a", "-o", "."), "name it curves.png"),
        (("runs/a", "-o", "/"), "name it /curves.png"),
        (("runs/a", "-o", "empty"), "name it empty/curves.png"),
        (("huge_batch_run.json", "--x", "images"), "takes is not known"),
        (("runs/a", "--smooth", "0"), "--smooth is 1 or more, got 0"),
        (("runs/a", "--epoch-images", "-1"), "--epoch-images is 1 or more, got -1"),
        (("runs/a", "--y", "acuracy"), "no run has an output 'acuracy'"),
        ((), "plot takes RUN"),
    ],
)
def test_mistakes_are_said_in_a_line(words: tuple[str, ...], said: str, plot: Command) -> None:
    Path("empty").mkdir()
    Path("notes.txt").write_text("hello\n")
    Path("bad_run.json").write_text("{")
    Path("list_run.json").write_text("[]")
    Path("rows_run.json").write_text('{"train": [{"iteration": "x"}]}')
    row = {"iteration": 10**400, "loss": 1, "lr": 1, "seconds": 1, "outputs": {}}
    Path("huge_run.json").write_text(json.dumps({"train": [row]}))
    Path("endless_run.json").write_text(json.dumps({"train": [row]}).replace(str(10**400), "1e999"))
    record = {"train": [row | {"iteration": 1}], "batch": 10**400, "images": 1}
    Path("huge_batch_run.json").write_text(json.dumps(record))
    Path("other.csv").write_text("a,b\n1,2\n")
    ran = plot(*words)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert not Path("curves.png").exists()


def test_a_folder_of_logs_or_with_several_records_gives_them_all(plot: Command) -> None:
    Path("logs").mkdir()
    shutil.copy(LOG, "logs/one.log.gz")
    Path("logs/two.log").write_bytes(gzip.decompress(LOG.read_bytes()))
    runs = json.loads(plot("logs", "--json").out)["runs"]
    assert [(run["name"], run["rows"]) for run in runs] == [("one", 11), ("two", 11)]
