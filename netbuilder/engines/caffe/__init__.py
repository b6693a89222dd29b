"""Real Caffe: a judge that loads and runs nets (`judge`), and an engine that trains them (`engine`)."""

from netbuilder.engines.caffe import judge
from netbuilder.engines.caffe.judge import *  # noqa: F403

__all__ = judge.__all__
