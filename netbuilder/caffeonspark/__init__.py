"""CaffeOnSpark: whether it takes a solver and its net, what the numbers mean, and all that a job needs.

CaffeOnSpark (yahoo, 2016 to 2019) trains by a fork of Caffe in the executors of Spark. It says little about
files that it does not take, and some of it only when the executors are busy already. Its rules are in
docs/caffeonspark.md, with the codes of what is found. Nothing here runs CaffeOnSpark.
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
