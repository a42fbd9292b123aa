"""Each model of the zoo is loaded, fitted, and does what its golden file says."""

import json

import pytest
from golden.golden import DESIGN, measure, path_of

import mofa_bayes as mb

NAMES = [entry.name for entry in mb.list_models()]


def test_the_zoo_holds_the_models_of_the_readme():
    assert {"mofa", "gfa"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_model_does_what_its_golden_file_says(name):
    measured, golden = measure(name), json.loads(path_of(name).read_text(encoding="utf-8"))
    assert measured["bound"] == pytest.approx(golden["bound"], rel=1e-4)
    assert (
        measured["sharing"]
        == golden["sharing"]
        == {f"T{k + 1}": "+".join(views) for k, views in enumerate(DESIGN.sharing)}
    )
    assert measured["smallest_r"] == pytest.approx(golden["smallest_r"], abs=0.01)
    assert measured["smallest_r"] > 0.95
    assert 0.93 < measured["coverage_95"] < 0.97


@pytest.mark.parametrize("name", NAMES)
def test_card_and_toml_agree(name):
    entry = next(own for own in mb.list_models() if own.name == name)
    assert entry.title in entry.card
    assert entry.source in entry.card
    golden = json.loads(path_of(name).read_text(encoding="utf-8"))
    assert f"{golden['smallest_r']:.3f}" in entry.card
    assert f"{golden['coverage_95']:.3f}" in entry.card
    assert mb.FactorModel.from_toml(mb.load_model(name).to_toml()) == mb.load_model(name)
