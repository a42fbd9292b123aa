"""What the marginal likelihood is for: effects of uncertain factors, without attenuation and with honest intervals.

`tests/benchmarks/risk_coverage.py` measures coverage with NUTS over 200 cohorts. Here the same graphs are compiled once
and given the data of 150 such cohorts in turn; a normal approximation at the mode takes milliseconds for each.
"""

import numpy as np
import pandas as pd
import pytest
from benchmarks.risk_coverage import EFFECT, simulate, tabulate

from mofa_bayes.risk import RiskModel, Survival
from mofa_bayes.risk.density import compile_fall
from mofa_bayes.risk.laplace import approximate

N_COHORTS = 150


def swap_data(model, spec, moments, clinical):
    """Give a model the data of another cohort."""
    observed = spec.outcome.read(clinical, moments.subjects)
    model.set_data("factors_mean", moments.mean)
    for name, values in spec.outcome.learn(observed).design(observed).items():
        model.set_data(f"outcome_{name}", values)


@pytest.fixture(scope="module")
def table():
    rows = []
    for method in ("marginal", "plugin"):
        spec = RiskModel(Survival("time", "event", baseline="weibull"), method=method)
        model = spec.build(*simulate(0))
        fall, start = compile_fall(model), np.array([0.8, -1.0, 0.0])
        assert [value.name for value in model.value_vars] == ["effect_factors", "intercept", "shape_log__"]
        for seed in range(N_COHORTS):
            swap_data(model, spec, *simulate(seed))
            normal = approximate(fall, start)
            sd = np.linalg.norm(normal.spread[0])
            rows.append((method, normal.mean[0], normal.mean[0] - 1.96 * sd, normal.mean[0] + 1.96 * sd))
    estimates = pd.DataFrame(rows, columns=["method", "mean", "lower", "upper"])
    return tabulate(estimates.assign(baseline="weibull", warned=0, censored=0.0, seconds=0.0)).loc["weibull"]


def test_the_marginal_likelihood_is_nearly_unbiased(table):
    assert abs(table.loc["marginal", "bias"]) < 0.06  # 0.017 is the standard error over 150 cohorts


def test_its_intervals_cover(table):
    assert 0.9 <= table.loc["marginal", "covered"] <= 0.99


def test_its_intervals_are_not_merely_wide(table):
    assert table.loc["marginal", "width"] < 0.9


def test_plugging_in_the_mean_attenuates_and_covers_too_seldom(table):
    assert -0.25 < table.loc["plugin", "bias"] < -0.05
    assert table.loc["plugin", "covered"] < 0.88


def test_cutting_feedback_attenuates_to_about_the_reliability():
    spec = RiskModel(Survival("time", "event", baseline="weibull"), method="cut")
    tables = [spec.fit(*simulate(seed), seed=seed, n_draws=200, n_chains=2).effects() for seed in range(4)]
    estimates = pd.concat(tables)
    assert -0.7 < estimates["mean"].mean() - EFFECT < -0.4
    assert (estimates["upper"] < EFFECT).all()
