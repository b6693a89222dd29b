"""Trained models: read their structure, write their arrays."""
