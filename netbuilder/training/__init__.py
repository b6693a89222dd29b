"""Training, whatever engine does it: what goes in, what comes out, what is written down."""
