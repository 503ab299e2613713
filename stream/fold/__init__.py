"""The fold: state', effects = fold(state, record).

No clock, no I/O, no randomness: the same log gives the same bits.
"""
