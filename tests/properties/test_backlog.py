"""Backlog: whatever is late, each alert is told as it happens, or when its sensor has caught up, or in one digest."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.class_settings import ClassSettings, RuleSettings
from ingest.contract.classes import Reporting
from ingest.contract.readings import Flag
from stream.fold import alerts, partition
from stream.fold.alerts import Phase, alert_id
from stream.fold.backlog import KEPT, SEVERITIES, Digest, Episode, OverAndDone
from stream.fold.partition import PartitionFold
from stream.fold.state import PartitionState
from tests.unit.stream.logs import (
    HOUR_US,
    MINUTE_US,
    PARTITIONS,
    S_US,
    START_US,
    Batch,
    Folded,
    Row,
    examples,
    fold_log,
    plan_of,
    records_of,
)

HOT = RuleSettings(name="hot", signal="value", above=10.0, hold="3s", resolve_after="2s")
SENSORS = ("a/1/t", "a/2/t", "b/1/t")


def watched(reporting: Reporting = Reporting.PERIODIC, staleness: str = "1h") -> ClassSettings:
    return ClassSettings(name="watched", match=["**"], reporting=reporting, staleness=staleness, models=[], rules=[HOT])


PLAN = plan_of(watched())


def ticks(first_s: int, last_s: int, step_s: int = 1) -> list[Batch]:
    return [Batch(START_US + at * S_US) for at in range(first_s, last_s, step_s)]


def spooled(second: int, x: float, sent_s: int, sensor: str = "a/1/t") -> Batch:
    at_us = START_US + second * S_US
    return Batch(at_us, (Row(sensor, at_us, x),), START_US + sent_s * S_US)


def live(second: int, x: float, sensor: str = "a/1/t") -> Batch:
    return spooled(second, x, second, sensor)._replace(sent_us=None)


def told(found: Folded) -> list[tuple[str, Phase]]:
    return [(one.id, one.phase) for one in found.transitions]


def digests(found: Folded) -> list[Digest]:
    return [one for effects in found.effects for one in effects.digests]


def missed(found: Folded) -> list[str]:
    return [one.id for digest in digests(found) for one in digest.episodes]


@st.composite
def outages(draw: st.DrawFn) -> list[Batch]:
    """Live readings, and stretches that came out of a spool long after. In the end everything falls silent."""
    now_s, log = 0, list[Batch]()
    for _ in range(draw(st.integers(1, 5))):
        rows = draw(st.lists(st.tuples(st.sampled_from(SENSORS), st.booleans(), st.integers(1, 4)), max_size=12))
        late_s = draw(st.sampled_from([0, 0, 30, 61, 3_600]))
        arrival_s = now_s
        for sensor, outside, step_s in rows:
            arrival_s += step_s
            log.append(spooled(arrival_s, 20.0 if outside else 1.0, arrival_s + late_s, sensor))
        now_s = arrival_s + late_s + draw(st.sampled_from([1, 5, 100]))
        log += ticks(now_s - 1, now_s)
    return [*log, *ticks(now_s, now_s + 200, 20)]


@examples(50)
@given(outages())
def test_every_alert_is_told_once_as_it_happens_or_later_or_in_a_digest(log: list[Batch]) -> None:
    as_if_live = fold_log(PLAN, [one._replace(sent_us=None) for one in log])
    fired = {one.id for one in as_if_live.transitions if one.phase is Phase.FIRING}

    found = fold_log(PLAN, log)

    said, in_digests = told(found), missed(found)
    assert len(set(said)) == len(said)
    fired_said = {who for who, phase in said if phase is Phase.FIRING}
    assert len(set(in_digests)) == len(in_digests)
    assert fired_said | set(in_digests) == fired
    assert not fired_said & set(in_digests)
    for at, (who, phase) in enumerate(said):
        before = [one for other, one in said[:at] if other == who]
        assert phase is not Phase.RESOLVED or before
        assert Phase.RESOLVED not in before
    # Whoever was told of a beginning is told of the end.
    ends = {who for who, phase in told(as_if_live) if phase is Phase.RESOLVED}
    assert {who for who, phase in said if phase is Phase.RESOLVED} == ends & {who for who, _ in said}


@examples(20)
@given(outages())
def test_nothing_begins_for_people_while_their_data_is_backlog(log: list[Batch]) -> None:
    for effects, batch in zip(fold_log(PLAN, log).effects, log, strict=True):
        is_backlog = batch.sent_us is not None and batch.sent_us - batch.arrival_us > MINUTE_US
        begun = [one for one in effects.transitions if one.phase is not Phase.RESOLVED]
        own = [one for one in begun if batch.rows and one.at_us == batch.rows[0].ts_us]
        assert not (is_backlog and own)


@examples(20)
@given(outages(), st.integers(0, 60))
def test_a_state_that_was_frozen_as_json_goes_on_the_same(log: list[Batch], at: int) -> None:
    records = records_of(log)
    whole, fold = fold_log(PLAN, log), PartitionFold(PLAN, PARTITIONS)
    effects = []
    for number, record in enumerate(records):
        if number == at:
            frozen = fold.state.freeze()
            scalars: dict[str, Any] = json.loads(json.dumps(frozen.scalars))
            object.__setattr__(frozen, "scalars", scalars)
            fold = PartitionFold(PLAN, PARTITIONS, PartitionState.thaw(PLAN, frozen))
        effects.append(fold.fold(record))

    assert fold.state.digest_parts() == whole.digest
    assert [one.transitions for one in effects] == [one.transitions for one in whole.effects]
    assert [one.digests for one in effects] == [one.digests for one in whole.effects]


# --- what people rely on ------------------------------------------------------------------------------------------


def phases(found: Folded) -> list[tuple[Phase, int]]:
    return [(one.phase, one.at_us - START_US) for one in found.transitions]


def test_what_came_and_went_in_an_outage_is_one_digest_of_a_site_and_no_alert() -> None:
    outage = [spooled(at, 20.0 if 10 <= at < 30 else 1.0, 3_600 + at // 10) for at in range(60)]

    found = fold_log(PLAN, [*outage, *ticks(3_610, 3_700)])

    assert told(found) == []
    (digest,) = digests(found)
    (one,) = digest.episodes
    assert (digest.site, digest.more, one.sensor, one.rule, one.severity) == ("a", 0, "a/1/t", "hot", "warning")
    assert (one.since_us, one.until_us) == (START_US + 10 * S_US, START_US + 32 * S_US)
    assert one.id == alert_id("hot", PLAN.rules[0][0].revision, "a/1/t", one.since_us)
    assert digest.at_us == START_US + 3_663 * S_US


def test_who_fires_still_when_it_has_caught_up_is_told_then_under_the_id_of_the_beginning() -> None:
    outage = [spooled(at, 20.0, 3_600) for at in range(10)]

    found = fold_log(PLAN, [*outage, live(3_601, 20.0), live(3_602, 1.0), live(3_605, 1.0)])

    assert phases(found) == [(Phase.FIRING, 3_601 * S_US), (Phase.RESOLVED, 3_605 * S_US)]
    assert {one.since_us for one in found.transitions} == {START_US}


def test_who_falls_silent_while_it_fires_is_told_after_a_minute() -> None:
    outage = [spooled(at, 20.0, 3_600) for at in range(10)]

    found = fold_log(PLAN, [*outage, *ticks(3_601, 3_700)])

    assert phases(found) == [(Phase.FIRING, 9 * S_US)]
    offset = next(one.offset for one in found.effects if one.transitions)
    assert offset - len(outage) in (59, 60)


def test_a_value_that_holds_is_told_when_time_has_passed() -> None:
    plan = plan_of(watched(Reporting.ON_CHANGE))

    found = fold_log(plan, [spooled(0, 20.0, 3_600), *ticks(3_601, 3_700)])

    assert [phase for phase, _ in phases(found)] == [Phase.FIRING]


def test_an_alert_that_was_told_before_the_outage_is_resolved_by_backlog() -> None:
    before = [live(at, 20.0) for at in range(5)]
    outage = [spooled(at, 1.0, 3_600) for at in range(5, 10)]

    found = fold_log(PLAN, [*before, *outage, *ticks(3_601, 3_700)])

    assert [phase for phase, _ in phases(found)] == [Phase.PENDING, Phase.FIRING, Phase.RESOLVED]
    assert digests(found) == []


def test_an_alert_that_was_pending_before_the_outage_is_closed_and_told_of_in_the_digest() -> None:
    outage = [spooled(at, 20.0 if at < 8 else 1.0, 3_600) for at in range(1, 12)]

    found = fold_log(PLAN, [live(0, 20.0), *outage, *ticks(3_601, 3_700)])

    assert [phase for phase, _ in phases(found)] == [Phase.PENDING, Phase.RESOLVED]
    assert missed(found) == [found.transitions[0].id]


def test_what_its_source_calls_historical_is_backlog_if_it_is_old() -> None:
    def reported(delay_s: int) -> Folded:
        late_us = delay_s * S_US
        rows = [Row("a/1/t", START_US + at * S_US, 20.0, flags=Flag.HISTORICAL) for at in range(10)]
        return fold_log(PLAN, [Batch(row.ts_us + late_us, (row,)) for row in rows])

    assert [phase for phase, _ in phases(reported(30))] == [Phase.PENDING, Phase.FIRING]
    assert phases(reported(70)) == []


def test_a_gateway_whose_clock_is_an_hour_ahead_makes_no_backlog_of_the_others() -> None:
    log = [one for at in range(10) for one in (live(at, 20.0), live(at + 3_600, 1.0, "b/1/t"))]

    assert [phase for phase, _ in phases(fold_log(PLAN, log))] == [Phase.PENDING, Phase.FIRING]


def test_a_source_that_is_behind_for_ever_has_a_digest_an_hour() -> None:
    log = [spooled(at, 20.0 if at % 30 < 10 else 1.0, at + 120) for at in range(0, 8_000, 5)]

    found = digests(fold_log(PLAN, log))

    assert len(found) == 2
    assert found[0].at_us - found[0].episodes[0].until_us >= HOUR_US


# --- bounds -------------------------------------------------------------------------------------------------------


def episode(number: int, peak: float, site: str = "a", severity: str = "info", lasted_us: int = 1) -> Episode:
    since_us = START_US + number
    return Episode(-peak, since_us, since_us + lasted_us, f"{number:032x}", f"{site}/{number}", "hot", severity)


@examples(5)
@given(
    st.lists(st.tuples(st.floats(allow_nan=True), st.sampled_from(SEVERITIES)), min_size=30, max_size=40),
    st.integers(1, 3),
)
def test_the_worst_are_kept_and_the_others_counted(kinds: list[tuple[float, str]], sites: int) -> None:
    over, many = OverAndDone(), 40
    for number, (peak, severity) in enumerate(kinds * many):
        over.add(episode(number, peak, f"site-{number % sites}", severity), START_US)
    assert json.loads(json.dumps(over.frozen(), allow_nan=False)) == over.frozen()

    found = over.due(START_US + MINUTE_US)

    assert sum(len(one.episodes) for one in found) == KEPT
    assert sum(len(one.episodes) + one.more for one in found) == len(kinds) * many
    for one in found:
        assert list(one.episodes) == sorted(one.episodes, key=lambda each: each.order)
        assert {each.site for each in one.episodes} == {one.site}
    assert len({one.id for one in found}) == len(found)
    assert over.due(START_US + HOUR_US) == []
    assert over.frozen() == OverAndDone().frozen()


@examples(30)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 800), st.sampled_from(SEVERITIES)), min_size=1, max_size=8),
    st.integers(0, 8),
)
def test_no_site_is_lost_however_much_comes_and_goes_at_the_others(
    floods: list[tuple[int, int, str]], frozen_at: int
) -> None:
    """floods: (site, how many episodes, how severe)."""
    over, added = OverAndDone(), Counter[str]()
    worst: dict[str, tuple[int, float, int, int, str]] = {}
    for at, (site, count, severity) in enumerate(floods):
        if at == frozen_at:
            over = OverAndDone(json.loads(json.dumps(over.frozen())))
        for _ in range(count):
            one = episode(added.total(), 0.0, f"site-{site}", severity)
            over.add(one, START_US)
            added[one.site] += 1
            worst[one.site] = min(worst.get(one.site, one.order), one.order)

    found = {one.site: one for one in over.due(START_US + MINUTE_US)}

    assert {site: len(one.episodes) + one.more for site, one in found.items()} == added
    assert {site: one.episodes[0].order for site, one in found.items()} == worst


def test_a_site_whose_alerts_were_critical_is_told_though_another_ones_noise_came_after_it() -> None:
    """Limits on values in a class without models: they have no score."""
    over = OverAndDone()
    for number in range(50):
        over.add(episode(number, 0.0, "quiet", "critical"), START_US)
    for number in range(50, 50 + KEPT):
        over.add(episode(number, 9.0, "noisy", "info"), START_US)

    noisy, quiet = over.due(START_US + MINUTE_US)

    assert (quiet.site, len(quiet.episodes), quiet.more) == ("quiet", 50, 0)
    assert (noisy.site, len(noisy.episodes), noisy.more) == ("noisy", KEPT - 50, 50)


def test_of_a_site_with_milder_alerts_than_all_others_the_worst_is_told_and_the_rest_counted() -> None:
    over = OverAndDone()
    for number in range(50):
        over.add(episode(number, 5.0, "b", "info", lasted_us=1 + number % 49), START_US)
    for number in range(50, 50 + KEPT):
        over.add(episode(number, 9.0, "a", "critical"), START_US)

    found = over.due(START_US + MINUTE_US)

    assert [(one.site, len(one.episodes), one.more) for one in found] == [("a", KEPT - 1, 1), ("b", 1, 49)]
    assert found[1].episodes[0].id == f"{48:032x}"


def test_more_sites_than_episodes_that_are_kept_have_a_digest_each_time_under_an_id_of_its_own() -> None:
    def said(over: OverAndDone, at_us: int) -> list[Digest]:
        for number in range(KEPT + 5):
            over.add(episode(number, 1.0, f"site-{number}"), at_us)
        return over.due(at_us + MINUTE_US)

    over = OverAndDone()

    first, second = said(over, START_US), said(over, START_US + HOUR_US)

    assert len(first) == len(second) == KEPT + 5
    assert sum(one.more for one in first if not one.episodes) == 5
    ids = [{one.id for one in found if not one.episodes} for found in (first, second)]
    assert len(ids[0] | ids[1]) == 10


@pytest.mark.parametrize("reporting", list(Reporting))
def test_interpreted_and_compiled_episodes_are_the_same(reporting: Reporting, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(watched(reporting))
    outage = [spooled(at, 20.0 if at % 20 < 9 else 1.0, 3_600 + at // 4) for at in range(100)]
    log = [*(live(at - 50, 20.0) for at in range(10)), *outage, *ticks(3_630, 3_800, 10)]
    compiled = fold_log(plan, log)
    for module, names in ((alerts, ("advance", "step", "tell", "_emit")), (partition, ("judge_rows", "judge_open"))):
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name).py_func)

    interpreted = fold_log(plan, log)

    assert interpreted.digest == compiled.digest
    assert interpreted.transitions == compiled.transitions != []
    assert interpreted.digests == compiled.digests != []
