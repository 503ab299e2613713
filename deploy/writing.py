"""What a command's writer to Kafka says to the person who waits for it."""

from __future__ import annotations

from deploy.console import ERR


class OnTerminal:
    """A LogWriter's events."""

    def kafka_unreachable(self, reason: str, retry_in_s: float) -> None:
        """No broker answered."""
        ERR.print(f"Kafka cannot be reached: {reason}; again in {retry_in_s:.0f} s, Ctrl-C ends it", markup=False)

    def write_failed(self, topic: str, partition: int, reason: str, retry_in_s: float) -> None:
        """A record was not confirmed; it will be sent again."""
        ERR.print(f"{topic}/{partition} was not written: {reason}; again in {retry_in_s:.0f} s", markup=False)

    def write_stalled(self, topic: str, partition: int, for_s: float) -> None:
        """A record has had no answer for so long; it is still waited for."""
        ERR.print(f"{topic}/{partition}: no answer for {for_s:.0f} s, still waiting; Ctrl-C ends it", markup=False)
