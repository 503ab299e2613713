"""Sparkplug B by pysparkplug: writes payloads from descriptions, and reads commands.

{"write": [{"type", "timestamp", "seq", "dtypes", "metrics": [{"name", "datatype", "value", …, "properties"}]}],
"read": [hex of NCMD]} → {"written": [hex], "read": [{"timestamp", "metrics": [[name, datatype, value]]}]}
"""

import datetime
import json
import sys
from typing import Any

import pysparkplug as spb  # type: ignore[import-not-found]
from pysparkplug import _protobuf as protobuf


def value_of(datatype: Any, raw: Any) -> Any:
    if isinstance(raw, dict):
        return bytes.fromhex(raw["hex"])
    if datatype is spb.DataType.DATETIME:
        return datetime.datetime.fromtimestamp(raw / 1000, datetime.UTC)
    if datatype is spb.DataType.DATETIME_ARRAY:
        return tuple(datetime.datetime.fromtimestamp(one / 1000, datetime.UTC) for one in raw)
    return tuple(raw) if isinstance(raw, list) else raw


def metric_of(said: Any) -> Any:
    datatype = spb.DataType[said["datatype"]]
    return spb.Metric(
        timestamp=said.get("timestamp"),
        name=said.get("name"),
        datatype=datatype,
        value=None if said.get("value") is None else value_of(datatype, said["value"]),
        alias=said.get("alias"),
        is_historical=said.get("is_historical", False),
        is_transient=said.get("is_transient", False),
        is_null=said.get("value") is None,
    )


def write(said: Any) -> Any:
    kind = said["type"]
    metrics = tuple(metric_of(one) for one in said.get("metrics", []))
    if kind == "NDEATH":
        made = spb.NDeath(timestamp=said.get("timestamp"), bd_seq_metric=metrics[0])
    elif kind == "DDEATH":
        made = spb.DDeath(timestamp=said["timestamp"], seq=said["seq"])
    else:
        cls = {"NBIRTH": spb.NBirth, "DBIRTH": spb.DBirth, "NDATA": spb.NData, "DDATA": spb.DData}[kind]
        made = cls(timestamp=said["timestamp"], seq=said["seq"], metrics=metrics)
    raw = made.encode(include_dtypes=said.get("dtypes", False))
    if not any("properties" in one for one in said.get("metrics", [])):
        return raw
    # It has no properties of its own, but the whole schema.
    payload = protobuf.Payload.FromString(raw)
    for metric, one in zip(payload.metrics, said["metrics"], strict=True):
        for key, (datatype, field, value) in one.get("properties", {}).items():
            metric.properties.keys.append(key)
            written = metric.properties.values.add()
            written.type = spb.DataType[datatype]
            setattr(written, field, value)
    return payload.SerializeToString()


def read(raw: bytes) -> Any:
    command = spb.NCmd.decode(raw)
    metrics = [[one.name, one.datatype.name, one.value] for one in command.metrics]
    return {"timestamp": command.timestamp, "metrics": metrics}


asked = json.load(sys.stdin)
json.dump(
    {
        "written": [write(one).hex() for one in asked.get("write", [])],
        "read": [read(bytes.fromhex(one)) for one in asked.get("read", [])],
    },
    sys.stdout,
)
