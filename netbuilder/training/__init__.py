"""Training with any engine: the plan, the events of a run, snapshots, the record, data checks.

Nothing here imports or knows an engine; those are in `netbuilder.engines`.
"""
