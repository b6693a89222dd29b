"""Trainings by PyTorch on Spark: TorchDistributor starts the ranks, and every rank trains as torchrun's do.

The driver checks the cluster before it trains, starts a failed job again from the last snapshot, and passes
on what the ranks say. No data goes through Spark. `netbuilder.caffeonspark` is about another program.
"""

from netbuilder.spark.bundle import bundle
from netbuilder.spark.driver import launch
from netbuilder.spark.job import Cluster, Job
from netbuilder.spark.settings import check_settings
from netbuilder.spark.submit import CLUSTERS, script

__all__ = ["CLUSTERS", "Cluster", "Job", "bundle", "check_settings", "launch", "script"]
