"""The issue's own cohort: factors found, sharing right, masked entries covered, at the size a user has."""

import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb
from mofa_bayes.data.simulate import Design

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


def match_factors(cohort, post):
    """For each true factor its best fitted one and |r|, over subjects who have a view that carries it.

    A subject without any view that carries a factor holds no information about it: nothing can recover it there.
    """
    found = post.factor_moments().sel(cohort.views.subjects).mean
    matches = []
    for k, views in enumerate(SHARING):
        informed = np.any([cohort.views.has_view(view).values for view in views], axis=0)
        r = np.abs(np.corrcoef(cohort.factors.to_numpy()[informed, k], found[informed].T)[0, 1:])
        matches.append((int(r.argmax()), float(r.max())))
    return matches


def covered(cohort, post, level=0.95):
    """Share of masked entries of subjects who have the view whose true value lies in its interval."""
    imputed = post.impute(cohort.views, level=level)
    inside = []
    for view in cohort.views.names:
        hidden = cohort.views[view].isnull().values & cohort.views.has_view(view).values[:, None]
        truth = cohort.complete[view].to_numpy()
        lower, upper = imputed[f"{view}_lower"].values, imputed[f"{view}_upper"].values
        inside.append(((truth >= lower) & (truth <= upper))[hidden])
    return float(np.concatenate(inside).mean())


@pytest.fixture(scope="module", params=[0, 1, 2, 3, 4])
def fitted(request):
    cohort = mb.simulate_cohort(DESIGN, seed=request.param)
    return cohort, mb.fit(cohort.views, mb.FactorModel(n_factors=10), seed=0, progress=False)


def test_every_true_factor_is_found(fitted):
    matches = match_factors(*fitted)
    assert min(r for _, r in matches) > 0.95
    assert len({k for k, _ in matches}) == len(SHARING)


def test_sharing_pattern_is_right(fitted):
    cohort, post = fitted
    table = mb.sharing(post)
    for (k, _), views in zip(match_factors(cohort, post), SHARING, strict=True):
        row = table.iloc[k]
        assert row["views"] == "+".join(view for view in post.views if view in views)
        assert row["kind"] == {3: "shared", 2: "partly_shared", 1: "specific"}[len(views)]
        assert row["views_probability"] > 0.95


def test_intervals_of_masked_entries_cover(fitted):
    assert 0.93 < covered(*fitted) < 0.97


def test_biomarkers_keep_the_false_discovery_rate(fitted):
    cohort, post = fitted
    matches = {post.factor_names[k]: t for t, (k, _) in enumerate(match_factors(cohort, post))}
    table = mb.biomarkers(post, "rna", factors=[f for f, t in matches.items() if "rna" in SHARING[t]], fdr=0.05)
    place = {name: d for d, name in enumerate(cohort.views.features("rna"))}
    truth = pd.Series(
        [cohort.loadings["rna"][place[row.feature], matches[row.factor]] != 0 for row in table.itertuples()]
    )
    assert len(table) > 500  # of about 800 loadings that are not zero
    assert 1 - truth.mean() < 0.10


def test_imputation_beats_the_mean(fitted):
    cohort, post = fitted
    imputed = post.impute(cohort.views)
    for view in cohort.views.names:
        hidden = cohort.views[view].isnull().values & cohort.views.has_view(view).values[:, None]
        truth = cohort.complete[view].to_numpy()
        ours = np.mean((imputed[view].values - truth)[hidden] ** 2)
        column_means = np.broadcast_to(np.nanmean(cohort.views[view].values, axis=0), truth.shape)
        assert ours < 0.7 * np.mean((column_means - truth)[hidden] ** 2)
