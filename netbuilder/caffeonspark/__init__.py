"""CaffeOnSpark: checks a solver and its net, explains the numbers, and writes everything a job needs.

CaffeOnSpark (Yahoo, 2016 to 2019) trains with a fork of Caffe in the executors of Spark. It explains little
when it refuses a file, and sometimes refuses it only after it has allocated the executors. The rules and
codes are in docs/caffeonspark.md. Nothing here runs CaffeOnSpark.
"""

from netbuilder.caffeonspark.bundle import bundle, shipped
from netbuilder.caffeonspark.codes import CODES, Code
from netbuilder.caffeonspark.job import CONNECTIONS, Cluster, Data, Job, Run
from netbuilder.caffeonspark.sources import Sources, load
from netbuilder.caffeonspark.submit import CLUSTERS, command, script
from netbuilder.caffeonspark.validate import Validated, validate, validate_sources

__all__ = [
    "CLUSTERS",
    "CODES",
    "CONNECTIONS",
    "Cluster",
    "Code",
    "Data",
    "Job",
    "Run",
    "Sources",
    "Validated",
    "bundle",
    "command",
    "load",
    "script",
    "shipped",
    "validate",
    "validate_sources",
]
