"""Whole nets and the command line: recipes that stitch legos together."""
