"""Marginal likelihoods of measured, counted and graded outcomes against integration and densities of scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from scipy.special import expit

from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk import Binary, Continuous, Count, MultiContinuous, Ordinal, RiskModel
from mofa_bayes.risk.effects import effect_scales, horseshoe_scales
from mofa_bayes.risk.marginal import log_marginal
from mofa_bayes.risk.response import Joint

LEVELS = ["low", "mid", "high"]
DRUGS = ["a", "b", "c", "d"]
EFFECTS, SLOPES = np.array([0.8, -0.5]), np.array([0.7])
CUTS = np.array([-0.4, 1.1])
SHARES = np.diff(expit(CUTS), prepend=0.0, append=1.0)


def make_cohort(n_subjects=12, seed=0):
    """Two factors, two patterns of observed views, one covariate, and an outcome of each kind."""
    rng = np.random.default_rng(seed)
    covariance = np.array([[[0.4, 0.1], [0.1, 0.3]], [[0.9, -0.3], [-0.3, 0.8]]])
    subjects = tuple(f"p{n}" for n in range(n_subjects))
    moments = FactorMoments(
        subjects, ("F1", "F2"), rng.normal(size=(n_subjects, 2)), covariance, np.arange(n_subjects, dtype=np.intp) % 2
    )
    clinical = pd.DataFrame(
        {
            "weight": rng.normal(80, 12, size=n_subjects),
            "visits": [0, 1, 2, 5, 40, 300, 0, 3, 12, 1, 7, 2],
            "years": rng.uniform(0.5, 4, size=n_subjects),
            "grade": [LEVELS[k] for k in rng.integers(0, 3, size=n_subjects)],
            "dead": rng.integers(0, 2, size=n_subjects),
            "age": rng.normal(60, 10, size=n_subjects),
        },
        index=list(subjects),
    )
    panel = rng.normal(3, 2, size=(n_subjects, 4)) * [1, 10, 0.1, 1]
    panel[rng.uniform(size=panel.shape) < 0.3] = np.nan
    return moments, clinical.assign(**dict(zip(DRUGS, panel.T, strict=True)))


FAMILIES = {
    "continuous": (Continuous("weight"), {"intercept": np.array(79.0), "noise_sd": np.array(9.0)}),
    "count": (Count("visits", "years"), {"intercept": np.array(1.1), "dispersion": np.array(0.7)}),
    "ordinal": (Ordinal("grade", levels=LEVELS), {"cutpoints": CUTS}),
    "probit": (Binary("dead", link="probit"), {"intercept": np.array(0.3)}),
}


def write_density(kind, clinical):
    """p(y_n | predictor) written out by hand, without our formulas."""
    row = clinical.to_dict("records")
    if kind == "continuous":
        return lambda n, x: stats.norm.pdf(row[n]["weight"], 79.0 + x, 9.0)
    if kind == "count":
        size = 1 / 0.7**2

        def density(n, x):
            mean = row[n]["years"] * np.exp(1.1 + x)
            return stats.nbinom.pmf(row[n]["visits"], size, size / (size + mean))

        return density
    if kind == "ordinal":
        ends = np.array([-np.inf, *CUTS, np.inf])

        def graded(n, x):
            k = LEVELS.index(row[n]["grade"])
            return expit(ends[k + 1] - x) - expit(ends[k] - x)

        return graded
    return lambda n, x: stats.norm.cdf((0.3 + x) * (1 if row[n]["dead"] else -1))


def integrate_normal(function, mean, sd):
    points = mean + sd * np.linspace(-6, 6, 13)
    value, _ = integrate.quad(
        lambda x: function(x) * stats.norm.pdf(x, mean, sd), points[0] - 3 * sd, points[-1] + 3 * sd, points=points,
        epsabs=0, epsrel=1e-11, limit=500,
    )  # fmt: skip
    return value


@pytest.mark.parametrize("kind", list(FAMILIES))
@pytest.mark.parametrize("effects", [(0.0, 0.0), (0.8, -0.5), (-1.2, 0.9)])
def test_marginal_likelihood_is_the_integral_over_factors(kind, effects):
    moments, clinical = make_cohort()
    family, parameters = FAMILIES[kind]
    observed = family.read(clinical, moments.subjects)
    response = family.learn(observed)
    effects = np.array(effects) * response.unit
    mean, sd = moments.mean @ effects, np.sqrt(moments.variance_along(effects))
    got = log_marginal(np, response, mean, sd, parameters, response.design(observed), 20)
    density = write_density(kind, clinical)
    for n in range(len(mean)):
        exact = density(n, mean[n])
        if sd[n] > 0:
            exact = integrate_normal(lambda x, n=n: density(n, x), mean[n], sd[n])
        assert got[n] == pytest.approx(np.log(exact), abs=2e-4 if kind in ("count", "ordinal") else 1e-9)


@pytest.mark.parametrize("count", [0, 1, 30, 4000])
@pytest.mark.parametrize("dispersion", [0.02, 1.0])
@pytest.mark.parametrize("sd", [0.3, 1.0, 2.0])
def test_a_count_far_better_known_than_its_predictor_is_still_integrated(count, dispersion, sd):
    response = Count("visits").learn({"outcome": np.array([1.0]), "log_exposure": np.zeros(1)})
    design = {"count": np.array([float(count)]), "log_exposure": np.zeros(1)}
    parameters = {"intercept": np.array(0.0), "dispersion": np.array(dispersion)}
    mean, size = np.log(count + 0.5) + 0.8, 1 / (dispersion**2 + 1e-8)
    grid = np.linspace(mean - 10 * sd, mean + 10 * sd, 400_001)
    values = stats.nbinom.pmf(count, size, size / (size + np.exp(grid))) * stats.norm.pdf(grid, mean, sd)
    got = log_marginal(np, response, np.array([mean]), np.array([sd]), parameters, design, 20)
    assert got[0] == pytest.approx(np.log(integrate.trapezoid(values, grid)), abs=3e-3)


def make_point(kind, model, unit):
    """The same point for the graph's own parameters."""
    point = {"effect_factors": EFFECTS, "standardised_effects": SLOPES}
    own = {
        "continuous": {"standardised_intercept": np.array(0.2), "standardised_noise_log__": np.array(-0.3)},
        "count": {"intercept": np.array(1.1), "dispersion_log__": np.log(np.array(0.7))},
        "ordinal": {"shares_simplex__": np.log(SHARES[:-1]) - np.log(SHARES).mean()},
        "probit": {"intercept": np.array(0.3)},
    }
    return point | own[kind]


@pytest.mark.parametrize("kind", list(FAMILIES))
def test_the_graph_has_this_likelihood_and_a_finite_gradient(kind):
    moments, clinical = make_cohort()
    family, parameters = FAMILIES[kind]
    model = RiskModel(family, ["age"]).build(moments, clinical)
    observed = family.read(clinical, moments.subjects)
    response = family.learn(observed)
    if kind == "continuous":
        weight = clinical["weight"].to_numpy()
        parameters = {
            "intercept": weight.mean() + 0.2 * weight.std(),
            "noise_sd": np.exp(-0.3) * weight.std(),
        }
        parameters = {name: np.array(value) for name, value in parameters.items()}
    age = clinical["age"].to_numpy()
    mean = moments.mean @ EFFECTS + 0.7 * (age - age.mean()) / age.std()
    sd = np.sqrt(moments.variance_along(EFFECTS))
    normal = response.unit * mean, response.unit * sd
    expected = log_marginal(np, response, *normal, parameters, response.design(observed), 20).sum()
    point = make_point(kind, model, response.unit)
    assert {value.name for value in model.value_vars} == set(point)
    density = model.compile_logp(vars=model.observed_RVs, mode="FAST_COMPILE")
    assert float(density(point)) == pytest.approx(expected, rel=1e-8)
    gradient = model.compile_dlogp(mode="FAST_COMPILE")
    assert np.isfinite(gradient(point)).all()
    assert np.isfinite(gradient(model.initial_point())).all()


@pytest.mark.parametrize("interactions", [[], ["age"]])
def test_a_panel_has_the_density_of_its_joint_normal_distribution(interactions):
    moments, clinical = make_cohort()
    family = MultiContinuous(DRUGS)
    model = RiskModel(family, ["age"], interactions=interactions).build(moments, clinical)
    point = {name: np.asarray(value) + 0.1 for name, value in model.initial_point().items()}
    rng = np.random.default_rng(1)
    point["effect_factors_raw"] = rng.normal(size=(4, 2))
    terms = ["effect_factors", "standardised_effects", "intercept", "noise_sd"]
    terms += ["standardised_interactions"] if interactions else []
    values = model.compile_fn(
        model.replace_rvs_by_values([model[name] for name in terms]),
        inputs=model.value_vars,
        mode="FAST_COMPILE",
        on_unused_input="ignore",
    )(point)
    effects, slopes, intercept, noise_sd, *changes = values
    response = family.learn(family.read(clinical, moments.subjects))
    assert isinstance(response, Joint)
    age = ((clinical["age"] - clinical["age"].mean()) / clinical["age"].std(ddof=0)).to_numpy()
    total = 0.0
    for n, patient in enumerate(clinical[DRUGS].to_numpy()):
        has = ~np.isnan(patient)
        own = response.unit[:, None] * (effects + (changes[0] * age[n] if changes else 0.0))
        mean = intercept + own @ moments.mean[n] + response.unit * slopes[:, 0] * age[n]
        covariance = own @ moments.covariance[n % 2] @ own.T + np.diag(noise_sd**2)
        law = stats.multivariate_normal(mean[has], covariance[np.ix_(has, has)]) if has.any() else None
        total += law.logpdf(patient[has]) if law else 0.0
    density = model.compile_logp(vars=model.observed_RVs, mode="FAST_COMPILE")
    assert float(density(point)) == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("prior", ["horseshoe", "mixture"])
def test_priors_with_scales_summed_out_are_the_average_over_these(prior):
    moments, clinical = make_cohort()
    model = RiskModel(Continuous("weight"), prior=prior).build(moments, clinical)
    effects = np.array([0.3, -0.9])
    sds, log_weights = (effect_scales(1.0)[None], np.zeros(1))
    if prior == "horseshoe":
        sds, log_weights = horseshoe_scales(1.0)
    each = stats.norm.pdf(effects[:, None, None], scale=sds).mean(axis=-1)
    expected = np.log(each).sum() if prior == "mixture" else np.log((np.exp(log_weights) * each.prod(axis=0)).sum())
    density = model.compile_logp(vars=[model["effect_factors"]], mode="FAST_COMPILE")
    assert float(density({**model.initial_point(), "effect_factors": effects})) == pytest.approx(expected, rel=1e-9)
