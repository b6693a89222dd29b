"""Figures and structure of a finished net: counts, receptive fields, blocks, differences."""
