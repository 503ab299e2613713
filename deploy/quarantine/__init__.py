"""`millstream quarantine`: what was set aside, looked at and read once more."""
