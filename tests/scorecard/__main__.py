"""`make scorecard`: what a quiet day's watchers cry about, and what they find of the catalogue's faults.

A simulated works of 1,000 sensors lives through a day in which all is well and, beside it, through the same day with
faults; one of 20,000 through a quiet day. Each comes after a day in which models learn, and all is folded as a worker
folds it, with the settings of a plant that has set nothing. Each fault is met as if it were the only one: the budget of
alerts is what the quiet day leaves. With --sensors: one such day, to tune by.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

import models
from ingest.simulator.description import check_kind
from ingest.simulator.faults.catalogue import KINDS
from tests.scorecard.day import Day, Load
from tests.scorecard.judging import HARMLESS, Card, judge
from tests.scorecard.watching import Seen, watch, watch_alone

DAYS = {
    "1,000 sensors": Load(faults=500),
    "20,000 sensors": Load(sensors=20_000, slower=6.0, partitions=4, record_s=10),
}
BUDGET = 20
"""`plant.alerts_per_day`, unless told otherwise."""


def parse() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.scorecard", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sensors", type=int, help="one day of so many (default: the three days)")
    parser.add_argument("--faults", type=int, nargs="?", const=500, default=0, help="with faults, about so many")
    parser.add_argument("--together", action="store_true", help="all faults on one budget, and no quiet day beside")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", default=list(KINDS), help=f"some of: {', '.join(KINDS)}")
    parser.add_argument("--hours", type=float, default=24.0, help="of the day that counts (default: 24)")
    parser.add_argument("--warm-up", type=float, default=24.0, metavar="HOURS", help="before it (default: 24)")
    parser.add_argument("--slower", type=float, help="all periods times this (default: 1, 6 from 10,000 sensors on)")
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="SET",
        help="instead of the default ones: some of the table, a+b+c, or all; several sets are folded side by side; "
        "each: every model alone",
    )
    parser.add_argument("--raw", action="store_true", help="count excursions of scores above 1.0 instead of alerts")
    parser.add_argument("--alerts-per-day", type=int, help="the budget (default: the setting's)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    for kind in options.kinds:
        try:
            check_kind(kind)
        except ValueError as error:
            parser.error(str(error))
    meant: dict[str, list[Any]] = {
        "default": [None],
        "all": [tuple(models.TABLE)],
        "each": [(one,) for one in models.TABLE],
    }
    options.models = [one for text in options.models or ["default"] for one in meant.get(text, [text.split("+")])]
    for name in (name for one in options.models if one is not None for name in one):
        if name not in models.TABLE:
            parser.error(f"no model is called {name!r}; there are: {', '.join(models.TABLE)}")
    if not (options.hours > 0 and options.warm_up >= 0 and options.faults >= 0 and options.sensors != 0):
        parser.error("hours, sensors and faults are more than nothing")
    return options


def loads(options: argparse.Namespace) -> dict[str, Load]:
    """The days to play, by name."""
    days = dict(DAYS)
    if options.sensors is not None:
        large = options.sensors >= 10_000
        load = Load(sensors=options.sensors, faults=options.faults, slower=6.0 if large else 1.0)
        if large:
            load = replace(load, partitions=4, record_s=10)
        days = {f"{options.sensors:,} sensors": load}
    return {
        name: replace(
            load,
            hours=options.hours,
            warm_up_hours=options.warm_up,
            slower=options.slower or load.slower,
            kinds=tuple(options.kinds),
            alerts_per_day=options.alerts_per_day,
            seed=options.seed,
        )
        for name, load in days.items()
    }


def main() -> int:
    """Play the days and print their cards."""
    options = parse()
    console, cards = Console(highlight=False, soft_wrap=True), dict[str, Any]()
    for name, load in loads(options).items():
        day = Day(load)
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        ) as progress:
            task = progress.add_task(name, total=1.0)
            found = played(day, options, partial(_progress, progress, task))
        for kind, lived, seen_of in found:
            for used, seen in zip(options.models, seen_of, strict=True):
                card = judge(lived, seen, raw=options.raw, budget=options.alerts_per_day or BUDGET)
                title = f"{kind}, {name}" + ("" if used is None else f", {'+'.join(used)}")
                show(console, title, card)
                cards[title] = figures(card)
    if options.json is not None:
        options.json.write_text(json.dumps(cards, indent=2) + "\n", encoding="utf-8")
    return 0


def played(day: Day, options: argparse.Namespace, say: Callable[[float], None]) -> list[tuple[str, Day, list[Seen]]]:
    """(what it was, the day, what was seen of it by set of models)."""
    if not day.load.faults:
        return [("quiet", day, watch(day, options.models, say))]
    if options.together:
        return [("faults", day, watch(day, options.models, say))]
    with_faults, calm = watch_alone(day, options.models, say)
    return [("quiet", Day(replace(day.load, faults=0), day.text), calm), ("faults", day, with_faults)]


def _progress(progress: Progress, task: TaskID, share: float) -> None:
    progress.update(task, completed=share)


def show(console: Console, name: str, card: Card) -> None:
    """Print a card."""
    made_s, folded_s = card.cpu_s
    console.print(
        f"\n[bold]{name}[/]: {card.hours:g} h, {card.readings:,} readings with the warm-up; "
        f"{made_s:.0f} s of CPU to simulate, {folded_s:.0f} s to fold"
    )
    false = card.false
    console.print(
        f"{card.alerts} alerts, [bold]{false.count} false[/] ({false.per_day:.1f} a day); another "
        f"{card.in_maintenance} in a planned stop. {false.excursions} false excursions of scores; a boundary at "
        f"{card.boundaries.everywhere:.2f} keeps the budget"
    )
    sorts = [f"{name} {at:.2f}" for name, at in card.boundaries.by_sort.items() if at > 1.0]
    if sorts:
        console.print("  or, by the sort of sensor: " + ", ".join(sorts))
    for title, counted in (("by", false.by), ("of", false.of)):
        if counted:
            console.print(f"  {title}: " + ", ".join(f"{one} {count}" for one, count in counted.most_common()))
    if false.hours:
        console.print("  in hour: " + ", ".join(f"{hour}: {count}" for hour, count in sorted(false.hours.items())))
        console.print("  often: " + ", ".join(f"{path} {count}" for path, count in false.worst))
        console.print("  highest: " + "; ".join(false.examples))
    if card.verdicts:
        console.print("  the gate: " + ", ".join(f"{one} {count}" for one, count in card.verdicts.most_common()))
    if card.kinds:
        for line in _table(card):
            console.print(line)
        for one in card.kinds:
            if one.missed:
                of = ", ".join(f"{sort} {count}" for sort, count in one.missed.most_common())
                console.print(f"  missed {one.kind}: {of}; such as {'; '.join(one.examples)}")


def _table(card: Card) -> Iterator[str]:
    """Lines of text: a terminal's width is no reason to fold columns."""
    counted = f"{'injected':>8}{'right':>8}{'alerted':>9}{'gate':>6}{'in budget':>11}{'by sort':>9}"
    yield f"{'fault':28}{counted}{'delay p50, p90':>18}  raised by"
    for one in card.kinds:
        name = one.kind + (" (harmless)" if one.kind in HARMLESS else "")
        shares = one.share, one.budgeted / one.faults, one.of_class / one.faults
        right, budgeted, of_class = (f"{share:.0%}" for share in shares)
        delays = f"{one.delay_s(50):.0f} s, {one.delay_s(90):.0f} s" if one.delays_s else ""
        by = ", ".join(f"{model} {count}" for model, count in one.by.most_common())
        figures = f"{one.faults:8}{right:>8}{one.alerted:9}{one.refused:6}{budgeted:>11}{of_class:>9}{delays:>18}"
        yield f"{name:28}{figures}  {by}".rstrip()


def figures(card: Card) -> dict[str, Any]:
    """A card as JSON has it."""
    found: dict[str, Any] = msgspec.to_builtins(card, str_keys=True)
    for row, one in zip(found["kinds"], card.kinds, strict=True):
        del row["delays_s"]
        row["share"] = one.share
        for name, at in (("delay_p50_s", 50), ("delay_p90_s", 90)):
            delay_s = one.delay_s(at)
            row[name] = None if math.isnan(delay_s) else delay_s
    return found


if __name__ == "__main__":
    sys.exit(main())
