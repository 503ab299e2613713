"""After a rebuild, what people were told and what the fold believes are one again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.fold.alerts import Phase, Transition, alert_id
from stream.fold.partition import PartitionFold
from stream.fold.reconciling import OpenAlert, reconcile
from tests.unit.stream.logs import PARTITIONS, PLANT, Batch, examples, logs, long_log, plan_of, records_of

PLAN = plan_of(*PLANT)
ANY_LOG = st.one_of(logs(), st.integers(0, 2**32).map(long_log))


def tell(told: dict[str, OpenAlert], said: list[Transition]) -> None:
    """What a reader of the alerts topic holds for open after these."""
    for one in said:
        if one.phase is Phase.RESOLVED:
            told.pop(one.id, None)
        else:
            told[one.id] = OpenAlert(
                one.id, one.phase, one.sensor, one.rule, one.revision, one.severity, one.since_us
            )  # fmt: skip


def open_in(fold: PartitionFold, *phases: Phase) -> dict[str, Phase]:
    """Episodes that the fold believes people hold for open, by the id that they would be told under."""
    state, found = fold.state, {}
    for slot, at in zip(*state.episodes[: state.slots.rows]["phase"].nonzero(), strict=True):
        episode = state.episodes[slot, at]
        rule = fold.plan.rules[int(state.class_of[slot])][int(at)]
        if (phase := Phase(int(episode["told"]))) in phases:
            name = alert_id(rule.settings.name, rule.revision, state.names[int(slot)], int(episode["since_us"]))
            found[name] = phase
    return found


@examples(30)
@given(log=ANY_LOG, lost=st.floats(0, 1), end=st.floats(0, 1))
def test_whatever_of_the_log_is_lost_the_open_alerts_are_those_that_the_fold_believes(
    log: list[Batch], lost: float, end: float
) -> None:
    records = records_of(log)
    until = round(end * len(records))
    begin = round(lost * until)
    told: dict[str, OpenAlert] = {}
    whole = PartitionFold(PLAN, PARTITIONS)
    for record in records[:until]:
        tell(told, whole.fold(record).transitions)
    rebuilt = PartitionFold(PLAN, PARTITIONS)
    for record in records[begin:until]:
        rebuilt.fold(record)

    said = reconcile(rebuilt, told.values())

    # An alert is told of once at most, and nothing old is told again.
    assert len({one.id for one in said}) == len(said)
    assert not {one.id for one in said if one.phase is Phase.FIRING and told.get(one.id)} - {
        name for name, one in told.items() if one.phase is Phase.PENDING
    }
    tell(told, said)
    believed = open_in(rebuilt, Phase.FIRING)
    assert {name for name, one in told.items() if one.phase is Phase.FIRING} == believed.keys()
    assert {name for name, one in told.items() if one.phase is Phase.PENDING} <= open_in(rebuilt, Phase.PENDING).keys()
    # From here on both go on under the same ids.
    for record in records[until:]:
        tell(told, rebuilt.fold(record).transitions)
    assert {name for name, one in told.items() if one.phase is Phase.FIRING} == open_in(rebuilt, Phase.FIRING).keys()


@examples(20)
@given(log=ANY_LOG)
def test_nothing_is_said_where_nothing_was_lost(log: list[Batch]) -> None:
    told: dict[str, OpenAlert] = {}
    fold = PartitionFold(PLAN, PARTITIONS)
    for record in records_of(log):
        tell(told, fold.fold(record).transitions)
    before = fold.state.digest_parts()

    assert reconcile(fold, told.values()) == []
    assert fold.state.digest_parts() == before
