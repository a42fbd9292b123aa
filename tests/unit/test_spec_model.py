"""FactorModel: a value that is compared, copied, sent elsewhere and written down without losing anything."""

import copy
import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

import mofa_bayes as mb

MIXED = mb.FactorModel(
    n_factors=7,
    loadings=mb.ARD(precision=mb.Gamma(shape=0.5, rate=2.0)),
    scale="view",
    noise=mb.Gamma(shape=1e-14, rate=1e-300),
    intercept_scale=2,
    min_variance=0,
    views={
        "ehr": mb.ViewModel(loadings=mb.SpikeSlab(inclusion_a=2.0, inclusion_b=0.25), scale="none"),
        "rna.v2": mb.ViewModel(scale="feature"),
        'a "quoted" view\n': mb.ViewModel(loadings=mb.ARD()),
        "plain": mb.ViewModel(),
    },
)
MODELS = [mb.FactorModel(), MIXED]


def test_a_view_believes_what_the_model_says_unless_it_says_otherwise() -> None:
    assert MIXED.loadings_of("ehr") == mb.SpikeSlab(inclusion_a=2.0, inclusion_b=0.25)
    assert MIXED.scale_of("ehr") == "none"
    assert MIXED.loadings_of("rna.v2") == MIXED.loadings
    assert MIXED.scale_of("rna.v2") == "feature"
    for view in ("plain", "never named"):
        assert MIXED.loadings_of(view) == MIXED.loadings
        assert MIXED.scale_of(view) == "view"


@pytest.mark.parametrize("model", MODELS)
def test_toml_round_trip_is_equal(model: mb.FactorModel) -> None:
    back = mb.FactorModel.from_toml(model.to_toml())
    assert back == model
    assert back.to_toml() == model.to_toml()


@pytest.mark.parametrize("model", MODELS)
def test_toml_file_round_trip_is_equal(model: mb.FactorModel, tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text(model.to_toml(), encoding="utf-8")
    assert mb.FactorModel.from_toml(path) == model


def test_what_toml_leaves_out_is_the_default() -> None:
    assert mb.FactorModel.from_toml("[model]") == mb.FactorModel()
    assert mb.FactorModel.from_toml('[model.loadings]\nkind = "ard"') == mb.FactorModel(loadings=mb.ARD())


def test_other_tables_of_the_file_are_left_to_their_owners() -> None:
    text = 'title = "mine"\n[model]\nn_factors = 3\n[risk]\nanything = 1\n[data.deep.er]\nx = [[1]]'
    assert mb.FactorModel.from_toml(text) == mb.FactorModel(n_factors=3)


@pytest.mark.parametrize("model", MODELS)
def test_copies_are_equal(model: mb.FactorModel) -> None:
    assert copy.copy(model) == model
    assert copy.deepcopy(model) == model
    assert replace(model) == model


@pytest.mark.parametrize("model", MODELS)
def test_a_model_can_be_sent_to_another_process(model: mb.FactorModel) -> None:
    assert pickle.loads(pickle.dumps(model)) == model


@pytest.mark.parametrize("model", MODELS)
def test_equal_models_hash_equally(model: mb.FactorModel) -> None:
    reordered = replace(model, views=dict(reversed(model.views.items())), intercept_scale=float(model.intercept_scale))
    assert reordered == model
    assert hash(reordered) == hash(model)
    assert len({model, reordered, replace(model, n_factors=9)}) == 2


def test_models_that_differ_anywhere_are_not_equal() -> None:
    changes = [
        {"n_factors": 8},
        {"loadings": mb.ARD()},
        {"scale": "none"},
        {"noise": mb.Gamma()},
        {"intercept_scale": 3.0},
        {"min_variance": 0.5},
        {"views": {}},
    ]
    different = [replace(MIXED, **change) for change in changes]
    assert all(model != MIXED for model in different)
    assert all(mb.FactorModel.from_toml(model.to_toml()) != MIXED for model in different)
    assert mb.ARD() != mb.SpikeSlab()


def test_a_model_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        MIXED.n_factors = 3
    with pytest.raises(TypeError, match="does not support item assignment"):
        MIXED.views["rna"] = mb.ViewModel()


def test_changing_the_users_mapping_afterwards_changes_nothing() -> None:
    views = {"ehr": mb.ViewModel(scale="none")}
    model = mb.FactorModel(views=views)
    views["rna"] = mb.ViewModel(scale="view")
    assert set(model.views) == {"ehr"}


def test_a_repr_builds_the_model_again() -> None:
    names = {
        name: getattr(mb, name) for name in ("FactorModel", "Gamma", "ARD", "SpikeSlab", "StandardFactors", "ViewModel")
    }
    assert eval(repr(MIXED).replace("mappingproxy(", "dict("), names) == MIXED
