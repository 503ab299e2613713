"""The Numenta Anomaly Benchmark: our own scoring of it, and what the product makes of its corpus."""
