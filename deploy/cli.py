"""The command line.

Exit codes: 0 done, 1 something outside failed (a connection, a port), 2 the settings or the command are wrong, 130
Ctrl-C.
"""

from __future__ import annotations

import asyncio
import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from deploy.commands.alerts import alerts
from deploy.commands.backtest import backtest
from deploy.commands.discover import discover
from deploy.commands.explain import explain
from deploy.commands.levels import levels_app
from deploy.commands.maintenance import maintenance_app
from deploy.commands.quarantine import quarantine_app
from deploy.commands.sensors import sensors_app
from deploy.commands.simulate import simulate
from deploy.console import OUT, fail, log_at, read, read_with_tags, run, seconds
from ingest.contract.observe import configure_log
from ingest.contract.settings import Settings
from ingest.contract.tags import Tag

app = typer.Typer(
    help="Streaming processor for factory telemetry: MQTT → Kafka → rolling statistics, anomaly scores, alerts.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Config = Annotated[Path, typer.Option("--config", "-c", help="Settings, a TOML file.", metavar="FILE")]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.", metavar="LEVEL")]


def _version(wanted: bool) -> None:
    if wanted:
        OUT.print(f"millstream {version('millstream')}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it.")] = False,
) -> None:
    """Streaming processor for factory telemetry: MQTT → Kafka → rolling statistics, anomaly scores, alerts."""


@app.command()
def gateway(
    config: Config,
    instance: Annotated[
        int | None, typer.Option(help="Which of several gateways this is, over gateway.instance.", min=1)
    ] = None,
    log_level: LogLevel = "info",
) -> None:
    """Take messages from MQTT and put them into Kafka, acknowledged only when they are safe there or on disk.

    SIGHUP reads routes, sources, classes and tags anew.

    Examples: millstream gateway --config plant.toml
              millstream gateway --config plant.toml --instance 2
    """
    from deploy.gateway_daemon import run_gateway
    from deploy.registries import read_settings
    from deploy.tags import read_plant_tags

    log_at(log_level)
    environ = os.environ if instance is None else {**os.environ, "MILLSTREAM__GATEWAY__INSTANCE": str(instance)}

    def reread() -> tuple[Settings, dict[str, Tag]]:
        settings = read_settings(config, with_models=False, environ=environ)
        return settings, read_plant_tags(settings, config)

    settings, tags = read_with_tags(config, with_models=False, environ=environ)
    run(run_gateway(settings, tags, reread))


@app.command()
def worker(config: Config, log_level: LogLevel = "info") -> None:
    """Read from Kafka, keep statistics and scores of every sensor, serve metrics, publish alerts.

    Example: millstream worker --config plant.toml
    """
    from deploy.daemons import run_worker

    log_at(log_level)
    run(run_worker(*read_with_tags(config)))


@app.command()
def notifier(config: Config, log_level: LogLevel = "info") -> None:
    """Read alerts from Kafka and tell the configured webhooks, signed and retried.

    Example: millstream notifier --config plant.toml
    """
    from deploy.commands.notifier import run_notifier

    log_at(log_level)
    run(run_notifier(read(config, with_models=False)))


@app.command()
def check(
    config: Config,
    sensors: Annotated[int | None, typer.Option(help="Estimate for so many sensors.", min=1)] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Only the settings; try no connection.")] = False,
) -> None:
    """Check the settings, then the connections; say what the plant will need. Exit code 0, 1 (connections) or 2.

    Example: millstream check --config plant.toml --sensors 20000
    """
    from deploy.checks import (
        Finding,
        check_kafka,
        check_models,
        check_mqtt,
        check_routes,
        check_snapshots,
        check_state_dir,
        check_units,
    )
    from deploy.estimate import estimate

    configure_log("error")
    settings, tags = read_with_tags(config)
    need = estimate(settings, sensors or max(len(tags), settings.plant.expected_sensors), tags)
    OUT.print(
        f"settings    ok     {config}: {len(settings.route)} routes, {len(settings.classes)} classes", markup=False
    )
    OUT.print(
        f"estimate    {need.sensors:,} sensors: at most {need.series:,} series on /metrics/sensors, "
        f"{need.state_bytes / 2**20:,.0f} MiB of worker memory ({need.bytes_per_sensor:,} bytes a sensor)"
    )
    OUT.print(
        f"alerts      {settings.plant.alerts_per_day:,} a day at most, on scores: where a class would bring more, its "
        "boundary rises (plant.alerts_per_day); rules on values are not counted"
    )
    findings = [*check_routes(settings), *check_units(settings, tags), *check_models(settings)]
    if not offline:

        async def connections() -> list[Finding]:
            return [*await check_mqtt(settings), *await check_kafka(settings), await check_snapshots(settings)]

        findings += [*asyncio.run(connections()), check_state_dir(settings)]
    for finding in findings:
        verdict = {True: "ok", False: "FAILED", None: "note"}[finding.ok]
        OUT.print(f"{finding.what:<11} {verdict:<6} {finding.said}", markup=False)
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)


@app.command()
def up(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings; default: a demonstration plant.")
    ] = None,
    simulator: Annotated[
        bool,
        typer.Option("--simulator/--no-simulator", help="Play a plant on embedded brokers, or use one's own brokers."),
    ] = True,
    sensors: Annotated[int, typer.Option(help="How many simulated sensors.", min=1, max=100_000)] = 200,
    rate: Annotated[float | None, typer.Option(help="Messages a second; default: a reading a second each.")] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated plant.", min=0)] = 1,
    fault_every: Annotated[str, typer.Option(help="Mean time between faults.")] = "10s",
    duration: Annotated[str | None, typer.Option(help="Stop after so long; otherwise at Ctrl-C.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the balance to this file, as JSON.")] = None,
) -> None:
    """Run gateway and worker here, watch them, and draw the balance at the end.

    Without options: embedded brokers and a simulated plant; needs the extra, pip install 'millstream[local]'.

    Examples: millstream up --duration 60s --report report.json
              millstream up --config plant.toml --no-simulator
    """
    from deploy.up.run import Plan, Run, lines_of, write_report
    from deploy.up.view import View

    if config is None and not simulator:
        fail(2, "--no-simulator uses one's own brokers: say which with --config plant.toml")
    configure_log("error")
    plan = Plan(
        config=config,
        simulator=simulator,
        sensors=sensors,
        seed=seed,
        rate_per_s=rate,
        fault_every_s=seconds("--fault-every", fault_every) or 10.0,
        duration_s=seconds("--duration", duration),
        report=report,
    )

    async def work() -> None:
        with View(OUT) as view:
            found = await Run(plan, view).run()
        for line in lines_of(found):
            OUT.print(line, markup=False)
        if report is not None:
            write_report(found, report)
        OUT.print("stopped")

    run(work())


app.command()(simulate)
app.command()(discover)
app.command()(explain)
app.add_typer(sensors_app, name="sensors")
app.add_typer(quarantine_app, name="quarantine")
app.command()(alerts)
app.command()(backtest)
app.add_typer(maintenance_app, name="maintenance")
app.add_typer(levels_app, name="levels")
