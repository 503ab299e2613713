"""What ingest and stream agree on. Imports nothing else of ours."""
