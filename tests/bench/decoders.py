"""Each decoder of the table on bursts of a simulated plant, beside the usual way to read the same messages.

A burst is what a busy gateway reads at once: a second of 1,000 machines with five sensors each (four gauges, one
counter). Formats with one value a message have 5,000 messages in it, the others 1,000 with five readings each. The
first burst, with Sparkplug's births, is read before the clock starts.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ingest.decoders import DECODERS, Messages
from ingest.simulator.description_file import parse_plant
from ingest.simulator.feed import Feed, routes
from ingest.simulator.plant import Plant
from tests.bench.baselines.decoders import NAIVE, Decode
from tests.bench.measure import Figure
from tests.bench.turns import Say, medians

BURSTS = 8
SECOND_US = 1_000_000
START_US = 1_700_000_000 * SECOND_US
SEED = 1

# An edge node of ten devices where the format has edge nodes; else each machine speaks for itself.
PLANT = """
[plant]
levels = ["site", "line", "machine", "quantity"]

[faults]
every = "0s"

[[group]]
name = "machines"
machines = "works/line-{01..100}/press-{01..10}"
format = "{format}"
{levels}

[[group.sensor]]
name = "temperature"
base = [40.0, 60.0]
noise = { sigma = 0.2 }

[[group.sensor]]
name = "speed"
base = [600.0, 3000.0]
noise = { share = 0.003 }
decimals = 1

[[group.sensor]]
name = "pressure"
base = [5.0, 7.0]
noise = { sigma = 0.03 }
decimals = 3

[[group.sensor]]
name = "vibration"
base = [1.0, 4.0]
noise = { kind = "lognormal", share = 0.12 }
decimals = 3

[[group.sensor]]
name = "turns"
kind = "counter"
count_s = [0.1, 0.2]
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What a format's messages look like to a decoder: options of its route, and bursts, the first to warm up."""

    decoder: str
    options: dict[str, object]
    bursts: list[Messages]


def load_of(decoder: str) -> Load:
    """Messages of the plant in the format of that name, a second a burst."""
    levels = "device_levels = 2" if decoder == "sparkplug_b" else ""
    described = parse_plant(PLANT.replace("{format}", decoder).replace("{levels}", levels), decoder)
    feed = Feed(Plant(described, SEED, START_US))
    (route,) = routes(described)
    bursts = []
    for number in range(BURSTS + 1):
        sent = feed.advance(START_US + (number + 1) * SECOND_US)
        bursts.append(
            Messages([one.topic.encode() for one in sent], [one.payload for one in sent], [one.at_us for one in sent])
        )
    return Load(route.decoder, route.options, bursts)


def ours(load: Load) -> float:
    """ns of CPU per reading."""
    decode = DECODERS.create(load.decoder, load.options).decode
    first, *others = load.bursts
    decode(first)
    began_ns = time.process_time_ns()
    readings = sum(len(decode(burst).value) for burst in others)
    return (time.process_time_ns() - began_ns) / readings


def naive(load: Load) -> float:
    """Likewise, one message at a time."""
    decode = NAIVE[load.decoder]()
    first, *others = load.bursts
    _read(decode, first)
    began_ns = time.process_time_ns()
    readings = sum(_read(decode, burst) for burst in others)
    return (time.process_time_ns() - began_ns) / readings


def _read(decode: Decode, burst: Messages) -> int:
    """As a gateway would: what was read is used (here: counted), then forgotten."""
    return sum(len(decode(topic, payload)) for topic, payload in zip(burst.topics, burst.payloads, strict=True))


def check(load: Load) -> None:
    """Both ways read the same values, and the same times where payloads have any. Raises RuntimeError.

    The first burst may differ: a birth's metrics about the session are no readings.
    """
    decoder, decode = DECODERS.create(load.decoder, load.options), NAIVE[load.decoder]()
    first, *others = load.bursts
    decoder.decode(first)
    _read(decode, first)
    for burst in others:
        found = decoder.decode(burst)
        usual = [one for pair in zip(burst.topics, burst.payloads, strict=True) for one in decode(*pair)]
        if found.rejected or found.dropped or not _alike(found.value, (one.value for one in usual)):
            raise RuntimeError(f"{load.decoder}: the two ways do not read the same values")
        if any(found.ts_us) and not _alike((ts / 1e6 for ts in found.ts_us), (one.at.timestamp() for one in usual)):
            raise RuntimeError(f"{load.decoder}: the two ways do not read the same times")


def _alike(some: Iterable[float], others: Iterable[float]) -> bool:
    left, right = np.array(list(some)), np.array(list(others))
    return left.shape == right.shape and np.allclose(left, right, rtol=0.0, atol=1e-5)


def per_reading(runs: int, say: Say) -> list[Figure]:
    """ns of CPU per reading, for each decoder there is."""
    found = []
    for decoder in sorted(DECODERS.table):
        load = load_of(decoder)
        check(load)
        name = f"decode_ns_per_reading/{decoder}"
        ways = {"ours": partial(ours, load), "message by message": partial(naive, load)}
        mine, usual = medians(name, "ns", ways, runs, say)
        found.append(Figure.cost(name, mine, "ns", usual))
    return found
