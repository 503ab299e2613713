"""Units, ranges, clocks and waveforms on the way from a payload to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ingest.batch import Batch, RawWaveform
from ingest.batcher import Batcher
from ingest.contract.classes import ClassTable
from ingest.contract.errors import Reason
from ingest.contract.readings import Flag, Quality
from ingest.contract.sensors import TopicPattern
from ingest.contract.settings import Settings
from ingest.contract.tags import Tag
from ingest.decoders import DECODERS, Decoded, Decoder, Messages
from ingest.decoders.base import Description, Drop, Dropped, Request
from ingest.packets import Burst
from ingest.profiles import Profiles
from ingest.records import WAVEFORMS, waveform_record
from ingest.sensor_values import OUT_OF_RANGE
from ingest.topic_table import Route

NOW_US = 1_700_000_000_000_000
MINUTE_US = 60_000_000


def batcher(
    settings: Mapping[str, Any] | None = None,
    decoder: Decoder | None = None,
    tags: Mapping[str, Tag] | None = None,
    **options: Any,
) -> Batcher:
    """Topics `f/machine/quantity`, payloads with a unit. settings: tables of the settings file."""
    found = Settings.model_validate({"route": [{"topic": "f/{m}/{q}"}], **(settings or {})})
    decoder = decoder or DECODERS.create("json", {"unit": "unit", **options})
    path = "{m}/{field}" if decoder.names_fields else None
    route = Route("r", TopicPattern.parse("f/{m}/{q}", path), decoder)
    profiles = Profiles(ClassTable(found.classes, tags), found.source)
    return Batcher.alone([route], 4, 1_000, 262_144, profiles)


def send(sut: Batcher, *messages: tuple[bytes, bytes], at_us: int = NOW_US) -> Batch:
    burst = Burst([topic for topic, _ in messages], [payload for _, payload in messages], [0x32] * len(messages), [])
    return sut.batch(burst, np.full(len(messages), at_us, np.int64))


def values(batch: Batch) -> dict[str, float]:
    return {
        sensor or "": value
        for block in batch.blocks
        for sensor, value in zip(block.readings.sensor.decode(), block.readings.value.tolist(), strict=True)
    }


def one_class(**settings: Any) -> dict[str, Any]:
    return {"class": [{"name": "a", "match": ["**"], **settings}]}


# --- units ------------------------------------------------------------------------------------------------------------


def test_a_reading_is_kept_in_its_classs_unit() -> None:
    batch = send(
        batcher(one_class(unit="Cel")),
        (b"f/a/x", b'{"value":212,"unit":"\xc2\xb0F"}'),
        (b"f/a/y", b'{"value":20,"unit":"Cel"}'),
        (b"f/a/z", b'{"value":7}'),
    )
    assert values(batch) == {"a/x": pytest.approx(100.0), "a/y": 20.0, "a/z": 7.0}


def test_a_tags_unit_is_above_its_classs() -> None:
    sut = batcher(one_class(unit="bar"), tags={"a/x": Tag("a/x", unit="kPa")})
    batch = send(sut, (b"f/a/x", b'{"value":1,"unit":"bar"}'), (b"f/a/y", b'{"value":1,"unit":"bar"}'))
    assert values(batch) == {"a/x": 100.0, "a/y": 1.0}


def test_what_a_device_really_sends_is_above_what_its_payload_says() -> None:
    source = {"source": [{"match": ["a/*"], "unit": "[degF]"}]}
    sut = batcher({**one_class(unit="Cel"), **source})
    batch = send(sut, (b"f/a/x", b'{"value":32,"unit":"Cel"}'), (b"f/b/x", b'{"value":32,"unit":"Cel"}'))
    assert values(batch) == {"a/x": pytest.approx(0.0), "b/x": 32.0}


@pytest.mark.parametrize("unit", ["bar", "widgets", "x" * 10_000])
def test_a_unit_that_cannot_be_converted_is_quarantined_not_guessed(unit: str) -> None:
    good, bad = (b"f/a/x", b'{"value":20,"unit":"K"}'), (b"f/a/x", b'{"value":20,"unit":"%b"}' % unit.encode())
    batch = send(batcher(one_class(unit="Cel")), bad, good)
    assert [one.reason for one in batch.refused] == [Reason.UNIT]
    assert values(batch) == {"a/x": pytest.approx(-253.15)}


def test_without_a_unit_in_the_settings_a_sensor_keeps_the_first_that_it_sends() -> None:
    sut = batcher()
    assert values(send(sut, (b"f/a/x", b'{"value":1,"unit":"bar"}'))) == {"a/x": 1.0}
    assert values(send(sut, (b"f/a/x", b'{"value":200,"unit":"kPa"}'))) == {"a/x": 2.0}
    assert [one.reason for one in send(sut, (b"f/a/x", b'{"value":1,"unit":"Cel"}')).refused] == [Reason.UNIT]


def test_a_unit_that_nobody_knows_is_taken_as_it_is() -> None:
    sut = batcher()
    first, second = b'{"value":1,"unit":"widgets"}', b'{"value":2,"unit":"widgets"}'
    assert values(send(sut, (b"f/a/x", first), (b"f/a/y", second))) == {"a/x": 1.0, "a/y": 2.0}


def test_any_number_of_units_takes_bounded_memory() -> None:
    sut = batcher(one_class(unit="Cel"))
    for start in range(0, 6_000, 1_000):
        # Of a letter that UCUM does not have: what is wrong with them is soon known.
        burst = [(b"f/a/x", b'{"value":1,"unit":"\xc3\xbc%d"}' % number) for number in range(start, start + 1_000)]
        assert len(send(sut, *burst).refused) == 1_000
    table = sut._values._units
    assert len(table._numbers) <= 4_100
    assert len(table._pairs) <= 10


# --- what a device says of its sensors ---


class Telling:
    """A decoder of fields `x` and `y`, whose first message describes x."""

    names_fields = True

    def __init__(self, *described: Description) -> None:
        self._described = list(described)

    def decode(self, messages: Messages) -> Decoded:
        out = Decoded()
        for at, payload in enumerate(messages.payloads):
            for name, value in zip("xy", payload.split(), strict=False):
                out.message.append(at)
                out.field.append(name)
                out.value.append(float(value))
        rows = len(out.message)
        out.ts_us, out.text, out.quality, out.code = [0] * rows, [None] * rows, [0] * rows, [None] * rows
        out.described, self._described = self._described, []
        return out


def qualities(batch: Batch) -> list[tuple[str | None, Quality, str | None]]:
    return [
        (sensor, Quality(quality), code)
        for block in batch.blocks
        for sensor, quality, code in zip(
            block.readings.sensor.decode(),
            block.readings.quality.tolist(),
            [None] * len(block.readings) if block.readings.code is None else block.readings.code.decode(),
            strict=True,
        )
    ]


def test_a_value_outside_what_its_device_described_is_doubted_from_then_on() -> None:
    sut = batcher(decoder=Telling(Description("x", "Cel", 0.0, 100.0), Description("gone", "", 0.0, 1.0)))
    first = send(sut, (b"f/a/_", b"50 500"))
    assert qualities(first) == [("a/x", Quality.GOOD, None), ("a/y", Quality.GOOD, None)]
    assert sorted(qualities(send(sut, (b"f/a/_", b"101"), (b"f/a/_", b"-1"), (b"f/b/_", b"101"))), key=str) == [
        ("a/x", Quality.UNCERTAIN, OUT_OF_RANGE),
        ("a/x", Quality.UNCERTAIN, OUT_OF_RANGE),
        ("b/x", Quality.GOOD, None),
    ]


def flags(batch: Batch) -> list[tuple[str | None, int]]:
    return [
        (sensor, flag & Flag.BEYOND_RANGE)
        for block in batch.blocks
        for sensor, flag in zip(block.readings.sensor.decode(), block.readings.flags.tolist(), strict=True)
    ]


def test_a_value_outside_what_its_device_described_is_flagged_for_the_workers() -> None:
    sut = batcher(decoder=Telling(Description("x", "Cel", -40.0, 125.0)))

    assert flags(send(sut, (b"f/a/_", b"126 126"))) == [("a/x", Flag.BEYOND_RANGE), ("a/y", 0)]
    assert flags(send(sut, (b"f/a/_", b"125"), (b"f/a/_", b"-41"), (b"f/b/_", b"126"))) == [
        ("a/x", 0), ("a/x", Flag.BEYOND_RANGE), ("b/x", 0)
    ]  # fmt: skip
    assert flags(send(sut, (b"f/a/_", b"20 20"))) == [("a/x", 0), ("a/y", 0)]


def test_the_range_that_ignition_gives_every_tag_is_doubted_for_and_not_flagged() -> None:
    sut = batcher(decoder=Telling(Description("x", "1/min", 0.0, 100.0)))
    batch = send(sut, (b"f/a/_", b"1480"))

    assert qualities(batch) == [("a/x", Quality.UNCERTAIN, OUT_OF_RANGE)]
    assert flags(batch) == [("a/x", 0)]


@pytest.mark.parametrize("limits", [(None, None), (5.0, 5.0), (9.0, 1.0), (float("nan"), 1.0)])
def test_a_range_that_is_none_doubts_nothing(limits: tuple[float | None, float | None]) -> None:
    sut = batcher(decoder=Telling(Description("x", "", *limits)))
    assert qualities(send(sut, (b"f/a/_", b"1e9"))) == [("a/x", Quality.GOOD, None)]


class Asking:
    """A decoder that understands every message, finds nothing in it, and asks for more."""

    names_fields = False

    def decode(self, messages: Messages) -> Decoded:
        count = len(messages.payloads)
        return Decoded(
            dropped=[Dropped(at, Drop.CONTROL) for at in range(0, count, 2)], requests=[Request("ask", b"?")]
        )


def test_a_message_without_readings_is_counted_and_its_request_handed_on() -> None:
    batch = send(batcher(decoder=Asking()), (b"f/a/x", b"1"), (b"f/a/x", b"2"))
    assert batch.blocks == []
    assert batch.refused == []
    assert batch.requests == [Request("ask", b"?")]
    # The decoder said nothing of the second one: it is not lost from the ledger for that.
    assert batch.dropped == {("r", Drop.CONTROL): 1, ("r", Drop.NO_READINGS): 1}
    assert batch.received == {"r": 2}


# --- clocks ---


def minutes(sut: Batcher, lags_s: Sequence[float]) -> list[Batch]:
    """A reading a minute, whose own time is that much before its arrival."""
    batches = []
    for minute, lag_s in enumerate(lags_s):
        at_us = NOW_US + minute * MINUTE_US
        payload = b'{"value":1,"ts":%d}' % ((at_us - int(lag_s * 1e6)) // 1_000)
        batches.append(send(sut, (b"f/a/x", payload), at_us=at_us))
    return batches


def clock(**settings: Any) -> dict[str, Any]:
    return {"source": [{"match": ["a/*"], "clock": settings}]}


def test_a_trusted_clock_is_only_watched() -> None:
    sut = batcher()
    (block,) = minutes(sut, [-3600.0] * 5)[-1].blocks
    assert block.readings.ts_us.tolist() == [NOW_US + 4 * MINUTE_US + 3_600_000_000]
    assert [(one.device, one.offset_us) for one in sut._values.clocks.offsets(10)] == [("a", 3_600_000_000)]


def test_a_clock_that_is_ahead_is_corrected_and_said_to_be() -> None:
    sut = batcher(clock(rule="correct"))
    batches = minutes(sut, [-3600.0] * 6)
    for minute, batch in enumerate(batches):
        (block,) = batch.blocks
        assert block.readings.ts_us.tolist() == [NOW_US + minute * MINUTE_US]
        assert block.readings.flags[0] & Flag.CLOCK_CORRECTED


def test_a_clock_that_must_be_right_is_not_corrected_but_refused() -> None:
    sut = batcher(clock(rule="quarantine", max_offset="10m"))
    right, wrong = minutes(sut, [0.1, -3600.0])
    assert [one.reason for one in wrong.refused] == [Reason.CLOCK]
    assert wrong.blocks == []
    assert right.refused == []


def test_other_settings_do_not_forget_the_unit_that_a_sensor_is_kept_in() -> None:
    sut = batcher()
    send(sut, (b"f/a/x", b'{"value":20,"unit":"Cel"}'))
    sut._values.reconfigure(Profiles.none())
    assert values(send(sut, (b"f/a/x", b'{"value":68,"unit":"[degF]"}'))) == {"a/x": pytest.approx(20.0)}


def test_other_settings_do_not_forget_a_clock() -> None:
    sut = batcher(clock(rule="correct"))
    minutes(sut, [-3600.0] * 6)
    found = Settings.model_validate({"route": [{"topic": "f/{m}/{q}"}], **clock(rule="correct")})
    sut._values.reconfigure(Profiles(ClassTable(found.classes), found.source))
    late = b'{"value":1,"ts":%d}' % ((NOW_US + 6 * MINUTE_US + 3_600_000_000) // 1_000)
    (block,) = send(sut, (b"f/a/x", late), at_us=NOW_US + 6 * MINUTE_US).blocks
    assert block.readings.ts_us.tolist() == [NOW_US + 6 * MINUTE_US]


# --- waveforms ---

SINE = (np.sin(np.arange(256) * 2 * np.pi / 16) * 2).round(6).tolist()
VIBRATION = one_class(kind="waveform", waveform={"features": ["rms", "peak"], "rate_hz": 1_600.0, "keep_raw": True})


def wave(samples: list[float], more: str = "") -> bytes:
    return f'{{"value":{samples},"ts":1700000000000{more}}}'.encode()


def test_a_waveform_becomes_its_features_beside_it() -> None:
    batch = send(batcher(VIBRATION), (b"f/a/vib", wave(SINE)))
    assert values(batch) == {"a/vib.rms": pytest.approx(2**0.5, rel=1e-3), "a/vib.peak": pytest.approx(2.0, rel=1e-3)}
    assert {block.partition for block in batch.blocks} == {batch.blocks[0].partition}
    assert sum(block.messages["r"] for block in batch.blocks) == 1
    (raw,) = batch.waveforms
    assert (raw.sensor, raw.rate_hz, raw.samples.tolist()) == ("a/vib", 1_600.0, SINE)


def test_a_raw_waveform_has_the_time_of_its_features() -> None:
    ahead = {"source": [{"match": ["a/*"], "clock": {"rule": "correct"}}]}
    batch = send(batcher({**VIBRATION, **ahead}), (b"f/a/vib", wave(SINE)), at_us=NOW_US - 3_600_000_000)
    (raw,) = batch.waveforms
    assert {raw.ts_us} == {ts_us for block in batch.blocks for ts_us in block.readings.ts_us.tolist()}
    refused = {"source": [{"match": ["a/*"], "clock": {"rule": "quarantine", "max_offset": "10m"}}]}
    batch = send(batcher({**VIBRATION, **refused}), (b"f/a/vib", wave(SINE)), at_us=NOW_US - 3_600_000_000)
    assert ([one.reason for one in batch.refused], batch.waveforms) == ([Reason.CLOCK], [])


def test_a_raw_waveform_without_features_has_its_own_time_or_that_of_its_arrival() -> None:
    settings = one_class(kind="waveform", waveform={"features": [], "keep_raw": True})
    timeless = f'{{"value":{SINE}}}'.encode()
    batch = send(batcher(settings), (b"f/a/vib", wave(SINE)), (b"f/a/vib", timeless), at_us=NOW_US + 7)
    assert [one.ts_us for one in batch.waveforms] == [NOW_US, NOW_US + 7]
    assert batch.received == {"r": 2}


def test_a_waveforms_unit_is_converted_before_its_features() -> None:
    settings = one_class(kind="waveform", unit="mm/s", waveform={"features": ["peak_to_peak"]})
    batch = send(batcher(settings), (b"f/a/vib", wave(SINE, ',"unit":"m/s"')))
    assert values(batch) == {"a/vib.peak_to_peak": pytest.approx(4_000.0, rel=1e-3)}


@pytest.mark.parametrize(
    ("settings", "samples", "more", "reason"),
    [
        ({}, SINE, "", Reason.TYPE),  # nobody said that it is a waveform
        (VIBRATION, [1.0, 2.0], "", Reason.NO_VALUE),
        (VIBRATION | one_class(kind="waveform", unit="bar"), SINE, ',"unit":"Cel"', Reason.UNIT),
    ],
)
def test_an_array_that_cannot_be_used_is_quarantined(
    settings: dict[str, Any], samples: list[float], more: str, reason: Reason
) -> None:
    batch = send(batcher(settings), (b"f/a/vib", wave(samples, more)), (b"f/a/vib", wave(SINE[:1] * 300)))
    assert batch.refused[0].reason == reason
    assert batch.received["r"] == 2


def test_a_raw_waveform_is_a_record_that_any_reader_of_arrow_understands() -> None:
    samples = np.array([1.0, 2.0, 3.0])
    partition, record = waveform_record(RawWaveform("site/a/vib", NOW_US, 0.0, samples), "gw", NOW_US + 5, 8)
    table = pa.ipc.open_stream(record.value).read_all()
    assert table.schema.equals(WAVEFORMS)
    assert table.to_pylist()[0]["samples"] == [1.0, 2.0, 3.0]
    assert table.to_pylist()[0]["rate_hz"] is None
    assert record.key == b"site/a"
    assert 0 <= partition < 8
