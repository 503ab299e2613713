"""Parts of `millstream up`: the balance, children that are started again, and the tether that ends them."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.up.balance import Balance, Fault, Fired, balance
from deploy.up.children import Child
from deploy.up.figures import FOLDED, Figures
from deploy.up.tether import VARIABLE, tether
from ingest.contract import kafka_client
from stream.fold.gate import Verdict

S_US = 1_000_000
EVEN = Figures(received=10, produced=9, quarantined=1, readings_produced=9, folded=7, gated=2)


def drawn(
    figures: Figures, sent: int | None = 10, *, truth: list[Fault] | None = None, fired: list[Fired] | None = None
) -> Balance:
    """At 100 s."""
    return balance(
        figures,
        sent=sent,
        truth=truth or [],
        fired=fired or [],
        until_us=100 * S_US,
        webhooks_delivered=0,
        restarts=0,
        seconds=100.04,
    )


def test_a_run_whose_messages_are_all_accounted_for_is_balanced() -> None:
    found = drawn(EVEN)
    assert found.balanced
    assert found.as_json()["balanced"] is True
    assert found.as_json()["seconds"] == 100.0
    assert drawn(EVEN, sent=None).balanced


@pytest.mark.parametrize(
    "change", [{"received": 11}, {"produced": 8}, {"quarantined": 0}, {"in_flight": 1}, {"folded": 8}, {"gated": 1}]
)
def test_one_message_or_reading_too_many_or_too_few_is_not_balanced(change: dict[str, int]) -> None:
    assert not drawn(replace(EVEN, **change)).balanced  # type: ignore[arg-type]


def test_what_the_gate_accepts_is_not_gated_in_maintenance_either() -> None:
    assert set(FOLDED) == {one.name.lower() for one in Verdict if one.accepted}


def test_a_message_that_was_sent_and_not_received_is_not_balanced() -> None:
    assert not drawn(EVEN, sent=11).balanced


def test_without_a_simulator_what_is_not_folded_yet_is_no_loss_but_folding_twice_is_wrong() -> None:
    assert drawn(replace(EVEN, folded=3), sent=None).balanced
    assert not drawn(replace(EVEN, folded=8), sent=None).balanced


def test_a_fault_is_due_once_its_kind_can_be_seen_and_found_by_an_alert_of_its_sensor_in_its_time() -> None:
    truth = [
        Fault("a", "spike", 10 * S_US, 20 * S_US),
        Fault("b", "spike", 10 * S_US, 20 * S_US),
        Fault("c", "spike", 99 * S_US, 120 * S_US),  # too late to be seen
        Fault("d", "drift", 10 * S_US, 300 * S_US),  # has not grown yet
        Fault("e", "drift", -40 * S_US, 300 * S_US),
    ]
    fired = [Fired("a", 10 * S_US), Fired("a", 11 * S_US), Fired("b", 20 * S_US), Fired("c", 99 * S_US)]
    found = drawn(EVEN, truth=truth, fired=fired)
    assert found.faults == {"spike": (2, 1), "drift": (1, 0)}
    assert (found.faults_injected, found.faults_alerted) == (3, 1)


# --- children ---------------------------------------------------------------------------------------------------------


async def test_a_child_that_ended_with_an_error_is_started_again_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "command"
    command.write_text(
        f'#!/bin/sh\necho "$* for ${VARIABLE}"\n'
        f'[ -e "{tmp_path}/again" ] && exit 0\ntouch "{tmp_path}/again"\necho "no broker" >&2\nexit 3\n'
    )
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command))
    monkeypatch.setattr(kafka_client, "_FIRST_BACKOFF_S", 0.0)
    child, said = Child("gateway", tmp_path, os.environ, "--config", "x.toml", once=True), list[str]()
    await child.start()
    await asyncio.wait_for(child.watch(said.append), 10)
    assert child.restarts == 1
    assert said[0].startswith("gateway     ended with exit code 3; started again in ")
    started = f"-m deploy gateway --config x.toml for {os.getpid()}"
    assert [line.strip() for line in said[1:]] == [started, "no broker"]
    assert child.last_words() == [started, "no broker", started]


async def test_a_child_that_was_told_to_stop_stays_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "command"
    command.write_text("#!/bin/sh\nexec sleep 60\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command))
    child, said = Child("worker", tmp_path, os.environ), list[str]()
    await child.start()
    watching = asyncio.create_task(child.watch(said.append))
    await child.stop()
    await asyncio.wait_for(watching, 10)
    assert (child.restarts, said) == (0, [])


# --- the tether -------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What is asked of the kernel."""
    calls: list[tuple[object, ...]] = []

    class Kernel:
        def __init__(self, _name: None) -> None:
            pass

        def prctl(self, *arguments: object) -> None:
            calls.append(arguments)

    monkeypatch.setattr(ctypes, "CDLL", Kernel)
    monkeypatch.setattr(os, "kill", lambda *arguments: calls.append(("kill", *arguments)))
    monkeypatch.setattr(sys, "platform", "linux")
    return calls


def test_a_command_of_a_users_own_is_not_tethered(
    asked: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    tether()
    assert asked == []


def test_a_child_is_tethered_to_up_and_its_own_children_are_not(
    asked: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(os.getppid()))
    tether()
    assert asked == [(1, signal.SIGTERM)]
    assert VARIABLE not in os.environ


def test_a_child_whose_parent_is_gone_already_ends(
    asked: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(os.getppid() + 1))
    tether()
    assert asked[1:] == [("kill", os.getpid(), signal.SIGTERM)]
