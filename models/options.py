"""What options of several models have to be; ValueError says which one is not."""

from __future__ import annotations


def positive(**options: float) -> None:
    """Above 0, and no NaN.

    >>> positive(boundary_sigmas=0.0)
    Traceback (most recent call last):
    ValueError: boundary_sigmas must be positive
    """
    for name, value in options.items():
        if not value > 0.0:
            raise ValueError(f"{name} must be positive")


def weight(**options: float) -> None:
    """The weight of a newest reading: between 0 and 1."""
    for name, value in options.items():
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} must be between 0 and 1, both excluded")


def at_least_2(of: str = "readings", **options: int) -> None:
    """So many of something, 2 or more."""
    for name, value in options.items():
        if value < 2:
            raise ValueError(f"{name} must be at least 2 {of}")
