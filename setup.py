"""Packaging of netbuilder; what there is to say about it stands in pyproject.toml."""

from setuptools import setup

setup()
