"""Several brokers, several gateways, and what devices send."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ingest.contract.settings import Settings, route_filters

ROUTE = {"topic": "factory/{line}/{machine}/{quantity}"}
LINES = {"levels": {"line": [f"line-{number:02d}" for number in range(40)]}}


def settings(**tables: Any) -> Settings:
    return Settings.model_validate({"route": [ROUTE], **tables})


def mistake(**tables: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        settings(**tables)
    return "\n".join(error["msg"] for error in caught.value.errors())


def test_one_broker_needs_no_name_and_several_have_one_each() -> None:
    assert [one.name for one in settings().brokers] == ["mqtt"]
    two = settings(broker=[{"name": "north"}, {"name": "south", "port": 1884}])
    assert [(one.name, one.port) for one in two.brokers] == [("north", 1883), ("south", 1884)]
    assert two.gateway_id == "millstream-gateway"


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"mqtt": {}, "broker": [{"name": "a"}]}, "not both"),
        ({"broker": [{"name": "a"}, {"name": "a", "port": 1}]}, "give each"),
        ({"broker": [{"name": "a"}, {"name": "b"}]}, "throw the other out"),
        ({"broker": [{"name": "north"}], "route": [{**ROUTE, "brokers": ["noth"]}]}, 'did you mean "north"'),
        ({"gateway": {"instances": 2}}, "levels = { line"),
        ({"gateway": {"instances": 2, "instance": 3}}, "counts from 1"),
        ({"route": [{**ROUTE, "levels": {"lin": ["a"]}}]}, "no level {lin}"),
        ({"route": [{**ROUTE, "levels": {"line": []}}]}, "each of its values once"),
        ({"route": [{**ROUTE, "levels": {"line": ["a", "a"]}}]}, "each of its values once"),
        ({"route": [{**ROUTE, "levels": {"line": ["a/b"]}}]}, "no single level"),
        ({"route": [{**ROUTE, "levels": {"line": ["+"]}}]}, "no single level"),
        ({"source": [{"match": ["**"], "unit": "wigdets"}]}, "UCUM"),
        ({"source": [{"match": ["**"], "clock": {"max_offset": "1s", "tolerance": "2s"}}]}, "more than tolerance"),
        ({"class": [{"name": "a", "match": ["**"], "waveform": {"rate_hz": 1}}]}, 'kind = "waveform"'),
    ],
)
def test_what_cannot_be_meant_is_said(tables: dict[str, Any], said: str) -> None:
    assert said in mistake(**tables)


def test_gateways_deal_the_lines_out_and_each_is_its_own_client() -> None:
    shared = settings(route=[{**ROUTE, **LINES}], gateway={"instances": 3, "instance": 2})
    (route,) = shared.route
    shares = [route_filters(route, number, 3) for number in (1, 2, 3)]
    assert all(shares)
    dealt = sorted(one for share in shares for one in share)
    assert dealt == [f"factory/line-{number:02d}/+/+" for number in range(40)]
    assert shared.gateway_id == "millstream-gateway-2"


def test_gateways_whose_filters_would_overlap_are_refused() -> None:
    # The second route hands line-00 to whoever owns "x", the first to whoever owns "line-00".
    other = {"topic": "factory/line-00/{machine}/{quantity}", "levels": {"machine": list("abcdefgh")}}
    said = mistake(route=[{**ROUTE, **LINES}, other], gateway={"instances": 2})
    assert "would belong to two gateways" in said
