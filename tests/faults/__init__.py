"""Faults, and what must happen: each test is marked with its row of the matrix in CONTRIBUTING.md.

After every case: acknowledged ⊆ Kafka ∪ spool ∪ quarantine (I1), memory bounded (I5), PUBACKs in order (I6).
"""
