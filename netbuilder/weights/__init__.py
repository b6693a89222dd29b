"""Trained models: their structure, their arrays, written and read."""
