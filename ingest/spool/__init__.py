"""Records that Kafka does not confirm, on disk: one lane per partition, in order, synced before they are acknowledged.

    DIR/lock                          held by the gateway that uses the directory
    DIR/lanes/TOPIC@PARTITION/
        00000000000000000001.seg      frames, appended only; deleted when drained
        cursor                        up to where Kafka has them; replaced atomically
    DIR/damaged/                      segments in which something could not be read, the newest few

Guarantee: what `append` returned for is read again, in order, after a kill at any point and after a power cut, unless
the disk lost it; then the loss is reported, and what is readable after it goes on. A cursor that is lost, or older
than the truth, has records drained twice: readers of the log remove such duplicates.
"""

from ingest.spool.budget import SpoolFullError
from ingest.spool.frames import Damage, Position
from ingest.spool.lane import Chunk, Lane
from ingest.spool.spool import Spool

__all__ = ["Chunk", "Damage", "Lane", "Position", "Spool", "SpoolFullError"]
