"""Millstream's own daemons as processes, for the tests that need all of it."""
