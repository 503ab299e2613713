"""A process that keeps snapshots and may be killed: `python -m … FOLDER FIRST COUNT`.

Puts COUNT snapshots, of offsets from FIRST on; says each one's id on stdout when it is durable.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from stream.file_objects import FileObjects
from stream.snapshot_store import SnapshotStore
from tests.unit.stream.snapshots import FIXED, PARTITIONS, snapshot_at


async def live(folder: Path, first: int, count: int) -> None:
    store = SnapshotStore(FileObjects(folder, timeout_s=30), FIXED.group, FIXED.topic, PARTITIONS)
    for offset in range(first, first + count):
        snapshot_id = await store.put(snapshot_at(offset))
        os.write(sys.stdout.fileno(), f"{snapshot_id}\n".encode())
    store.close()


if __name__ == "__main__":
    asyncio.run(live(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
