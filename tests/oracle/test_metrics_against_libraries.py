"""Our metrics are those of scikit-survival and lifelines to 1e-8, on the data sets these libraries ship."""

import warnings

import numpy as np
import pytest

from mofa_bayes.risk.metrics import (
    aalen_johansen,
    auc,
    brier_score,
    censoring_distribution,
    harrell_c,
    integrate,
    ipcw,
    kaplan_meier,
    mean_auc,
    status_at,
    uno_c,
)

sksurv_datasets = pytest.importorskip("sksurv.datasets")
sksurv_metrics = pytest.importorskip("sksurv.metrics")
nonparametric = pytest.importorskip("sksurv.nonparametric")
lifelines = pytest.importorskip("lifelines")

CLOSE = {"rtol": 0, "atol": 1e-8}
SETS = ["gbsg2", "whas500", "veterans_lung_cancer", "aids"]
WAYS = ["as it is", "times in months", "heavy censoring", "risk in steps"]


def load(name, way):
    """Follow-up of a data set and a risk that has something to do with it, with ties or heavy censoring on request."""
    table, outcome = getattr(sksurv_datasets, f"load_{name}")()
    event_name, time_name = outcome.dtype.names
    time, event = outcome[time_name].astype(float), outcome[event_name].copy()
    rng = np.random.default_rng(5)
    numbers = table.select_dtypes("number").to_numpy(dtype=float)
    risk = -0.6 * np.log(time + 1) + (numbers - numbers.mean(0)) @ rng.normal(size=numbers.shape[1]) / numbers.std()
    if way == "times in months":
        time = np.ceil(time / (30 if time.max() > 300 else 3))
    if way == "heavy censoring":
        event &= rng.random(len(event)) < 0.25
    if way == "risk in steps":
        risk = np.round(2 * risk) / 2
    assert event.sum() > 5
    return time, event, risk + 0.0


def as_structured(time, event):
    return np.array(list(zip(event, time, strict=True)), dtype=[("event", bool), ("time", float)])


def horizons_of(time, event, n=7):
    return np.unique(np.quantile(time[event], np.linspace(0.1, 0.8, n)))


@pytest.fixture(params=[(name, way) for name in SETS for way in WAYS], ids="-".join)
def seen(request):
    return load(*request.param)


def test_harrell_c(seen):
    time, event, risk = seen
    theirs = sksurv_metrics.concordance_index_censored(event, time, risk)[0]
    assert harrell_c(risk, time, event) == pytest.approx(theirs, abs=1e-8)
    in_lifelines = lifelines.utils.concordance_index(time, -risk, event)
    assert harrell_c(risk, time, event) == pytest.approx(in_lifelines, abs=1e-8)


@pytest.mark.parametrize("share", [None, 0.5, 0.9])
def test_uno_c(seen, share):
    time, event, risk = seen
    train = np.arange(len(time)) % 3 > 0
    keep = ~train & (time < time[train].max())
    tau = None if share is None else np.quantile(time, share)
    reference, tested = as_structured(time[train], event[train]), as_structured(time[keep], event[keep])
    theirs = sksurv_metrics.concordance_index_ipcw(reference, tested, risk[keep], tau=tau)[0]
    known = censoring_distribution(time[train], event[train])
    ours = uno_c(risk[keep], time[keep], event[keep], tau=tau, censoring=known)
    assert ours == pytest.approx(theirs, abs=1e-8)


def test_cumulative_dynamic_auc(seen):
    time, event, risk = seen
    whole, times = as_structured(time, event), horizons_of(time, event)
    inside = time < time.max()
    tested = as_structured(time[inside], event[inside])
    by_time = np.outer(risk[inside], np.linspace(1, 2, len(times))) + 0.1 * np.sin(np.arange(inside.sum()))[:, None]
    known = censoring_distribution(time, event)
    status = status_at(time[inside], event[inside], times, censoring=known)
    for ours, theirs in ((risk[inside, None], risk[inside]), (by_time, by_time)):
        areas, mean = sksurv_metrics.cumulative_dynamic_auc(whole, tested, theirs, times)
        np.testing.assert_allclose(auc(ours, status), areas, **CLOSE)
        averaged = mean_auc(auc(ours, status), time[inside], event[inside], times)
        assert averaged == pytest.approx(mean, abs=1e-8)


def test_brier_score_and_its_integral(seen):
    time, event, risk = seen
    inside = time < time.max()
    whole, tested, times = (
        as_structured(time, event),
        as_structured(time[inside], event[inside]),
        horizons_of(time, event),
    )
    survival = np.exp(-np.outer(np.exp(risk[inside] - risk.mean()), times / np.median(time)))
    status = status_at(time[inside], event[inside], times, censoring=censoring_distribution(time, event))
    ours = brier_score(1 - survival, status)
    np.testing.assert_allclose(ours, sksurv_metrics.brier_score(whole, tested, survival, times)[1], **CLOSE)
    theirs = sksurv_metrics.integrated_brier_score(whole, tested, survival, times)
    assert integrate(ours, times) == pytest.approx(theirs, abs=1e-8)


def test_kaplan_meier_and_censoring_curves(seen):
    time, event, _ = seen
    at, survival = nonparametric.kaplan_meier_estimator(event, time)
    np.testing.assert_allclose(kaplan_meier(time, event).at(at), survival, **CLOSE)
    curve = lifelines.KaplanMeierFitter().fit(time, event).survival_function_at_times(at)
    np.testing.assert_allclose(kaplan_meier(time, event).at(at), curve, **CLOSE)
    at, seen_beyond = nonparametric.kaplan_meier_estimator(event, time, reverse=True)
    np.testing.assert_allclose(censoring_distribution(time, event).at(at), seen_beyond, **CLOSE)
    inside = time < time.max()
    theirs = nonparametric.CensoringDistributionEstimator().fit(as_structured(time, event))
    ours = ipcw(time[inside], event[inside], censoring=censoring_distribution(time, event))
    np.testing.assert_allclose(ours, theirs.predict_ipcw(as_structured(time[inside], event[inside])), **CLOSE)


@pytest.mark.parametrize("name", ["bmt", "cgvhd"])
@pytest.mark.parametrize("cause", [1, 2])
def test_aalen_johansen(name, cause):
    _, outcome = getattr(sksurv_datasets, f"load_{name}")()
    code_name, time_name = outcome.dtype.names
    code, time = outcome[code_name].astype(int), outcome[time_name].astype(float)
    ours = aalen_johansen(time, code, cause=cause)
    at, theirs = nonparametric.cumulative_incidence_competing_risks(code, time)[:2]
    np.testing.assert_allclose(ours.at(at), theirs[cause], **CLOSE)
    untied = time + 1e-4 * np.arange(1, len(time) + 1)  # lifelines moves ties apart by chance
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        curve = lifelines.AalenJohansenFitter(calculate_variance=False).fit(untied, code, event_of_interest=cause)
    table = curve.cumulative_density_
    ours = aalen_johansen(untied, code, cause=cause)
    np.testing.assert_allclose(ours.at(table.index.to_numpy()), table.to_numpy()[:, 0], **CLOSE)


@pytest.mark.parametrize(
    ("name", "columns"),
    [("rossi", ("week", "arrest", "age")), ("lung", ("time", "status", "age")), ("waltons", ("T", "E", "T"))],
)
def test_on_the_data_sets_of_lifelines(name, columns):
    table = getattr(lifelines.datasets, f"load_{name}")()[list(dict.fromkeys(columns))].dropna()
    time, event, marker = (table[column].to_numpy(dtype=float) for column in columns)
    risk = np.round(marker + 10 * np.sin(np.arange(len(time))))
    theirs = lifelines.utils.concordance_index(time, -risk, event)
    assert harrell_c(risk, time, event) == pytest.approx(theirs, abs=1e-8)
    curve = lifelines.KaplanMeierFitter().fit(time, event)
    at = np.unique(time)
    np.testing.assert_allclose(kaplan_meier(time, event).at(at), curve.survival_function_at_times(at), **CLOSE)
