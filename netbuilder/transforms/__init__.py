"""Nets made from nets: another batch, other data layers, phases merged."""
