"""Sparkplug B."""

from ingest.decoders.sparkplug.decoder import SparkplugB

__all__ = ["SparkplugB"]
