"""One module per verb of the `netbuilder` command."""
