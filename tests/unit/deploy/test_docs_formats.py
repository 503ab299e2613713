"""README and docs/formats.md: every example becomes what the page says, and every decoder and option is there."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from importlib import import_module
from typing import Any

import pytest

from ingest.contract.errors import Reason
from ingest.decoders import DECODERS
from ingest.decoders.base import Drop
from tests.unit.deploy.reading_docs import ROOT, Example, disagreements, examples

README = ROOT / "README.md"
FORMATS = ROOT / "docs" / "formats.md"
ALL = [*examples(README), *examples(FORMATS)]


@cache
def section(decoder: str) -> str:
    """What docs/formats.md says of a decoder."""
    return FORMATS.read_text(encoding="utf-8").partition(f"\n## `{decoder}`\n")[2].partition("\n## ")[0]


def options_of(decoder: str) -> dict[str, Any]:
    """Options and their defaults."""
    module, _, name = DECODERS.table[decoder].partition(":")
    found = dataclasses.fields(getattr(import_module(module), name))
    return {one.name: one.default for one in found if one.init}


@pytest.mark.parametrize("example", ALL, ids=lambda example: example.name)
def test_an_example_becomes_what_the_page_says(example: Example) -> None:
    assert disagreements(example) == []


@pytest.mark.parametrize("example", ALL, ids=lambda example: example.name)
def test_a_page_that_is_wrong_is_noticed(example: Example) -> None:
    for at, line in enumerate(example.said):
        wrong = [re.sub(r" = .*", ' = "another"', line), re.sub(r"^\S+", "another", line), f"{line}, uncertain"]
        for instead in ([], *([one] for one in wrong)):
            said = [*example.said[:at], *instead, *example.said[at + 1 :]]
            if said != example.said:
                assert disagreements(dataclasses.replace(example, said=said)), instead


@pytest.mark.parametrize("decoder", DECODERS.table)
def test_every_decoder_has_a_row_and_an_example_in_the_readme_and_a_section(decoder: str) -> None:
    formats = README.read_text(encoding="utf-8").partition("\n## Formats\n")[2].partition("\n## ")[0]
    assert re.search(rf"^\| `{decoder}` \|", formats, re.MULTILINE)
    assert section(decoder)
    for page in (README, FORMATS):
        assert any(route.decoder == decoder for example in examples(page) for route in example.settings.route)


@pytest.mark.parametrize("decoder", sorted(DECODERS.table.keys() - {"kepware", "cbor", "msgpack"}))
def test_every_option_is_explained_with_its_default(decoder: str) -> None:
    explained: dict[str, str] = {}
    for names, default in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|([^|]*)\|", section(decoder), re.MULTILINE):
        listed = re.findall(r"`(\w+)`", names)
        defaults = default.strip().split(", ")
        explained |= dict(zip(listed, defaults if len(defaults) == len(listed) else [""] * len(listed), strict=True))
    assert explained == {name: written(value) for name, value in options_of(decoder).items()}


def written(value: Any) -> str:
    """A default as the tables have it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"{value:,.0f}"


def test_what_kepware_presets_is_what_the_page_says() -> None:
    own = {name: value for name, value in options_of("kepware").items() if value != options_of("json")[name]}
    assert dict(re.findall(r'`(\w+)\s=\s"([^"]+)"`', section("kepware").partition("\n```")[0])) == own


def test_every_reason_that_is_named_exists() -> None:
    reasons = {one.value for one in (*Reason, *Drop)}
    named = {
        one
        for page in (README.read_text(encoding="utf-8"), FORMATS.read_text(encoding="utf-8"))
        for one in re.findall(r"\(`([a-z_]+)`(?:, `[a-z_]+`)*\)", page)
    }
    assert len(named) > 5
    assert named <= reasons
