"""KEPServerEX IoT Gateway, MQTT client: JSON as its templates write it as delivered.

{"timestamp": 1700000000000, "values": [{"id": "Channel1.Device1.Tag1", "v": 12.5, "q": true, "t": 1700000000000}]}
"""

from __future__ import annotations

from dataclasses import dataclass

from ingest.decoders.json import Json


@dataclass(frozen=True, slots=True)
class Kepware(Json):
    """The options are those of `json`, set for the templates as delivered.

    They are `rows = "/values"`, `name = "id"`, `value = "v"`, `quality = "q"`, `time = "t"` and
    `document_time = "timestamp"`; a template of one's own needs those in which it differs (`rows = ""` for an array in
    place of the object). In a route's path `{id}` makes levels of the dots in a tag's name.
    """

    value: str = "v"
    rows: str | None = "/values"
    name: str | None = "id"
    time: str = "t"
    document_time: str | None = "timestamp"
    quality: str = "q"
