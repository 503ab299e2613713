"""Which Kafka partition a machine lives on.

Kafka's own default hash, so that other producers (Java, librdkafka with `murmur2_random`, aiokafka) that
use the machine path as the record key put the same machine on the same partition.
"""

from __future__ import annotations

from ingest.contract.sensors import machine_of

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


def murmur2(data: bytes) -> int:
    """MurmurHash2 as in Kafka's `Utils.murmur2`, as an unsigned 32-bit number.

    >>> murmur2(b"21")
    3321034988
    """
    h = (0x9747B28C ^ len(data)) & _MASK
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = (int.from_bytes(data[at : at + 4], "little") * _M) & _MASK
        k = ((k ^ (k >> 24)) * _M) & _MASK
        h = ((h * _M) & _MASK) ^ k
    if rest := data[whole:]:
        h = ((h ^ int.from_bytes(rest, "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


def partition_of(sensor: str, partitions: int) -> int:
    """The partition of a sensor: that of its machine, so that a machine has one owner.

    >>> partition_of("demo/press-01/temperature", 12) == partition_of("demo/press-01/current", 12)
    True
    """
    return (murmur2(machine_of(sensor).encode()) & 0x7FFFFFFF) % partitions
