"""Simulated plants: what their sensors say in which format, which faults befall them, and the truth about both.

Everything here but the publisher is pure: time is passed in, randomness comes from a seed.
"""
