"""Benchmarks: CPU per message of the daemons, beside the usual way of writing them."""
