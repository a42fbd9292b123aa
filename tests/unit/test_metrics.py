"""Metrics keep their laws: what counts do, what draws do, what the truth does."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import kstest

from mofa_bayes.errors import DataError
from mofa_bayes.risk import metrics
from mofa_bayes.risk.metrics.calibration import weighted_quantile
from mofa_bayes.risk.metrics.logistic import fit_logistic, place_knots, spline_basis

TIMES = [3.0, 6.0, 9.0]
GRID = np.arange(0.25, 30.1, 0.25)
THRESHOLDS = [0.1, 0.3, 0.6]


def simulate(n=60, seed=0, n_causes=1, months=True):
    """Follow-up with ties, competing causes on request, and the true cumulative incidence of cause 1."""
    rng = np.random.default_rng(seed)
    rate = np.exp(rng.normal(size=(n, n_causes)) - 2)
    waiting, censored = rng.exponential(1 / rate.sum(1)), rng.exponential(12, size=n)
    cause = 1 + (rng.random(n) > rate[:, 0] / rate.sum(1))
    time, event = np.minimum(waiting, censored), cause * (waiting <= censored)
    return (np.ceil(time) if months else time), event, rate


def risk_of(rate, times):
    total = rate.sum(axis=1)[:, None]
    return rate[:, :1] / total * -np.expm1(-total * np.asarray(times))


def every_metric(time, event, risk, weights):
    """All metrics that take case weights, by name; risk is (..., subject, time)."""
    right = metrics.status_at(time, event, TIMES, weights=weights)
    left = metrics.status_at(time, event, TIMES, weights=weights, limit="left")
    index, rank = metrics.calibration_index(risk, left), risk[..., -1]
    areas, survival = metrics.auc(risk, right), 1 - risk
    return {
        "harrell": metrics.harrell_c(rank, time, event, weights=weights),
        "uno": metrics.uno_c(rank, time, event, tau=9.0, weights=weights),
        "auc": areas,
        "mean auc": metrics.mean_auc(areas, time, event, TIMES, weights=weights),
        "brier": metrics.brier_score(risk, right),
        "gain": metrics.brier_gain(risk, right),
        "log": metrics.log_score(risk, right),
        "density": metrics.density_score(survival, TIMES, time, event, weights=weights),
        "crps": metrics.survival_crps(survival, TIMES, time, event, weights=weights),
        "ratio": metrics.observed_expected(risk, left),
        "intercept": metrics.calibration_intercept(risk, left),
        "slope": metrics.calibration_slope(risk, left),
        "curve": metrics.calibration_curve(risk, left, [0.2, 0.4]),
        "ici": index.ici,
        "e50": index.e50,
        "e90": index.e90,
        "benefit": metrics.net_benefit_at(risk, time, event, TIMES, THRESHOLDS, weights=weights),
        "binary": metrics.net_benefit(rank, event, THRESHOLDS, weights=weights),
        "km": metrics.kaplan_meier(time, event, weights=weights).at(TIMES),
        "aj": metrics.aalen_johansen(time, event, weights=weights).at(TIMES),
    }


def test_a_count_is_a_patient_repeated():
    time, event, rate = simulate(80)
    counts = np.random.default_rng(1).multinomial(80, np.full(80, 1 / 80), size=3)
    base = risk_of(rate, TIMES)
    together = every_metric(time, event, base, counts)
    for r, count in enumerate(counts):
        rows = np.repeat(np.arange(80), count)
        # knots are those of the whole cohort in one case and of the resample in the other
        alone = every_metric(time[rows], event[rows], base[rows], None)
        for name in set(alone) - {"curve", "ici", "e50", "e90"}:
            np.testing.assert_allclose(together[name][r], alone[name], atol=1e-9, err_msg=name)


def test_a_thousand_draws_are_a_thousand_calls():
    time, event, rate = simulate()
    rng = np.random.default_rng(2)
    draws = np.stack([risk_of(rate * np.exp(0.3 * rng.normal(size=rate.shape)), TIMES) for _ in range(3)])
    draws[1] = np.round(draws[1], 1)  # ties of risk
    together = every_metric(time, event, draws, None)
    for d, risk in enumerate(draws):
        alone = every_metric(time, event, risk, None)
        for name in set(alone) - {"curve", "ici", "e50", "e90", "km", "aj"}:
            np.testing.assert_allclose(together[name][d], alone[name], atol=1e-9, err_msg=name)


def test_draws_and_resamples_cross():
    time, event, _ = simulate(30)
    rng = np.random.default_rng(19)
    risk, counts = rng.normal(size=(3, 1, 30)), rng.integers(0, 3, size=(2, 30))
    crossed = metrics.uno_c(risk, time, event, weights=counts)
    assert crossed.shape == (3, 2)
    assert crossed[2, 1] == pytest.approx(metrics.uno_c(risk[2, 0], time, event, weights=counts[1]))


def test_order_of_subjects_is_no_matter():
    time, event, rate = simulate()
    order, counts = np.random.default_rng(3).permutation(60), np.random.default_rng(4).integers(0, 4, size=(2, 60))
    here = every_metric(time, event, risk_of(rate, TIMES), counts)
    there = every_metric(time[order], event[order], risk_of(rate, TIMES)[order], counts[:, order])
    for name, values in here.items():
        np.testing.assert_allclose(there[name], values, atol=1e-9, err_msg=name)


def test_concordance_of_perfect_reversed_and_constant_risks():
    time, event = np.array([1.0, 2, 3, 4, 5]), np.array([1, 1, 0, 1, 0])
    for c in (metrics.harrell_c, metrics.uno_c):
        np.testing.assert_allclose(c(np.stack([-time, time, 0 * time]), time, event), [1, 0, 0.5])
    assert np.isnan(metrics.harrell_c(time, time, np.array([0, 0, 0, 0, 1])))


def test_pairs_counted_one_by_one():
    time, event, rate = simulate(40, seed=7)
    risk, weights = np.round(np.log(rate[:, 0]), 1), np.random.default_rng(5).random(40)
    above = below = 0.0
    for i in np.flatnonzero(event):
        for j in range(40):
            if time[j] > time[i] or (time[j] == time[i] and not event[j]):
                pair = weights[i] * weights[j]
                above += pair * ((risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j]))
                below += pair
    assert metrics.harrell_c(risk, time, event, weights=weights) == pytest.approx(above / below, abs=1e-12)


@pytest.mark.parametrize("cause", [1, 2])
def test_weighted_status_has_the_incidence_of_aalen_johansen(cause):
    time, event, _ = simulate(200, n_causes=2)
    weights = np.random.default_rng(6).integers(0, 3, size=(4, 200))
    status = metrics.status_at(time, event, TIMES, cause=cause, weights=weights, limit="left")
    share = (status.weight * status.event).sum(1) / status.total
    curve = metrics.aalen_johansen(time, event, cause=cause, weights=weights).at(TIMES)
    np.testing.assert_allclose(share, curve, atol=1e-12)


def test_incidences_and_survival_sum_to_one():
    time, event, _ = simulate(200, n_causes=2)
    total = sum(metrics.aalen_johansen(time, event, cause=cause).at(GRID) for cause in (1, 2))
    np.testing.assert_allclose(total + metrics.kaplan_meier(time, event > 0).at(GRID), 1, atol=1e-12)


def test_steps_start_before_the_first_time_and_step_at_theirs():
    steps = metrics.kaplan_meier([2.0, 4.0], [1, 1])
    np.testing.assert_allclose(steps.at([1, 2, 3, 4, 9]), [1, 0.5, 0.5, 0, 0])
    np.testing.assert_allclose(steps.at([2, 4], before=True), [1, 0.5])


def test_integrated_auc_of_a_flat_auc_is_that_auc():
    time, event, _ = simulate()
    assert metrics.mean_auc(np.full(3, 0.7), time, event, TIMES) == pytest.approx(0.7)
    assert metrics.mean_auc([np.nan, 0.7, 0.7, 0.7], time, event, [0.5, *TIMES]) == pytest.approx(0.7)


def test_auc_of_competing_risks_counts_other_causes_as_controls():
    time, event = np.array([1.0, 2, 3, 4]), np.array([1, 2, 1, 0])
    risk = np.array([[0.9], [0.8], [0.7], [0.1]])
    status = metrics.status_at(time, event, [3.5])
    assert metrics.auc(risk, status)[0] == pytest.approx(3 / 4)  # (1, 2), (1, 4) and (3, 4) of four pairs


def test_binary_scores_are_the_textbook_ones():
    outcome, risk = np.array([1, 0, 1, 1]), np.array([0.8, 0.3, 0.4, 0.9])
    status = metrics.binary_status(outcome)
    assert metrics.brier_score(risk[:, None], status)[0] == pytest.approx(((risk - outcome) ** 2).mean())
    by_hand = np.log([0.8, 0.7, 0.4, 0.9]).mean()
    assert metrics.log_score(risk[:, None], status)[0] == pytest.approx(by_hand)
    gain = 1 - ((risk - outcome) ** 2).mean() / (0.75 * 0.25)
    assert metrics.brier_gain(risk[:, None], status)[0] == pytest.approx(gain)
    assert metrics.auc(risk[:, None], status)[0] == 1.0
    assert metrics.log_score(np.array([[0.0], [0], [1], [1]]), status)[0] == -np.inf


@pytest.mark.parametrize("score", ["density_score", "survival_crps"])
def test_score_of_a_fine_curve_is_that_of_the_distribution(score):
    rate, last = np.array([0.1, 0.3, 0.05, 0.2]), GRID[-1]
    time, event = np.array([4.1, 2.7, 40.0, 11.3]), np.array([1, 0, 1, 1])
    fine = np.linspace(0.005, last, 6000)
    survival = np.exp(-rate[:, None] * fine)
    until, happened = np.minimum(time, last), event * (time <= last)
    if score == "density_score":
        truth = happened * np.log(rate) - rate * until
    else:
        steps = np.append(0, fine)
        curve = np.exp(-rate[:, None] * steps)
        integrand = np.where(steps <= until[:, None], (1 - curve) ** 2, happened[:, None] * curve**2)
        truth = np.trapezoid(integrand, steps, axis=1)
    assert getattr(metrics, score)(survival, fine, time, event) == pytest.approx(truth.mean(), abs=2e-3)


def test_survival_at_own_time_is_read_off_a_line():
    curve = np.array([[0.8, 0.4], [0.6, 0.5], [0.6, 0.5], [0.9, 0.9]])
    values = metrics.survival_at_own_time(curve, [2.0, 4.0], [1.0, 3.0, 7.0, 0.0])
    np.testing.assert_allclose(values, [0.9, 0.55, 0.5, 1.0])


def test_true_density_scores_best():
    time, event, rate = simulate(3000, months=False)
    scores = [metrics.density_score(np.exp(-factor * rate * GRID), GRID, time, event) for factor in (0.7, 1.0, 1.4)]
    assert scores[1] > max(scores[0], scores[2])


def test_logistic_regression_is_at_its_maximum():
    rng = np.random.default_rng(8)
    design = np.stack([np.ones(80), rng.normal(size=80), rng.random(80)], axis=1)
    event, weight, offset = rng.integers(0, 2, size=80), rng.random((2, 80)), rng.normal(size=80)
    ours = fit_logistic(design, event, weight, offset)
    for own, fitted in zip(weight, ours, strict=True):

        def loss(b, own=own):
            eta = design @ b + offset
            return -(own * (event * eta - np.logaddexp(0, eta))).sum()

        np.testing.assert_allclose(fitted, minimize(loss, np.zeros(3), tol=1e-12).x, atol=1e-4)


def test_separated_logistic_regression_ends():
    design = np.stack([np.ones(6), np.arange(6.0) - 2.5], axis=1)
    fitted = fit_logistic(design, np.array([0, 0, 0, 1, 1, 1]), np.ones(6), np.zeros(6))
    assert np.isfinite(fitted).all()
    assert fitted[1] > 5


def test_splines_are_smooth_and_linear_beyond_their_knots():
    knots = place_knots(np.random.default_rng(9).normal(size=500), 4)
    x = np.linspace(knots[0] - 3, knots[-1] + 3, 4001)
    basis = spline_basis(x, knots)
    assert basis.shape[-1] == 3
    bend = np.diff(basis, 2, axis=0) / np.diff(x)[0] ** 2
    outside = (x[1:-1] < knots[0] - 0.01) | (x[1:-1] > knots[-1] + 0.01)
    assert np.abs(bend[outside]).max() < 1e-6
    assert np.abs(np.diff(bend, axis=0)).max() < 0.02  # second derivatives do not jump
    assert np.abs(bend).max() > 0.1


def test_calibration_finds_what_was_done_to_the_risk():
    rng = np.random.default_rng(10)
    truth = expit(rng.normal(-0.5, 1.0, size=40_000))
    status = metrics.binary_status(rng.random(40_000) < truth)
    said = expit((logit(truth) - 0.4) / 0.7)  # so that truth = expit(0.4 + 0.7 logit(said))
    both = np.stack([truth, said])[..., None]
    np.testing.assert_allclose(metrics.calibration_slope(both, status)[:, 0], [1.0, 0.7], atol=0.03)
    np.testing.assert_allclose(metrics.calibration_intercept(truth[:, None], status), 0, atol=0.03)
    np.testing.assert_allclose(metrics.observed_expected(truth[:, None], status), 1, atol=0.02)
    at = np.array([0.1, 0.3, 0.5, 0.7])
    curve = metrics.calibration_curve(said[:, None], status, at)[0]
    np.testing.assert_allclose(curve, expit(0.4 + 0.7 * logit(at)), atol=0.02)
    index = metrics.calibration_index(said[:, None], status)
    gaps = np.abs(truth - said)
    np.testing.assert_allclose([index.ici[0], index.e50[0], index.e90[0]],
                               [gaps.mean(), np.median(gaps), np.quantile(gaps, 0.9)], atol=0.01)  # fmt: skip
    assert metrics.calibration_index(truth[:, None], status).ici[0] < 0.01


@pytest.mark.parametrize("n_causes", [1, 2])
def test_true_risks_are_calibrated_under_censoring_and_competing_risks(n_causes):
    time, event, rate = simulate(12_000, n_causes=n_causes, months=False, seed=11)
    risk = risk_of(rate, TIMES)
    status = metrics.status_at(time, event, TIMES, limit="left")
    np.testing.assert_allclose(metrics.observed_expected(risk, status), 1, atol=0.04)
    np.testing.assert_allclose(metrics.calibration_slope(risk, status), 1, atol=0.08)
    np.testing.assert_allclose(metrics.calibration_intercept(risk, status), 0, atol=0.1)  # sd 0.03
    assert (metrics.calibration_index(risk, status).ici < 0.02).all()
    assert (metrics.calibration_index(risk**0.7, status).ici > 0.05).all()


def test_calibration_of_a_constant_risk_has_no_slope_but_a_level():
    status = metrics.binary_status([1, 0, 0, 0])
    risk = np.full((4, 1), 0.5)
    assert np.isnan(metrics.calibration_slope(risk, status)[0])
    assert metrics.calibration_intercept(risk, status)[0] == pytest.approx(logit(0.25), abs=1e-6)
    assert metrics.calibration_curve(risk, status, [0.5])[0, 0] == pytest.approx(0.25, abs=1e-6)
    assert np.isnan(metrics.calibration_intercept(risk, metrics.binary_status([0, 0, 0, 0]))[0])


def test_weighted_quantile_is_that_of_repeated_values():
    rng = np.random.default_rng(12)
    values, counts = rng.random(30), rng.integers(0, 4, size=30)
    for p in (0.1, 0.5, 0.9):
        repeated = np.quantile(np.repeat(values, counts), p, method="inverted_cdf")
        assert weighted_quantile(values, counts.astype(float), p) == repeated


def test_d_calibration_of_the_truth_has_uniform_p_values():
    rng = np.random.default_rng(13)
    found = metrics.d_calibration(rng.random((400, 300)), np.ones(300))
    np.testing.assert_allclose(found.shares.sum(-1), 1)
    assert kstest(found.p_value, "uniform").pvalue > 0.01


def test_d_calibration_under_censoring_rejects_the_truth_rarely_and_the_wrong_often():
    rng = np.random.default_rng(14)
    waiting, censored = rng.exponential(1, size=(300, 400)), rng.exponential(1.5, size=400)
    event = waiting <= censored
    rejected = {}
    for name, power in (("truth", 1.0), ("wrong", 1.5)):
        survival = np.exp(-power * np.minimum(waiting, censored))
        p = np.array([metrics.d_calibration(s, e).p_value for s, e in zip(survival, event, strict=True)])
        rejected[name] = (p < 0.05).mean()
    assert rejected["truth"] < 0.06
    assert rejected["wrong"] > 0.9


def test_censored_patient_is_spread_over_the_bins_below():
    found = metrics.d_calibration([0.55, 0.95, 0.0], [0, 1, 0], n_bins=4)
    by_hand = np.array([0.25 / 0.55 + 1, 0.25 / 0.55, 0.05 / 0.55, 1]) / 3
    np.testing.assert_allclose(found.shares, by_hand)


def test_net_benefit_of_uniform_calibrated_risks_is_half_of_one_less_the_threshold():
    rng = np.random.default_rng(15)
    risk = rng.random(200_000)
    cuts = np.array([0.1, 0.4, 0.8])
    worth = metrics.net_benefit(risk, rng.random(len(risk)) < risk, cuts)
    np.testing.assert_allclose(worth, (1 - cuts) / 2, atol=0.006)
    everyone = metrics.net_benefit(np.ones(len(risk)), rng.random(len(risk)) < risk, cuts)
    np.testing.assert_allclose(everyone, 0.5 - 0.5 * cuts / (1 - cuts), atol=0.02)


def make_competing(n, seed):
    """P(cause 1 by time 1) uniform on (0, 0.6), another cause with 0.4 by then; independent censoring."""
    rng = np.random.default_rng(seed)
    risk = 0.6 * rng.random(n)
    which = rng.random(n)
    event = np.where(which < risk, 1, np.where(which < risk + 0.4, 2, 0))
    waiting = np.where(event > 0, rng.random(n), 1 + rng.random(n))
    censored = rng.exponential(1.5, n)
    event = np.where(event > 0, event, 1)  # those event-free at 1 have theirs later
    return risk, np.minimum(waiting, censored), event * (waiting <= censored)


def test_net_benefit_under_competing_risks_is_that_of_the_cause_alone():
    risk, time, event = make_competing(100_000, 16)
    cuts = np.array([0.1, 0.3, 0.5])
    # E[1{r >= t} (r - t) / (1 - t)] for r uniform on (0, 0.6)
    truth = (0.6 - cuts) ** 2 / 2 / 0.6 / (1 - cuts)
    worth = metrics.net_benefit_at(risk[:, None], time, event, [1.0], cuts)[0]
    np.testing.assert_allclose(worth, truth, atol=0.005)
    all_causes = metrics.net_benefit_at(risk[:, None], time, event > 0, [1.0], cuts)[0]
    censored_others = metrics.net_benefit_at(risk[:, None], time, event == 1, [1.0], cuts)[0]
    assert (all_causes > truth + 0.05).all()  # the usual library's answer
    assert (censored_others > truth + 0.02)[:2].all()


def test_a_risk_at_the_threshold_is_acted_on():
    assert metrics.net_benefit([0.3, 0.1], [1, 0], [0.3])[0] == 0.5
    assert metrics.net_benefit_at([[0.3], [0.1]], [1.0, 3.0], [1, 0], [2.0], [0.3])[0, 0] == 0.5


def test_treating_all_is_acting_on_a_risk_of_one():
    time, event, _ = simulate(200, n_causes=2)
    weights = np.random.default_rng(18).integers(0, 3, size=(4, 200))
    incidence = metrics.aalen_johansen(time, event, weights=weights).at(TIMES)
    acted = metrics.net_benefit_at(np.ones((200, 1)), time, event, TIMES, THRESHOLDS, weights=weights)
    np.testing.assert_array_equal(metrics.net_benefit_of_all(incidence, THRESHOLDS), acted)


def test_net_benefit_at_without_censoring_is_the_binary_one():
    time, _, rate = simulate(300, months=False)
    everyone = np.ones(300)
    status = time <= 6.0
    risk = risk_of(rate, [6.0])
    at = metrics.net_benefit_at(risk, time, everyone, [6.0], THRESHOLDS)
    np.testing.assert_allclose(at[0], metrics.net_benefit(risk[:, 0], status, THRESHOLDS), atol=1e-12)


def test_probability_useful_needs_more_than_either_default():
    model, treat_all = np.array([[0.2, 0.1], [0.0, 0.3]]), np.array([[0.1, 0.2], [-0.1, -0.5]])
    np.testing.assert_allclose(metrics.probability_useful(model, treat_all), [0.5, 0.5])


def test_interval_coverage_and_its_own_interval():
    rng = np.random.default_rng(17)
    truth, centre = np.zeros(5000), rng.normal(size=5000)
    share = float(metrics.interval_coverage(centre - 1.96, centre + 1.96, truth))
    assert share == pytest.approx(0.95, abs=0.01)
    lower, upper = metrics.coverage_interval(round(share * 5000), 5000)
    assert lower < 0.95 < upper
    assert metrics.coverage_interval(0, 10)[0] == 0
    assert metrics.coverage_interval(10, 10)[1] == 1
    halves = [metrics.interval_score(centre - h, centre + h, truth, level=0.95) for h in (1.2, 1.96, 3.0)]
    assert np.argmin(halves) == 1
    assert metrics.interval_coverage([0, 0], [1, 1], [0.5, np.nan]) == 1
    assert np.isnan(metrics.interval_coverage([0], [1], [np.nan]))
    assert metrics.interval_score([0], [1], [2], level=0.9) == pytest.approx(1 + 20)


STATUS = metrics.binary_status([0, 1])
BAD = {
    "lengths differ": (lambda: metrics.kaplan_meier([1.0, 2.0], [1]), "time and event"),
    "negative time": (lambda: metrics.kaplan_meier([-1.0, 2.0], [1, 0]), "time"),
    "cause where there is one": (lambda: metrics.harrell_c([1, 2], [1.0, 2.0], [1, 2]), "event"),
    "half an event": (lambda: metrics.aalen_johansen([1.0, 2.0], [0.5, 1]), "event"),
    "words": (lambda: metrics.harrell_c(["high", "low"], [1.0, 2.0], [1, 0]), "risk"),
    "risk for another number": (lambda: metrics.harrell_c([1, 2, 3], [1.0, 2.0], [1, 0]), "risk"),
    "missing risk": (lambda: metrics.harrell_c([1, np.nan], [1.0, 2.0], [1, 0]), "risk"),
    "no axis of time": (lambda: metrics.brier_score([0.1, 0.2], STATUS), "risk"),
    "other horizons": (lambda: metrics.brier_score(np.full((2, 3), 0.5), STATUS), "risk"),
    "not a probability": (lambda: metrics.brier_score([[1.2], [0.1]], STATUS), "risk"),
    "negative weights": (lambda: metrics.kaplan_meier([1.0, 2.0], [1, 0], weights=[-1, 1]), "weights"),
    "falling horizons": (lambda: metrics.status_at([1.0, 2.0], [1, 0], [2.0, 1.0]), "times"),
    "outcome of 2": (lambda: metrics.binary_status([0, 2]), "outcome"),
    "one horizon to integrate": (lambda: metrics.integrate([0.1], [1.0]), "scores"),
    "rising survival": (lambda: metrics.survival_at_own_time([[0.5, 0.6]], [1.0, 2.0], [1.0]), "survival"),
    "one bin": (lambda: metrics.d_calibration([0.5], [1], n_bins=1), "n_bins"),
    "threshold of 1": (lambda: metrics.net_benefit([0.5, 0.1], [0, 1], [1.0]), "thresholds"),
    "benefit at other horizons": (
        lambda: metrics.net_benefit_at(np.full((2, 3), 0.5), [1.0, 2.0], [1, 0], [1.0, 2.0], [0.5]),
        "risk",
    ),
    "AUCs of other horizons": (lambda: metrics.mean_auc([0.7], [1.0, 2.0], [1, 0], [1.0, 1.5]), "AUCs"),
    "ends exchanged": (lambda: metrics.interval_coverage([1.0], [0.0], [0.5]), "intervals"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_measured_is_refused(case):
    call, what = BAD[case]
    with pytest.raises(DataError, match=rf"^{what}.*: got .*; expected .*\."):
        call()
