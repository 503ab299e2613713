"""What holds for every log, tried on generated ones."""
