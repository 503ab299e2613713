"""A site's clock is that of the zone's own rules."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.site_time import SIZE, offsets_of, site_us
from tests.unit.stream.logs import examples

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo")


@examples(200)
@given(zone=st.sampled_from(ZONES), second=st.integers(946_684_800, 2_840_140_800 - 1))
def test_every_second_is_as_far_ahead_as_the_zone_says(zone: str, second: int) -> None:
    table = np.array([7.0, *offsets_of(zone)])
    offset = datetime.fromtimestamp(second, UTC).astimezone(ZoneInfo(zone)).utcoffset()

    assert offset is not None
    assert site_us(second * 1_000_000, table, 1) - second * 1_000_000 == offset.total_seconds() * 1_000_000


@pytest.mark.parametrize("zone", ZONES)
def test_before_and_after_the_table_time_goes_on(zone: str) -> None:
    table = np.array(offsets_of(zone))

    assert table.size == SIZE
    for second in (0, 5_000_000_000):
        assert abs(site_us(second * 1_000_000, table, 0) - second * 1_000_000) <= 15 * 3_600_000_000


@pytest.mark.parametrize("zone", ["", "Europe/Berlinn", "../etc/passwd", "Europe"])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        offsets_of(zone)
