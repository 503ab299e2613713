"""river's detectors in the settings: names and options that will not do are refused, with the reason and the line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.registries import model_registry, read_settings
from ingest.contract.errors import SettingsError
from tests.conformance.river_detectors import REGISTRY

HST = "river:anomaly.HalfSpaceTrees"
GAUSS = "river:anomaly.GaussianScorer"
WRONG_OPTIONS = {
    "limits missing": (HST, {}, ["limits: are needed, [lowest, highest]: models do not know their class's range"]),
    "limits that are none": (HST, {"limits": [3, 1]}, ["limits: should be [lowest, highest], two numbers"]),
    "limits without end": (HST, {"limits": [0, 10**400]}, ["limits: should be [lowest, highest], two numbers"]),
    "a typing mistake": (
        HST,
        {"n_treez": 3, "limits": [0, 1]},
        ["no option 'n_treez' (did you mean \"n_trees\"?)"],
    ),
    "a typing mistake and another": (
        HST,
        {"limit": [0, 1]},
        [
            "no option 'limit' (did you mean \"limits\"?)",
            "limits: are needed, [lowest, highest]: models do not know their class's range",
        ],
    ),
    "one of ours mistyped": (GAUSS, {"treshold": 3}, ["no option 'treshold' (did you mean \"threshold\"?)"]),
    "several at once": (
        HST,
        {"epoch": 3, "threshold": 1.5, "n_trees": 1e400},
        [
            "epoch: should be a whole number of readings from 32 to 2,048",
            "threshold: should be a raw score of this detector, between 0 and 1, as its scores are",
            "limits: are needed, [lowest, highest]: models do not know their class's range",
            "n_trees: should be a finite number, a word, or true or false; river's own objects cannot be written here",
        ],
    ),
    "a forest": (
        HST,
        {"limits": [0, 1], "n_trees": 1_000},
        ["n_trees, height: 1000 trees of height 8 have more than 65,536 nodes, a sensor"],
    ),
    "a tower": (
        HST,
        {"limits": [0, 1], "height": 9_999},
        ["n_trees, height: 10 trees of height 9999 have more than 65,536 nodes, a sensor"],
    ),
    "a longer memory than there is": (
        GAUSS,
        {"window_size": 600},
        ["window_size: should be at most epoch, and 600 is more than 512 readings"],
    ),
    "a shorter epoch than its default needs": (
        HST,
        {"limits": [0, 1], "epoch": 100},
        ["window_size: should be at most epoch, and 250 is more than 100 readings"],
    ),
    "features of who has none": (
        GAUSS,
        {"features": ["value"]},
        ["features: this detector is told the value, there is nothing to choose"],
    ),
    "features that there are not": (
        HST,
        {"limits": [0, 1], "features": ["velocity"]},
        ['features: should be ["value"], ["difference"] or ["value", "difference"]'],
    ),
    "a river object": (
        "river:anomaly.OneClassSVM",
        {"optimizer": "SGD"},
        ["options: river refuses them: AttributeError: 'str' object has no attribute 'look_ahead'"],
    ),
    "a detector that panics": (
        "river:anomaly.Broken",
        {},
        ["options: river refuses them: PanicException: never works"],
    ),
}


@pytest.mark.parametrize(("name", "options", "said"), WRONG_OPTIONS.values(), ids=WRONG_OPTIONS.keys())
def test_an_option_that_will_not_do_is_refused_with_the_reason(
    name: str, options: dict[str, object], said: list[str]
) -> None:
    assert REGISTRY.problems(name, options) == [f"model {name}: {line}" for line in said]


def test_a_misspelt_detector_is_refused_with_the_right_one() -> None:
    (problem,) = REGISTRY.problems("river:anomaly.HalfSpaceTree")
    assert 'did you mean "river:anomaly.HalfSpaceTrees"?' in problem
    assert REGISTRY.problems("river:anomaly.HalfSpaceTree", {"x": 1}) == []
    assert (
        "no model is called 'river:tree.HoeffdingTreeClassifier'"
        in REGISTRY.problems("river:tree.HoeffdingTreeClassifier")[0]
    )
    assert REGISTRY.problems("ewma_zz")[0].endswith("time_of_day, river:…")


def test_without_river_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in sys.modules if one == "river" or one.startswith("river.")]:
        monkeypatch.setitem(sys.modules, name, None)

    assert model_registry().problems(HST) == [
        f"model {HST}: needs the package river, which is not installed: pip install 'millstream[river]'"
    ]


def test_settings_say_all_mistakes_at_once_and_where(tmp_path: Path) -> None:
    path = tmp_path / "plant.toml"
    path.write_text(
        "[[route]]\ntopic = 'f/{site}/{machine}/{quantity}'\n"
        "[[class]]\nname = 'a'\nmatch = ['**/a']\n"
        "models = [{ name = 'river:anomaly.HalfSpaceTree' }]\n"
        "[[class]]\nname = 'b'\nmatch = ['**']\n"
        "models = [{ name = 'river:anomaly.HalfSpaceTrees', options = { n_trees = 10 } }]\n"
    )

    with pytest.raises(SettingsError) as raised:
        read_settings(path, with_models=True, environ={})
    said = str(raised.value)

    assert "plant.toml:6: class.1.models.1.name: no model is called" in said
    assert 'did you mean "river:anomaly.HalfSpaceTrees"?' in said
    assert "plant.toml:10: class.2.models.1.options: model river:anomaly.HalfSpaceTrees: limits: are needed" in said
    assert read_settings(path, with_models=False, environ={}).classes[1].model_list[0].name == HST


def test_each_option_is_explained_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "plant.toml"
    path.write_text(
        "[[route]]\ntopic = 'f/{machine}/{quantity}'\n[[class]]\nname = 'all'\nmatch = ['**']\n"
        "models = [{ name = 'river:anomaly.HalfSpaceTrees', options = { n_trees = 10, limits = [0, 100] } }]\n"
    )

    done = CliRunner().invoke(app, ["explain", "m/t", "--config", str(path)], env={"COLUMNS": "200"})

    lines = [" ".join(line.split()).replace(str(path), "plant.toml") for line in done.output.splitlines()]
    assert [line for line in lines if line.startswith(("epoch", "features", "n_trees"))] == [
        "epoch 512 default",
        "features value default",
        "n_trees 10 plant.toml:6 [[class]] all",
    ]
    assert any(line.startswith("limits 0, 100 ") for line in lines)


def test_the_same_options_are_the_same_model() -> None:
    one, other = (REGISTRY.create(HST, {"limits": [0, high]}) for high in (1, 2))
    assert REGISTRY.create(HST, {"limits": [0, 1]}) is one is not other
    assert one.state == other.state
