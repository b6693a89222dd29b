"""The folder of a job: what its scripts pass to spark-submit, as bash runs them, and what travels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from netbuilder.errors import ConfigError, FileError
from netbuilder.solvers import read_solver
from netbuilder.spark import CLUSTERS, Cluster, Job, bundle

NAMES = [
    "README.md", "net.prototxt", "pack_environment.sh", "solver.prototxt", "submit_kubernetes.sh",
    "submit_standalone.sh", "submit_yarn.sh", "train.py",
]  # fmt: skip
WHERE = {"MASTER": "spark://m:7077", "CLAIM": "claim", "MOUNT": "/shared", "IMAGE": "image:1"}


def submitted(script: Path, **environment: str) -> list[str]:
    """The words that a script passes to spark-submit."""
    fake = script.parent.parent / "bin"
    fake.mkdir(exist_ok=True)
    (fake / "spark-submit").write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n', encoding="utf-8")
    (fake / "spark-submit").chmod(0o755)
    env = {"PATH": f"{fake}:{os.environ['PATH']}", **WHERE, **environment}
    done = subprocess.run(["bash", str(script)], env=env, cwd="/", capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def conf(words: list[str]) -> dict[str, str]:
    """The settings among the words."""
    pairs = (words[i + 1].partition("=") for i, word in enumerate(words) if word == "--conf")
    return {key: value for key, _, value in pairs}


def job(**changed: object) -> Job:
    return Job(**{"solver": "solver.prototxt", "ranks": 8, **changed})  # type: ignore[arg-type]


def test_a_folder_has_everything_and_names_data_by_absolute_paths(folder: Path) -> None:
    written = bundle(job(), "job")
    assert sorted(path.name for path in Path("job").iterdir()) == NAMES
    assert written.notes == (f"net.prototxt: 'train_lmdb' is written as '{folder}/train_lmdb'",)
    net = Path("job/net.prototxt").read_text()
    assert net.count(f'source: "{folder}/train_lmdb"') == 2
    assert read_solver("job/solver.prototxt").net == "net.prototxt"
    bundle(job(ranks=4), "job")  # it may be written again
    Path("job/README.md").write_text("mine")
    with pytest.raises(FileError, match="netbuilder did not write it"):
        bundle(job(), "job")


def test_a_net_of_another_folder_gets_its_bare_name(folder: Path) -> None:
    Path("nets").mkdir()
    Path("net.prototxt").rename("nets/net.prototxt")
    text = Path("solver.prototxt").read_text().replace('"net.prototxt"', '"nets/net.prototxt"')
    Path("solver.prototxt").write_text(text)
    written = bundle(job(), "job")
    assert "net: 'nets/net.prototxt' is written as 'net.prototxt'" in written.notes
    assert read_solver("job/solver.prototxt").net == "net.prototxt"


def test_data_that_is_not_here_needs_an_absolute_path(folder: Path) -> None:
    net = Path("net.prototxt").read_text()
    Path("net.prototxt").write_text(net.replace("train_lmdb", "/on/each/machine"))
    assert bundle(job(), "job").notes == ()
    Path("net.prototxt").write_text(net.replace("train_lmdb", "gone"))
    with pytest.raises(FileError, match="'gone' is not here"):
        bundle(job(), "other")
    assert not Path("other").exists()


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_every_script_fixes_what_a_barrier_job_needs(cluster: str, folder: Path) -> None:
    bundle(job(cluster=Cluster(slots=4)), "job")
    script = folder / "job" / f"submit_{cluster}.sh"
    words = submitted(script)
    settings = conf(words)
    assert settings["spark.dynamicAllocation.enabled"] == settings["spark.speculation"] == "false"
    assert settings["spark.scheduler.maxRegisteredResourcesWaitingTime"] == "1s"
    assert settings["spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures"] == "8"
    assert words[words.index("--deploy-mode") + 1] == "client"
    program = words.index("train.py")
    assert words[program:] == [
        "train.py", "--processes", "8", "--attempts", "3", "--wait", "40",
    ]  # fmt: skip
    assert submitted(script, RESUME="latest")[-2:] == ["--resume", "latest"]


def test_each_cluster_is_asked_for_as_many_slots_as_ranks(folder: Path) -> None:
    bundle(job(cluster=Cluster(slots=4, memory="30g")), "job")
    standalone = submitted(folder / "job" / "submit_standalone.sh")
    assert standalone[:2] == ["--master", "spark://m:7077"]
    assert (conf(standalone)["spark.cores.max"], conf(standalone)["spark.executor.cores"]) == ("8", "4")
    yarn = submitted(folder / "job" / "submit_yarn.sh")
    assert yarn[:2] == ["--master", "yarn"]
    assert yarn[yarn.index("--num-executors") + 1] == "2"
    assert yarn[yarn.index("--executor-cores") + 1] == "4"
    assert conf(yarn)["spark.executor.memoryOverhead"] == "30g"  # ranks are outside of Java's memory
    pods = conf(submitted(folder / "job" / "submit_kubernetes.sh"))
    assert (pods["spark.executor.instances"], pods["spark.executor.cores"]) == ("2", "4")
    assert pods["spark.kubernetes.container.image"] == "image:1"
    claim = "spark.kubernetes.executor.volumes.persistentVolumeClaim.shared"
    assert pods[f"{claim}.options.claimName"] == "claim"
    assert pods[f"{claim}.mount.path"] == "/shared"


def test_gpus_are_asked_for_and_found(folder: Path) -> None:
    bundle(job(gpus=True, cluster=Cluster(slots=4), options={"sync_bn": True}), "job")
    for cluster in CLUSTERS:
        words = submitted(folder / "job" / f"submit_{cluster}.sh")
        settings = conf(words)
        assert settings["spark.task.resource.gpu.amount"] == "1"
        assert settings["spark.executor.resource.gpu.amount"] == "4"
        script = settings["spark.executor.resource.gpu.discoveryScript"]
        assert words[-1] == "--sync-bn"
        assert "--cuda" in words[words.index("train.py") :]
    assert os.access(script, os.X_OK)
    (folder / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho 0\necho 1\n")
    (folder / "bin" / "nvidia-smi").chmod(0o755)
    env = {"PATH": f"{folder}/bin:{os.environ['PATH']}"}
    found = subprocess.run([script], env=env, capture_output=True, text=True, check=True)
    assert found.stdout == '{"name": "gpu", "addresses": ["0","1"]}\n'


def test_settings_and_options_reach_the_scripts(folder: Path) -> None:
    options = {"weights": ["a b.caffemodel", "c"], "seed": 7, "folder": "/x", "threads": 1}
    bundle(job(options=options, settings={"spark.network.timeout": "9s", "spark.x": "$(id) `x` \" '"}), "job")
    words = submitted(folder / "job" / "submit_yarn.sh")
    assert conf(words)["spark.network.timeout"] == "9s"
    assert conf(words)["spark.x"] == "$(id) `x` \" '"
    more = ["--weights", "a b.caffemodel", "--weights", "c", "--seed", "7", "--threads", "1"]
    assert words[-len(more) :] == more


def test_the_environment_travels(folder: Path) -> None:
    bundle(job(cluster=Cluster(environment="env.tar.gz")), "job")
    for cluster in ("standalone", "yarn"):
        words = submitted(folder / "job" / f"submit_{cluster}.sh", PYSPARK_DRIVER_PYTHON="/p/python")
        assert words[words.index("--archives") + 1] == "env.tar.gz#environment"
        assert conf(words)["spark.pyspark.python"] == "./environment/bin/python"
        assert conf(words)["spark.pyspark.driver.python"] == "/p/python"
        assert "--archives" not in submitted(folder / "job" / f"submit_{cluster}.sh", ENVIRONMENT="")


def test_a_packed_environment_works_elsewhere(folder: Path) -> None:
    bundle(job(), "job")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "venv"], check=True)
    (packages,) = Path("venv/lib").glob("python3*/site-packages")
    (packages / "travelled.py").write_text("answer = 42\n")
    pack = ["bash", "job/pack_environment.sh", "venv", "env.tar.gz"]
    subprocess.run(pack, check=True, capture_output=True)
    Path("elsewhere").mkdir()
    subprocess.run(["tar", "-C", "elsewhere", "-xzf", "env.tar.gz"], check=True)
    code = "import travelled; print(travelled.__file__)"
    done = subprocess.run(["elsewhere/bin/python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(folder / "elsewhere"))
    (packages / "__editable__.caffe_netbuilder-0.1.0.pth").write_text("/clone\n")
    refused = subprocess.run(pack, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "does not travel" in refused.stderr


def test_ranks_must_fill_the_executors(folder: Path) -> None:
    with pytest.raises(ConfigError, match="8 processes cannot be dealt to executors with 3 slots each"):
        bundle(job(cluster=Cluster(slots=3)), "job")


def test_the_readme_has_the_numbers_and_what_fails(folder: Path) -> None:
    bundle(job(), "job")
    readme = " ".join(Path("job/README.md").read_text().split())
    for said in (
        "8 ranks in 8 executors of 1 slot, with a core for each rank",
        "8 ranks * batch 4 * iter_size 1 = 32 images an update",
        "storage that all machines share, by the same name",
        "no data goes through Spark",
        "RESUME=latest bash submit_yarn.sh",
        'ends the job after 40 s with "does not have as many free slots"',
    ):
        assert said in readme
