"""`millstream backtest` from end to end: what it prints and writes, and what it answers to what cannot be."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from deploy.cli import app
from tests.unit.backtest.tables import written

Run = Callable[..., Result]
STEP = 1_704_067_200


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run_it(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, ["backtest", *map(str, arguments)])

    return run_it


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Two quiet sensors for 3,000 s, and a spike of the first after 2,000 s."""
    random = np.random.default_rng(1)
    values = random.normal(20, 0.5, (3_000, 2)).round(3)
    values[2_000, 0] = 60
    lines = [f"{STEP + at},{a},{b}" for at, (a, b) in enumerate(values.tolist())]
    return written(tmp_path, "time,line/press/t,line/press/p\n" + "\n".join(lines) + "\n", "history.csv")


LABELS = """sensor,kind,start,end
line/press/t,spike,2024-01-01T00:33:15Z,2024-01-01T00:33:30Z
line/press/p,stuck,2024-01-01T00:40:00Z,2024-01-01T00:41:00Z
line/press/q,stuck,2024-01-01T00:40:00Z,2024-01-01T00:41:00Z
line/press/p,stuck,2025-01-01T00:40:00Z,2025-01-01T00:41:00Z
"""


def test_a_recorded_spike_is_found_told_written_and_drawn(run: Run, history: Path, tmp_path: Path) -> None:
    labels = written(tmp_path, LABELS, "labels.csv")
    quiet = written(tmp_path, '[[class]]\nname = "quiet"\nmatch = ["**"]\nmodels = []\n', "quiet.toml")
    files = ["--labels", labels, "--compare", quiet, "--out", "s.csv", "--json", "f.json"]
    told = run(history, *files, "--train-until", "2024-01-01 00:10")
    assert told.exit_code == 0, told.output
    for line in (
        r"^history.csv: wide: times in 'time', 2 sensors: 'line/press/t', 'line/press/p'$",
        r"^  times are numbers, since 1970, by their size: s$",
        r"^readings +6,000 of 2 sensors, 2024-01-01 00:00:00 UTC to 2024-01-01 00:49:59 UTC",
        r"^counted +from 2024-01-01 00:10:00 UTC on",
        r"^ +default class +quiet.toml$",
        r"^alerts +1 +0$",
        r"^alerts a day +36.0 +0$",
        r"^labels found \(recall\) +1 of 2, 50 % +0 of 2, 0 %$",
        r"^alerts in a label \(precision\) +1 of 1, 100 % +0 of 0, –$",
        r"^delay, median +5 s +–$",
        r"^  spike +1 of 1 +0 of 1$",
        r"^2 labels matching nothing:$",
        r"^  line/press/q stuck, .*: no such sensor \(did you mean \"line/press/.\"\?\)$",
        r"^  line/press/p stuck, .*: no reading in that time$",
        r"^1 label missed:$",
        r"^plot +history.backtest.html: 2 sensors$",
    ):
        assert re.search(line, told.output, re.MULTILINE), (line, told.output)
    figures = json.loads(Path("f.json").read_text(encoding="utf-8"))
    first, second = figures["configurations"]
    assert (figures["readings"], figures["sensors"], first["alerts"], second["alerts"]) == (6_000, 2, 1, 0)
    assert (first["recall"], first["precision"], first["median_delay_s"]) == (0.5, 1.0, 5.0)
    assert [one["why"] for one in first["labels_matching_nothing"]][1] == "no reading in that time"
    with Path("s.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6_000
    alerting = [one for one in rows if one["alert"]]
    assert {(one["sensor"], one["alert"]) for one in alerting} == {("line/press/t", "anomaly")}
    assert alerting[0]["timestamp"].startswith("2024-01-01 00:33:20")
    assert float(alerting[0]["score"]) > 1
    assert alerting[0]["model"]


def test_the_report_needs_no_network_and_no_name_breaks_it(run: Run, tmp_path: Path) -> None:
    name = "x</script><script>alert(1)<"
    lines = [f"{STEP + at},{name},{at % 3 if at != 900 else 500}" for at in range(1_000)]
    data = written(tmp_path, "time,sensor,value\n" + "\n".join(lines))
    told = run(data, "--plot", "report.html")
    assert told.exit_code == 0, told.output
    page = Path("report.html").read_text(encoding="utf-8")
    assert not re.search(r"""<(script|link|img|iframe)[^>]*\b(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert "@import" not in page
    own = re.split(r"<script[^>]*>.*?</script>", page, flags=re.DOTALL)
    assert "alert(1)" in "".join(own)
    assert "<script>alert" not in page
    assert "Plotly.newPlot" in page
    assert "1 alert" in page


def test_no_plot_is_drawn_where_none_is_wanted(run: Run, history: Path, tmp_path: Path) -> None:
    assert run(history, "--no-plot").exit_code == 0
    assert list(tmp_path.iterdir()) == [history]


def test_without_the_library_there_is_no_plot_and_all_else(
    run: Run, history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.backtest.plot.has_plotly", lambda: False)
    told = run(history)
    assert told.exit_code == 0
    assert "pip install 'millstream[plot]'" in told.output
    assert "alerts a day" in told.output
    wanted = run(history, "--plot", "p.html")
    assert wanted.exit_code == 2
    assert "pip install 'millstream[plot]'" in wanted.output


def test_a_file_out_of_order_is_sorted_or_counted(run: Run, tmp_path: Path) -> None:
    lines = [f"{STEP + at},{at % 5}" for at in [*range(100, 200), *range(100), 50]]
    data = written(tmp_path, "time,t\n" + "\n".join(lines))
    told = run(data, "--no-plot")
    assert "times run backwards: sorted in memory" in told.output
    assert re.search(r"^not folded: duplicate +1$", told.output, re.MULTILINE)
    as_it_is = run(data, "--no-plot", "--no-sort")
    assert re.search(r"^not folded: late +101$", as_it_is.output, re.MULTILINE)
    assert "--sort sorts them first" in as_it_is.output


def test_one_row_has_no_figures_a_day_and_is_no_mistake(run: Run, tmp_path: Path) -> None:
    told = run(written(tmp_path, f"time,t\n{STEP},1\n"), "--json", "f.json")
    assert told.exit_code == 0, told.output
    assert "no time passed in what is counted" in told.output
    assert json.loads(Path("f.json").read_text(encoding="utf-8"))["configurations"][0]["alerts_per_day"] is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing.csv"], "nothing.csv: cannot be read"),
        (["--time-column", "tme"], 'did you mean "time"'),
        (["--tz", "Europe/Berlni"], 'did you mean "Europe/Berlin"'),
        (["--train-until", "soon"], "--train-until: 'soon' is no time"),
        (["--train-until", "2030-01-01"], "all data is before it"),
        (["--decimal", "x"], "--decimal: 'x' is neither"),
        (["--sep", ";;"], "--sep: ';;' is not one character"),
        (["--sep", ",", "--decimal", ","], "are both ','"),
        (["--plot", "a.html", "--no-plot"], "which one counts"),
        (["--out", "history.csv"], "is what is read"),
        (["--out", "a", "--json", "a"], "are one file"),
        (["--out", "no/such/folder.csv"], "cannot be written there"),
        (["--out", "."], "is a directory"),
        (["--labels", "nothing.csv"], "labels cannot be read"),
        (["--config", "model.toml"], "no model is called 'ewma_zz' (did you mean \"ewma_z\"?)"),
        (["--config", "option.toml"], 'did you mean "alpha"'),
        (["--compare", "key.toml"], 'no such key (did you mean "match"?)'),
        (["--config", "nothing.toml"], "cannot be read"),
    ],
)
def test_what_cannot_be_is_answered_with_what_to_do(
    arguments: list[str], says: str, run: Run, history: Path, tmp_path: Path
) -> None:
    for name, line in (
        ("model", 'match = ["**"]\nmodels = ["ewma_zz"]'),
        ("option", 'match = ["**"]\nmodels = [{ name = "ewma_z", options = { alpa = 0.1 } }]'),
        ("key", 'mtch = ["**"]'),
    ):
        written(tmp_path, f'[[class]]\nname = "x"\n{line}\n', f"{name}.toml")
    told = run(*([] if arguments[0] == "nothing.csv" else [history]), *arguments)
    assert told.exit_code == 2, told.output
    assert says in told.output.replace("\n", " ").replace("  ", " ") or says in told.output
    assert not {one.name for one in tmp_path.iterdir()} & {"a", "a.html", "history.backtest.html"}


def test_a_history_that_no_model_judged_is_told_from_one_without_anything_to_find(run: Run, tmp_path: Path) -> None:
    short = [f"{STEP + at},{20 + at % 7}" for at in range(60)]
    told = run(written(tmp_path, "time,oil\n" + "\n".join(short)), "--json", "f.json", "--plot", "p.html")
    assert told.exit_code == 0, told.output
    sentence = "1 of 1 sensors were never judged by a model: no alert is no answer for them"
    why = "too few for warm_up: models need more than 100"
    assert re.search(r"^alerts +0$", told.output, re.MULTILINE)
    assert sentence in told.output
    assert f"  oil: 60 readings, {why}" in told.output
    never = json.loads(Path("f.json").read_text(encoding="utf-8"))["configurations"][0]["never_judged"]
    assert never == [{"sensor": "oil", "readings": 60, "learned": 60, "why": why}]
    page = Path("p.html").read_text(encoding="utf-8")
    assert sentence in page
    assert f"0 alerts, never judged: {why}" in page


def test_where_models_judged_nothing_is_said_of_it(run: Run, history: Path) -> None:
    told = run(history, "--no-plot", "--json", "f.json")
    assert "never judged" not in told.output
    assert json.loads(Path("f.json").read_text(encoding="utf-8"))["configurations"][0]["never_judged"] == []
