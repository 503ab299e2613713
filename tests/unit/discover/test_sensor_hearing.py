"""Which sensors a configuration names, by listening."""

import msgspec

from deploy.hearing import SensorHearing
from ingest.contract.errors import Reason
from tests.unit.discover.hearing import START_US, burst, drafted, hear


def test_the_features_of_waveforms_are_sensors() -> None:
    payload = {"fs": 25_600, "value": [at % 7 - 3.5 for at in range(128)]}
    _, settings, _ = drafted(hear([[(f"m/press-{n}/vibration", payload) for n in range(3)]]))
    sut = SensorHearing(settings)
    sut.take(burst([("m/press-1/vibration", msgspec.json.encode(payload)), ("m/press-1/vibration", b"{")]), START_US)
    names = ("rms", "peak", "crest", "kurtosis")
    assert sut.sensors == {f"press-1/vibration.{name}" for name in names}
    assert sut.refused == {Reason.SYNTAX: 1}
