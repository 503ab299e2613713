"""Putting it together: the command line, the daemons' composition, what a deployment needs."""
