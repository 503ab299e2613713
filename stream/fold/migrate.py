"""Other definitions come into force at a `config` record: what is still valid is kept, and what was reset is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from ingest.contract.errors import IncompatibleError, QuarantineError, Reason
from ingest.contract.registry import Registry
from ingest.contract.wire import DEFINITIONS, Envelope
from models.base import Model
from stream.fold.alerts import Transition
from stream.fold.budget import carry_pools
from stream.fold.carrying import carry, fresh_rows
from stream.fold.closing import Ends
from stream.fold.definitions import Definitions
from stream.fold.plan import Plan, make_plan
from stream.fold.quantiles import carry_sketches
from stream.fold.relearning import carry_kept, ended_levels
from stream.fold.slots import FREE
from stream.fold.state import PartitionState


@dataclass(frozen=True, slots=True)
class Migration:
    """What became of the state of one partition; counts are of sensors that had something to keep or to lose.

    before, after: digests. reclassed: of another class now. models_…: by name. transitions: ends of the alerts whose
    rule is gone or another one now.
    """

    before: str
    after: str
    sensors: int
    reclassed: int
    windows_kept: int
    windows_reset: int
    models_kept: Mapping[str, int] = field(default_factory=dict)
    models_reset: Mapping[str, int] = field(default_factory=dict)
    transitions: tuple[Transition, ...] = ()

    def __str__(self) -> str:
        """For people: what was reset, by kind."""
        lost = [
            f"{count:,} {what}"
            for what, count in (
                ("windows", self.windows_reset),
                *((f"× {name}", count) for name, count in sorted(self.models_reset.items())),
                ("open alerts", len(self.transitions)),
            )
            if count
        ]
        return f"{self.sensors:,} sensors, {self.reclassed:,} of another class; reset: {', '.join(lost) or 'nothing'}"


def config_of(envelope: Envelope, value: bytes | None, plan: Plan) -> Plan | None:
    """The plan of a `config` record; None if its definitions are those in force.

    Raises QuarantineError for a record that holds no definitions, IncompatibleError for a newer program's.
    """
    if envelope.content_type != DEFINITIONS or value is None:
        raise QuarantineError(Reason.RECORD, f"definitions as {envelope.content_type}")
    found = plan_from(value, plan.registry)
    return None if found.definitions.digest == plan.definitions.digest else found


@lru_cache(maxsize=8)
def plan_from(value: bytes, models: Registry[Model]) -> Plan:
    """The plan of some definitions' bytes: partitions that read the same ones share it.

    Raises QuarantineError for what cannot be in force, IncompatibleError for what only a newer program knows.
    """
    definitions = Definitions.from_bytes(value, models.table)
    for one in (model for owner in definitions.classes for model in owner.model_list):
        # Whoever wrote it had tried it: this program's model is another one.
        if problems := models.problems(one.name) or models.problems(one.name, one.options):
            raise IncompatibleError(
                f"the log brings definitions for another version of a model: {problems[0]}: upgrade this worker"
            )
    try:
        return make_plan(definitions, models)
    except (ValueError, LookupError, OverflowError) as error:
        raise QuarantineError(Reason.RECORD, f"definitions: {error}"[:300]) from error


def migrate(old: Plan, state: PartitionState, new: Plan) -> tuple[PartitionState, Migration]:
    """The state under other definitions; `state` is left as it is. Equal ones change nothing, to the bit."""
    frozen = state.freeze()
    named = np.array([name != FREE for name in frozen.names], np.bool_)
    class_of = np.array([0 if name == FREE else new.classes.index_of(name) for name in frozen.names], np.int32)
    carried = carry(old, frozen.arrays, new, class_of)
    for name, rows in fresh_rows(new, int((~named).sum())).items():
        carried.arrays[name][~named] = rows
    sketches = carry_sketches(
        old.quantiles_us, frozen.arrays, new.quantiles_us, np.where(named, class_of, -1), carried.comparable,
        carried.arrays["sensors"],
    )  # fmt: skip
    pools = {"pools": carry_pools(old.pool_names, frozen.arrays["pools"], new.pool_names)}
    kept = carry_kept(old, frozen.arrays, new, class_of)
    made = PartitionState.thaw(new, replace(frozen, arrays=carried.arrays | sketches | pools | kept))
    ends, was = Ends(), frozen.arrays["class_of"]
    for row, at in carried.closed:
        ends.add(
            old, int(was[row]), frozen.names[row], frozen.arrays["sensors"][row], at,
            frozen.arrays["episodes"][row, at], frozen.now_us,
        )  # fmt: skip
    names_were = np.array([one.name for one in old.classes.classes])
    names_are = np.array([one.name for one in new.classes.classes])
    return made, Migration(
        before=old.definitions.digest,
        after=new.definitions.digest,
        sensors=int(named.sum()),
        reclassed=int(((names_were[was] != names_are[class_of]) & named).sum()),
        windows_kept=int(carried.windows_kept.sum()),
        windows_reset=int(carried.windows_reset.sum()),
        models_kept=_counts(carried.models_kept),
        models_reset=_counts(carried.models_reset),
        transitions=(*ends.told(made), *ended_levels(state, made)),
    )


def _counts(by_name: Mapping[str, Any]) -> dict[str, int]:
    return {name: count for name, rows in by_name.items() if (count := int(rows.sum()))}
