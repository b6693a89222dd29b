"""Training, whatever engine does it: the plan, the events of a run, snapshots, the record, data checks.

Nothing here imports an engine or knows one; `netbuilder.engines` has those.
"""
