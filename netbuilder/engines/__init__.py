"""What runs or trains a net: one module per engine, each started as its own process.

The core never imports an engine; an engine imports heavy things (numpy) inside functions only.
"""
