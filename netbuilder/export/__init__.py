"""Nets in the formats of other programs."""
