"""`millstream simulate`: play a plant to a broker, with faults and the truth about them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, TextColumn

from deploy.console import ERR, OUT, fail, log_at, read, run, say, seconds
from ingest.contract.errors import SettingsError
from ingest.contract.registry import did_you_mean

if TYPE_CHECKING:
    from ingest.simulator.description import PlantDescription
    from ingest.simulator.publisher import Publisher


def simulate(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings, a TOML file: the broker is theirs.", metavar="FILE")
    ] = None,
    plant: Annotated[
        str, typer.Option(help="A plant of ours by name, or a description of one's own.", metavar="NAME|FILE")
    ] = "demo",
    sensors: Annotated[
        int | None, typer.Option(help="How many sensors; default: as described.", min=1, max=1_000_000)
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same plant and the same faults.", min=0)] = 1,
    period: Annotated[
        str | None, typer.Option(help="How often every sensor is read; default: as described.", metavar="DURATION")
    ] = None,
    fault_every: Annotated[
        str | None, typer.Option(help="Mean time between faults; 0s for none; default: as described.")
    ] = None,
    faults: Annotated[
        str | None, typer.Option(help="Only these kinds of faults, with commas between.", metavar="KIND,KIND")
    ] = None,
    history: Annotated[str, typer.Option(help="Event time before now that is sent at once.")] = "0s",
    duration: Annotated[str | None, typer.Option(help="Stop after so long.")] = None,
    messages: Annotated[int | None, typer.Option(help="Stop after so many messages.", min=1)] = None,
    prefix: Annotated[
        str | None, typer.Option(help="What topics begin with; default: as described, mostly `factory`.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Write the injected faults to this CSV file, over an earlier one.")
    ] = None,
    qos: Annotated[int, typer.Option(help="0 is faster, and loses what is under way.", min=0, max=1)] = 1,
    settings: Annotated[
        bool, typer.Option("--settings", help="Print the settings that read this plant, and play nothing.")
    ] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.", metavar="LEVEL")] = "info",
) -> None:
    """Play a plant over real MQTT, in the formats of its devices, with faults on a seeded schedule.

    Plants: demo (an assembly line), bottling, freight_train, mixed (every format), quiet_day (nothing is wrong),
    sparkplug, storm_drains. Faults: spike, drift, noise_burst, level_shift, stuck, unit_swap, sentinel_65535,
    counter_rollover, dropout, duplicate, reorder, clock_jump, gateway_death. The truth has a line for each sensor
    concerned: sensor, kind, start, end.

    Example: millstream simulate --config plant.toml --sensors 1000 --history 5m --truth truth.csv

    Example: millstream simulate --plant sparkplug --settings > plant.toml

    Example: millstream simulate --config plant.toml --plant works.toml --faults stuck,gateway_death
    """
    from ingest.contract.clock import SystemClock
    from ingest.simulator.feed import Feed
    from ingest.simulator.plant import Plant
    from ingest.simulator.publisher import Play, Publisher

    log_at(log_level)
    described = read_plant(plant)
    period_s = seconds("--period", period)
    fault_every_s = seconds("--fault-every", fault_every)
    history_s = seconds("--history", history) or 0.0
    duration_s = seconds("--duration", duration)
    kinds = _kinds(faults)
    _check_truth(truth)
    clock = SystemClock()
    try:
        made = Plant(
            described,
            seed,
            clock.now_us() - round(history_s * 1e6),
            sensors=sensors,
            period_s=period_s,
            fault_every_s=fault_every_s,
            fault_kinds=kinds,
        )
        feed = Feed(made, prefix)
    except ValueError as error:
        fail(2, f"{plant}: {error}")
    if settings:
        _print_settings(described, plant, len(made.roster), prefix)
        return
    if config is None:
        fail(2, "--config says which broker to play to; --settings prints the settings that read this plant")
    broker = read(config, with_models=False).brokers[0]

    async def work() -> None:
        from deploy.daemons import until_signal

        publisher = Publisher(broker, made, feed, Play(duration_s, messages, truth, qos), clock)
        with _progress(publisher) as show:
            await until_signal(publisher.run(show))
        OUT.print(f"{publisher.sent} messages sent, {publisher.link.unconfirmed} not confirmed by the broker")

    run(work())


def read_plant(plant: str) -> PlantDescription:
    """A description of ours by name, or of one's own by its file; or exit code 2 with every mistake."""
    from ingest.simulator.description_file import parse_plant

    folder = files("deploy") / "plants" / "simulated"
    ours = sorted(one.name.removesuffix(".toml") for one in folder.iterdir() if one.name.endswith(".toml"))
    try:
        if plant in ours:
            return parse_plant((folder / f"{plant}.toml").read_text(encoding="utf-8"), f"{plant}.toml")
        if not plant.endswith(".toml") and "/" not in plant:
            fail(2, f"no plant is called {plant!r}{did_you_mean(plant, ours)}; there are: {', '.join(ours)}")
        return parse_plant(Path(plant).read_text(encoding="utf-8"), plant)
    except (OSError, UnicodeDecodeError) as error:
        fail(2, f"{plant}: cannot be read: {error}")
    except SettingsError as error:
        count = len(error.problems)
        fail(2, *error.problems, f"{count} mistake{'s' if count > 1 else ''} in the plant; nothing was started")


def _kinds(faults: str | None) -> list[str] | None:
    from ingest.simulator.description import check_kind

    if faults is None:
        return None
    kinds = [kind.strip() for kind in faults.split(",")]
    try:
        for kind in kinds:
            check_kind(kind)
    except ValueError as error:
        fail(2, f"--faults: {error}")
    return list(dict.fromkeys(kinds))


def _check_truth(truth: Path | None) -> None:
    if truth is None:
        return
    if truth.is_dir():
        fail(2, f"{truth}: is a directory")
    if not truth.parent.is_dir() or not os.access(truth.parent, os.W_OK):
        fail(2, f"{truth}: cannot be written there")


def _print_settings(described: PlantDescription, plant: str, sensors: int, prefix: str | None) -> None:
    from ingest.simulator.settings_text import settings_text

    say(f"# Reads what `millstream simulate --plant {plant}` sends.\n")
    say(settings_text(described, sensors, prefix).rstrip("\n"))


@contextmanager
def _progress(publisher: Publisher) -> Iterator[Callable[[], None] | None]:
    """A line that changes, on a terminal only."""
    if not ERR.is_terminal:
        yield None
        return
    plant = publisher.plant
    with Progress(TextColumn("{task.description}", markup=False), console=ERR, transient=True) as bar:
        task = bar.add_task("connecting …")

        def show() -> None:
            faults = plant.faults
            last = f"  {faults[-1].kind} of {faults[-1].path}" if faults else ""
            said = f"{len(plant.roster):,} sensors  {publisher.sent:,} messages  {len(faults):,} faults"
            bar.update(task, description=f"simulating  {said}, Ctrl-C ends it{last}")

        yield show
