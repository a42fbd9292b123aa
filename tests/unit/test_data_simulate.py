"""Simulated cohorts: the truth they come with is the truth of what they show."""

import numpy as np
import pytest

import mofa_bayes as mb
from mofa_bayes.data.simulate import Cohort, Design

DESIGN = Design(
    n_subjects=300,
    n_features={"rna": 40, "ehr": 10},
    sharing=[("rna", "ehr"), ("rna",)],
    bernoulli={"ehr": 3},
    absent_view=0.3,
    missing=0.1,
)


@pytest.fixture(scope="module")
def drawn() -> Cohort:
    return mb.simulate_cohort(DESIGN, seed=1)


def test_the_same_seed_gives_the_same_cohort(drawn: Cohort) -> None:
    assert mb.simulate_cohort(DESIGN, seed=1).views.fingerprint == drawn.views.fingerprint
    assert mb.simulate_cohort(DESIGN, seed=np.random.default_rng(1)).views.fingerprint == drawn.views.fingerprint
    assert mb.simulate_cohort(DESIGN, seed=2).views.fingerprint != drawn.views.fingerprint


def test_observed_values_are_the_complete_ones(drawn: Cohort) -> None:
    for view in drawn.views.names:
        shown, complete = drawn.views[view].values, drawn.complete[view].to_numpy()
        seen = ~np.isnan(shown)
        np.testing.assert_array_equal(shown[seen], complete[seen])
        assert not np.isnan(complete).any()


def test_rows_of_the_truth_are_in_the_order_of_the_subjects(drawn: Cohort) -> None:
    for table in (drawn.factors, *drawn.complete.values()):
        assert table.index.tolist() == list(drawn.views.subjects)
    signal = drawn.factors.to_numpy() @ drawn.loadings["rna"].T
    noise = drawn.complete["rna"].to_numpy() - signal
    np.testing.assert_allclose(noise.std(axis=0), DESIGN.noise_sd, rtol=0.15)


def test_loadings_are_zero_where_a_factor_is_not_shared(drawn: Cohort) -> None:
    assert (drawn.loadings["ehr"][:, 1] == 0).all()
    assert (drawn.loadings["rna"] != 0).any(axis=0).all()


def test_the_last_features_are_binary(drawn: Cohort) -> None:
    assert drawn.views.likelihoods("ehr").values.tolist() == ["gaussian"] * 7 + ["bernoulli"] * 3
    assert (drawn.views.likelihoods("rna") == "gaussian").all()


def test_views_and_entries_are_missing_as_often_as_asked(drawn: Cohort) -> None:
    table = drawn.views.missing()
    assert table["n_subjects_absent"].sum() / 300 == pytest.approx(0.3, abs=0.08)
    np.testing.assert_allclose(table["fraction_missing_within"], 0.1, atol=0.03)
