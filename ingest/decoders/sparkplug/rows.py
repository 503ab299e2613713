"""Metrics → columns. The hot path: a host sees bursts of thousands of small payloads."""

from __future__ import annotations

from math import nan
from typing import Any

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import Flag, Quality
from ingest.decoders.base import Decoded, Rejected, Waveform
from ingest.decoders.sparkplug.births import MAX_MS, MIN_MS, Device, Known
from ingest.decoders.sparkplug.properties import properties_of
from ingest.decoders.sparkplug.values import value_of_metric

_GOOD, _BAD = int(Quality.GOOD), int(Quality.BAD)
_MAX_NAME = 64  # of a name in a message for people


class Rows:
    """Collects a burst: full columns for what every row has, by row for what few have."""

    def __init__(self) -> None:
        self.out = Decoded()
        self._known: list[Known] = []
        self._quality: dict[int, tuple[int, str | None]] = {}
        self._text: dict[int, str] = {}
        self._historical: list[int] = []
        out = self.out
        self._add = out.message.append, self._known.append, out.ts_us.append, out.value.append

    def data(self, at: int, payload: Any, device: Device) -> bool:
        """Read a data payload by what its device's birth told. False if that did not tell of every metric."""
        names, aliases = device.names, device.aliases
        payload_ms = payload.timestamp
        refused: dict[Reason, str] | None = None
        understood = True
        add_message, add_known, add_ts_us, add_value = self._add
        for metric in payload.metrics[:]:  # a list: their own iterator takes as long as reading one
            name = metric.name
            if name:
                known = names.get(name)
            else:
                alias = metric.alias
                known = aliases.get(alias) if alias or metric.HasField("alias") else None
            if known is not None:
                number, attribute, above, below = known.usual
                raw = getattr(metric, attribute)
                ts_ms = metric.timestamp or payload_ms
                if (
                    above < raw < below
                    and (raw or metric.HasField(attribute))
                    and MIN_MS <= ts_ms < MAX_MS
                    and metric.datatype in (0, number)
                    and not metric.is_null
                    and not metric.properties
                    and not metric.is_historical
                ):
                    add_message(at)
                    add_known(known)
                    add_ts_us(ts_ms * 1_000)
                    add_value(float(raw))
                    continue
            if refused is None:
                refused = {}
            if known is None:
                reason, detail, unborn = _unknown(metric)
                refused.setdefault(reason, detail)
                understood = understood and not unborn
            else:
                self._read(at, metric, known, payload_ms, refused)
        if refused:
            self._refuse(at, refused)
        return understood

    def birth(self, at: int, payload: Any, metrics: list[Known]) -> None:
        """Read the values in a birth, whose metrics are known one by one."""
        default_ms = payload.timestamp
        refused: dict[Reason, str] = {}
        for metric, known in zip(payload.metrics, metrics, strict=True):
            self._read(at, metric, known, default_ms, refused)
        self._refuse(at, refused)

    def death(self, at: int, devices: list[Device], code: str, at_ms: int) -> None:
        """The end of devices: all their metrics have no value any more, from `at_ms` on (0: the arrival)."""
        out = self.out
        ts_us = at_ms * 1_000 if MIN_MS <= at_ms < MAX_MS else 0
        born = [known for device in devices if device.current for known in device.names.values()]
        dead = [known for known in born if known.field and known.wrong is None]
        first = len(self._known)
        self._known += dead
        out.message += [at] * len(dead)
        out.ts_us += [ts_us] * len(dead)
        out.value += [nan] * len(dead)
        self._quality.update(dict.fromkeys(range(first, first + len(dead)), (_BAD, code)))

    def _read(self, at: int, metric: Any, known: Known, payload_ms: int, refused: dict[Reason, str]) -> None:
        """Any metric that is known."""
        if known.wrong is not None:
            refused.setdefault(*known.wrong)
            return
        if not known.field:
            return
        try:
            if metric.datatype not in (0, known.datatype.number):
                raise QuarantineError(Reason.TYPE, f"datatype {metric.datatype}, but {known.datatype.name} was born")
            ts_ms = metric.timestamp or payload_ms
            if not MIN_MS <= ts_ms < MAX_MS and ts_ms:
                raise QuarantineError(Reason.TIMESTAMP, "not between 1990 and 2200")
            value = self._value(metric, known)
        except QuarantineError as error:
            refused.setdefault(error.reason, f"{known.field[-_MAX_NAME:]}: {error.detail}")
            return
        if metric.is_historical:
            self._historical.append(len(self._known))
        add_message, add_known, add_ts_us, add_value = self._add
        add_message(at)
        add_known(known)
        add_ts_us(ts_ms * 1_000)
        add_value(value)

    def _value(self, metric: Any, known: Known) -> float:
        """The value of any metric; what else it has is noted for the next row."""
        row = len(self._known)
        said = properties_of(metric.properties) if metric.properties else None
        if said is not None and said.problem is not None:
            raise QuarantineError(Reason.QUALITY, said.problem)
        quality, code = (_GOOD, None) if said is None or said.quality is None else (int(said.quality), said.code)
        value: float = nan
        text: str | None = None
        waveform: Waveform | None = None
        if metric.is_null:
            quality = _BAD
        else:
            value, text, waveform = value_of_metric(metric, known.datatype)
        if text is not None:
            self._text[row] = text
        if waveform is not None:
            self.out.waveforms[row] = waveform
        if quality != _GOOD or code is not None:
            self._quality[row] = quality, code
        return value

    def _refuse(self, at: int, refused: dict[Reason, str]) -> None:
        # One a reason: who reads it needs the first of a thousand like it, not all.
        self.out.rejected += [Rejected(at, reason, detail) for reason, detail in refused.items()]

    def was_refused(self, at: int) -> bool:
        """Whether the message, the latest, has a rejected part."""
        rejected = self.out.rejected
        return bool(rejected) and rejected[-1].message == at

    def finish(self) -> Decoded:
        """The columns."""
        out, rows = self.out, len(self._known)
        out.field = [known.field for known in self._known]
        units = [known.unit for known in self._known]
        out.unit = units if any(units) else None
        out.text, out.code, out.quality = [None] * rows, [None] * rows, [_GOOD] * rows
        for row, text in self._text.items():
            out.text[row] = text
        for row, (quality, code) in self._quality.items():
            out.quality[row], out.code[row] = quality, code
        if self._historical:
            out.flags = [0] * rows
            for row in self._historical:
                out.flags[row] = int(Flag.HISTORICAL)
        return out


def _unknown(metric: Any) -> tuple[Reason, str, bool]:
    """(reason, detail, whether a birth would help) of a metric that no birth told of."""
    name = metric.name
    if isinstance(name, bytes):
        return Reason.ENCODING, "a name that is not UTF-8", False
    if name:
        return Reason.NO_BIRTH, f"{name[:_MAX_NAME]!r} was not born", True
    if metric.HasField("alias"):
        return Reason.NO_BIRTH, f"alias {metric.alias} was not born", True
    return Reason.SYNTAX, "a metric without name and alias", False
