"""The issue's own cohort: factors found, sharing right, masked entries covered, at the size a user has."""

import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb
from mofa_bayes.data.simulate import Design
from mofa_bayes.testing import recover

SHARING = [
    ("rna", "meth", "ehr"),
    ("rna", "meth", "ehr"),
    ("rna", "meth"),
    ("meth", "ehr"),
    ("rna",),
    ("meth",),
]
DESIGN = Design(
    n_subjects=300, n_features={"rna": 400, "meth": 200, "ehr": 50}, sharing=SHARING, absent_view=0.2, missing=0.05
)


@pytest.fixture(scope="module", params=[0, 1, 2, 3, 4])
def fitted(request):
    cohort = mb.simulate_cohort(DESIGN, seed=request.param)
    post = mb.fit(cohort.views, mb.FactorModel(n_factors=10), seed=0, progress=False)
    return cohort, post, recover(cohort, post)


def test_every_true_factor_is_found(fitted):
    _, _, found = fitted
    assert found.factors["r"].min() > 0.95
    assert found.factors["found"].is_unique


def test_sharing_pattern_is_right(fitted):
    _, post, found = fitted
    table = mb.sharing(post)
    for name, views in zip(found.factors["found"], SHARING, strict=True):
        row = table.loc[name]
        assert row["views"] == "+".join(view for view in post.views if view in views)
        assert row["kind"] == {3: "shared", 2: "partly_shared", 1: "specific"}[len(views)]
        assert row["views_probability"] > 0.95


def test_intervals_of_masked_entries_cover(fitted):
    _, _, found = fitted
    assert found.n_hidden > 5000
    assert 0.93 < found.coverage < 0.97


def test_biomarkers_keep_the_false_discovery_rate(fitted):
    cohort, post, found = fitted
    true_name = {row.found: name for name, row in found.factors.iterrows()}
    carried = [name for name, views in zip(found.factors["found"], SHARING, strict=True) if "rna" in views]
    table = mb.biomarkers(post, "rna", factors=carried, fdr=0.05)
    loadings = pd.DataFrame(cohort.loadings["rna"], cohort.complete["rna"].columns, cohort.factors.columns)
    is_true = [loadings.loc[row.feature, true_name[row.factor]] != 0 for row in table.itertuples()]
    assert len(table) > 500  # of about 800 loadings that are not zero
    assert 1 - np.mean(is_true) < 0.10


def test_imputation_beats_the_mean(fitted):
    cohort, post, _ = fitted
    imputed = post.impute(cohort.views)
    for view in cohort.views.names:
        hidden = cohort.views[view].isnull().values & cohort.views.has_view(view).values[:, None]
        truth = cohort.complete[view].to_numpy()
        ours = np.mean((imputed[f"mean_{view}"].values - truth)[hidden] ** 2)
        column_means = np.broadcast_to(np.nanmean(cohort.views[view].values, axis=0), truth.shape)
        assert ours < 0.7 * np.mean((column_means - truth)[hidden] ** 2)
