"""Records that steer the fold, as they are written: which definitions are in force, and commands."""

from __future__ import annotations

from ingest.contract.log_writer import Outgoing
from ingest.contract.wire import DEFINITIONS, JSON, Envelope, Kind, headers_of
from stream.fold.commands import Command, encode_command
from stream.fold.definitions import Definitions


def config_record(definitions: Definitions, source: str, seq: int, arrival_us: int, partitions: int) -> Outgoing:
    """From this record on, these definitions are in force in the partition it is written to.

    seq: the source's record number. partitions: of the readings topic.
    """
    envelope = Envelope(Kind.CONFIG, DEFINITIONS, source, seq, arrival_us, partitions)
    return Outgoing(definitions.to_bytes(), None, headers_of(envelope), arrival_us // 1000)


def command_record(command: Command, source: str, seq: int, arrival_us: int, partitions: int) -> Outgoing:
    """A command to the partition it is written to, which has to be that of the sensor it names."""
    envelope = Envelope(Kind.COMMAND, JSON, source, seq, arrival_us, partitions)
    return Outgoing(encode_command(command), None, headers_of(envelope), arrival_us // 1000)
