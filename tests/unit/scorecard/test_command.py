"""`python -m tests.scorecard`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.scorecard.__main__ import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["scorecard", *arguments])
    return main()


def test_a_short_day_is_printed_and_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "card.json"
    short = ("--sensors", "60", "--hours", "0.1", "--warm-up", "0.1", "--faults", "20", "--kinds", "spike", "duplicate")
    assert run(monkeypatch, *short, "--models", "default", "ewma_z+stuck", "--raw", "--json", str(out)) == 0
    figures = json.loads(out.read_text())
    names = [f"{day}, 60 sensors{models}" for day in ("quiet", "faults") for models in ("", ", ewma_z+stuck")]
    assert list(figures) == names
    said = capsys.readouterr().out
    for name, card in figures.items():
        assert name in said
        assert {one["kind"] for one in card["kinds"]} == ({"spike", "duplicate"} if "faults" in name else set())
        assert all(0 <= one["share"] <= 1 for one in card["kinds"])
        assert card["readings"] > 1_000
    assert "duplicate (harmless)" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--kinds", "spikes"], "did you mean"),
        (["--models", "ewma_y"], "no model is called 'ewma_y'"),
        (["--hours", "0"], "more than nothing"),
        (["--sensors", "0"], "more than nothing"),
    ],
)
def test_what_cannot_be_played_is_said(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, *arguments)
    assert said in capsys.readouterr().err
