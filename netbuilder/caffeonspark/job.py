"""A job for CaffeOnSpark besides its files: the cluster, the data, and the run."""

from __future__ import annotations

from dataclasses import dataclass, field

from netbuilder.errors import ConfigError
from netbuilder.solvers import Recipe

__all__ = ["CONNECTIONS", "Cluster", "Data", "Job", "Run"]

CONNECTIONS = ("ethernet", "infiniband")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Executors, each a JVM on its own machine, and the number of devices (GPUs) per executor.

    `connection` joins the executors; "" omits the flag. `master` is the URL of a standalone cluster, `memory`
    that of one executor in Spark's notation (16g), `cores` the number of one standalone worker. Raises
    ConfigError.
    """

    executors: int = 1
    devices: int = 1
    connection: str = "ethernet"
    master: str = ""
    memory: str = "16g"
    cores: int = 1

    def __post_init__(self) -> None:
        for name in ("executors", "devices", "cores"):
            _positive(name, getattr(self, name))
        if self.connection not in (*CONNECTIONS, ""):
            raise ConfigError(
                f"connection must be one of {', '.join(CONNECTIONS)}, got '{self.connection}'",
                key="connection",
            )

    @property
    def total_devices(self) -> int:
        """All devices of the cluster."""
        return self.executors * self.devices


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data sets: numbers of images (None: unknown), and how they are read. Raises ConfigError.

    `lmdb_partitions` None means one per executor. `persistent` caches the training set on local disks.
    `resize` resizes every image to the net's input, before any crop.
    """

    train_images: int | None = None
    test_images: int | None = None
    lmdb_partitions: int | None = None
    persistent: bool = False
    resize: bool = False

    def __post_init__(self) -> None:
        for name in ("train_images", "test_images", "lmdb_partitions"):
            value = getattr(self, name)
            if value is not None:
                _positive(name, value)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What runs, and where it reads and writes; `model` "" is undecided. Raises ConfigError.

    Modes: `train`, then `test` (means of the outputs) or `features` (blobs of each image), whose output goes
    to `results`. `snapshot` with `weights` resumes a training; `weights` alone starts from a model.
    """

    train: bool = True
    test: bool = False
    features: tuple[str, ...] = ()
    label: str = ""
    model: str = ""
    results: str = ""
    results_format: str = ""
    snapshot: str = ""
    weights: str = ""

    def __post_init__(self) -> None:
        if not (self.train or self.test or self.features):
            raise ConfigError("the job runs nothing", key="train", hint="train, test, or name features")
        if self.label and not self.features:
            raise ConfigError("--label needs --features", key="label")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A whole job. With a `recipe`, the solver's learning rate is compared with the recipe's."""

    cluster: Cluster = field(default_factory=Cluster)
    data: Data = field(default_factory=Data)
    run: Run = field(default_factory=Run)
    recipe: Recipe | None = None


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{name} must be at least 1, got {value}", key=name)
