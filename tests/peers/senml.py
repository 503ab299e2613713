"""kpn-senml: packs as it writes them. Asked: [{name, base values, records: [[name, {value, unit, time, sum}]]}]."""

import json
import sys
from importlib import import_module
from typing import Any

# By name: it is only in the environment that runs this.
kpn_senml: Any = import_module("kpn_senml")
kpn_senml.senml_record.basestring = str  # a name of Python 2 that it still asks for


def written(asked: dict[str, Any]) -> dict[str, str]:
    """A pack in both encodings."""
    pack = kpn_senml.SenmlPack(asked["name"])
    pack.base_time, pack.base_value, pack.base_sum = asked.get("time"), asked.get("value"), asked.get("sum")
    pack.base_unit = asked.get("unit")
    for name, fields in asked["records"]:
        pack.add(kpn_senml.SenmlRecord(name, **fields))
    return {"json": pack.to_json(), "cbor": pack.to_cbor().hex()}


if __name__ == "__main__":
    json.dump([written(one) for one in json.load(sys.stdin)], sys.stdout)
