"""Quality on real data: factors of the CLL cohort (Argelaguet et al. 2018) separate what is known of its patients."""

from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.stats import mannwhitneyu

import mofa_bayes as mb

STATUSES = ("IGHV", "trisomy12")
VIEWS = ("drugs", "methylation", "mrna", "mutations")


@cache
def fit_cll(folder: Path, seed: int) -> pd.DataFrame:
    """Factor means (subject, factor) of a fit with the defaults, the two statuses left out of the mutations."""
    frames = {view: pd.read_parquet(folder / f"{view}.parquet") for view in VIEWS}
    frames["mutations"] = frames["mutations"].drop(columns=list(STATUSES))
    views = mb.MultiView.from_frames(frames, likelihoods={"mutations": "bernoulli"}).drop_uninformative()
    post = mb.fit(views, mb.FactorModel(n_factors=10), seed=seed, progress=False)
    assert post.tree.attrs["converged"]
    return pd.DataFrame(post.factor_moments().mean, index=list(post.factor_moments().subjects))


def areas(factors: pd.DataFrame, status: pd.Series) -> np.ndarray:
    """AUC of each factor, whatever its sign, over the patients whose status is known."""
    known = status.dropna()
    is_one = known.to_numpy() == 1
    own = factors.loc[known.index].to_numpy()
    auc = mannwhitneyu(own[is_one], own[~is_one]).statistic / (is_one.sum() * (~is_one).sum())
    return np.maximum(auc, 1 - auc)


def match(first: pd.DataFrame, second: pd.DataFrame) -> np.ndarray:
    """Absolute correlations of factors matched one to one."""
    n = first.shape[1]
    r = np.abs(np.corrcoef(first.T, second.loc[first.index].T)[:n, n:])
    return r[linear_sum_assignment(r, maximize=True)]


@pytest.fixture(params=[2, pytest.param(5, marks=pytest.mark.slow)], ids=["two seeds", "five seeds"])
def fits(request, shared_data):
    return [fit_cll(shared_data / "cll", seed) for seed in range(request.param)]


def test_one_factor_separates_each_status_whatever_the_seed(fits, shared_data):
    clinical = pd.read_parquet(shared_data / "cll" / "clinical.parquet")
    best = []
    for factors in fits:
        found = {status: areas(factors, clinical[status]) for status in STATUSES}
        assert min(auc.max() for auc in found.values()) > 0.95
        # One factor and no other: what separates patients is not spread over several.
        assert max(np.sort(auc)[-2] for auc in found.values()) < 0.8
        best.append([int(auc.argmax()) for auc in found.values()])
    assert all(ighv != trisomy for ighv, trisomy in best)


def test_factors_agree_between_seeds(fits):
    assert len({factors.shape[1] for factors in fits}) == 1
    assert min(match(a, b).min() for a, b in combinations(fits, 2)) > 0.95
