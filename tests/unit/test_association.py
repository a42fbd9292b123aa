"""Laws of associations of factors with covariates."""

import numpy as np
import pandas as pd
import pytest
from planted import plant_posterior
from scipy.stats import chi2, f_oneway, kstest, pearsonr

import mofa_bayes as mb
from mofa_bayes.errors import DataError
from mofa_bayes.explain.association import association_draws
from mofa_bayes.explain.relations import compare_groups, correlate, hazard, standardise


def observe(factors, noise, rng, n_draws=60):
    """Posterior of factors z ~ N(0, 1) seen as z + noise: N(R x, 1 - R), and draws from it."""
    reliability = 1 / (1 + noise**2)
    mean = reliability * (factors + noise * rng.standard_normal(factors.shape))
    draws = mean + np.sqrt(1 - reliability) * rng.standard_normal((n_draws, *factors.shape))
    loadings = np.ones((n_draws, 3, factors.shape[1]))
    covariance = (1 - reliability) * np.eye(factors.shape[1])[None]
    return plant_posterior(draws, {"rna": loadings}, covariance=covariance)


def label(values, post):
    return pd.DataFrame(values, index=post.subjects)


@pytest.fixture(scope="module")
def clinic():
    """Sharp factors of 200 subjects, and covariates that go with the first."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((200, 2))
    post = observe(z, 1e-3, rng)
    times = rng.exponential(np.exp(-0.7 * z[:, 0]))
    table = label(
        {
            "age": 60 + 10 * (0.6 * z[:, 0] + 0.8 * rng.standard_normal(200)),
            "sex": np.where(z[:, 0] + rng.standard_normal(200) > 0, "m", "f"),
            "stage": np.array(["I", "II", "III"])[np.digitize(z[:, 0] + rng.standard_normal(200), [-0.5, 0.5])],
            "time": np.minimum(times, 1.5),
            "event": (times < 1.5).astype(int),
        },
        post,
    )
    return z, post, table


def test_sharp_factors_give_the_classical_numbers(clinic):
    _, post, table = clinic
    found = mb.associate(post, table, survival={"os": ("time", "event")}).set_index(["covariate", "factor"])
    assert len(found) == 8
    mean = post.factors().mean(("chain", "draw"))
    for factor in post.factor_names:
        z = mean.sel(factor=factor).values.astype(float)
        r = pearsonr(z, table["age"])
        row = found.loc["age", factor]
        assert (row["estimate"], row["p"]) == pytest.approx((r.statistic, r.pvalue), rel=1e-4)
        assert tuple(row[["lower", "upper"]]) == pytest.approx(tuple(r.confidence_interval()), abs=2e-3)
        stages = [z[table["stage"] == own] for own in ("I", "II", "III")]
        assert found.loc[("stage", factor), "p"] == pytest.approx(f_oneway(*stages).pvalue, rel=1e-6)
        sex = pearsonr(z, table["sex"] == "m")
        assert found.loc[("sex", factor), "estimate"] == pytest.approx(sex.statistic, rel=1e-4)
    assert found.loc["sex", "reference"].tolist() == ["f", "f"]
    assert (found.xs("F1", level="factor")["fdr"] < 1e-4).all()
    assert (found["lower"] <= found["estimate"]).all()
    assert (found["estimate"] <= found["upper"]).all()


def test_hazard_ratios_are_those_of_lifelines(clinic):
    lifelines = pytest.importorskip("lifelines")
    z, _, table = clinic
    own = standardise(z)
    found = hazard(own, table["time"].to_numpy() + 1e-9 * np.arange(200), table["event"].to_numpy().astype(float))
    for k in range(2):
        frame = table[["time", "event"]].assign(z=own[:, k], time=table["time"] + 1e-9 * np.arange(200))
        fit = lifelines.CoxPHFitter().fit(frame, "time", "event")
        assert found.estimate[k] == pytest.approx(fit.params_["z"], abs=1e-4)
        assert found.error_low[k] == pytest.approx(fit.standard_errors_["z"], abs=1e-4)
    # The one-step form: score at 0 over information, whose weights are given.
    assert (own * found.weights).sum(axis=0) == pytest.approx(found.estimate, abs=0.15)


def test_score_test_with_ties_is_the_log_rank_test_of_two_groups():
    """By hand: with Breslow's risk sets the score is observed minus expected events."""
    rng = np.random.default_rng(1)
    time, event = rng.integers(1, 6, 40).astype(float), (rng.random(40) < 0.7).astype(float)
    group = (rng.random(40) < 0.5).astype(float)
    observed = variance = 0.0
    for t in np.unique(time[event > 0]):
        at_risk, dying = time >= t, (time == t) & (event > 0)
        p = group[at_risk].mean()
        observed += group[dying].sum() - dying.sum() * p
        variance += dying.sum() * p * (1 - p)
    found = hazard(group[:, None], time, event)
    scale = group.std()
    assert found.p[0] == pytest.approx(chi2.sf(observed**2 / variance, 1), rel=1e-9)
    assert (standardise(group[:, None]) * found.weights).sum() == pytest.approx(scale * observed / variance, rel=1e-9)


@pytest.mark.parametrize("kind", ["continuous", "survival"])
def test_attenuation_is_undone_and_intervals_cover(kind):
    rng = np.random.default_rng(2)
    inside, plain, found = [], [], []
    for _ in range(60):
        z = rng.standard_normal((120, 1))
        post = observe(z, 0.8, rng, n_draws=20)
        if kind == "continuous":
            truth, table = 0.5, label({"c": 0.5 * z[:, 0] + np.sqrt(0.75) * rng.standard_normal(120)}, post)
            options = {}
        else:
            truth, time = 0.5, rng.exponential(np.exp(-0.5 * z[:, 0]))
            table = label({"t": np.minimum(time, 2.0), "e": (time < 2).astype(int)}, post)
            options = {"survival": {"c": ("t", "e")}}
        row = mb.associate(post, table, **options).iloc[0]
        inside.append(row["lower"] <= truth <= row["upper"])
        found.append(row["estimate"])
        plain.append(float(association_draws(post, table, **options).mean()))
    assert np.mean(found) == pytest.approx(truth, abs=0.05)
    assert np.mean(plain) < 0.68 * truth
    assert 0.9 <= np.mean(inside) <= 0.99


def test_eta_is_corrected_too():
    rng = np.random.default_rng(3)
    found = []
    for _ in range(30):
        z = rng.standard_normal((400, 1))
        classes = np.digitize(z[:, 0] + rng.standard_normal(400), [-0.8, 0.8])
        share = np.var([z[classes == g].mean() for g in range(3)], ddof=0)
        post = observe(z, 0.8, rng, n_draws=20)
        row = mb.associate(post, label({"c": classes.astype(str)}, post)).iloc[0]
        truth = np.sqrt(sum((classes == g).mean() * z[classes == g].mean() ** 2 for g in range(3)) / z.var())
        found.append((row["estimate"] - truth, row["lower"] <= truth <= row["upper"]))
        assert share > 0
    error, inside = np.array(found).T
    assert abs(error.mean()) < 0.02
    assert inside.mean() > 0.85


def test_p_is_uniform_without_association():
    rng = np.random.default_rng(4)
    post = observe(rng.standard_normal((60, 1)), 1.0, rng, n_draws=10)
    columns = {f"c{i}": rng.standard_normal(60) for i in range(80)}
    columns |= {f"k{i}": rng.choice(["a", "b", "c"], 60) for i in range(80)}
    times = {f"t{i}": rng.exponential(size=60) for i in range(60)}
    events = {f"e{i}": (rng.random(60) < 0.7).astype(int) for i in range(60)}
    table = label(columns | times | events, post)
    found = mb.associate(post, table, survival={f"s{i}": (f"t{i}", f"e{i}") for i in range(60)})
    for _, own in found.groupby("kind"):
        assert kstest(own["p"], "uniform").pvalue > 0.005
    assert (found["fdr"] < 0.05).sum() <= 1


def test_what_all_subjects_share_of_uncertainty_widens_intervals():
    """Draws that rotate two factors into each other: no subject alone is uncertain given the rotation."""
    rng = np.random.default_rng(5)
    z = rng.standard_normal((300, 2))
    angles = 0.5 * rng.standard_normal(200)
    turn = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], axis=-1).reshape(-1, 2, 2)
    sharp = 1e-4 * np.eye(2)[None]
    post = plant_posterior(z @ turn, {"rna": np.ones((200, 3, 2))}, covariance=sharp)
    table = label({"c": z[:, 0]}, post)
    row = mb.associate(post, table).set_index("factor").loc["F2"]
    draws = association_draws(post, table).sel(factor="F2", covariate="c").values.ravel()
    assert row["upper"] - row["lower"] > 0.8 * (np.quantile(draws, 0.975) - np.quantile(draws, 0.025)) > 0.5
    fixed = plant_posterior(z[None].repeat(200, 0), {"rna": np.ones((200, 3, 2))}, covariance=sharp)
    other = mb.associate(fixed, table).set_index("factor").loc["F2"]
    assert other["upper"] - other["lower"] < 0.3


def test_of_sampled_posteriors_a_subject_s_own_uncertainty_is_what_its_views_leave():
    """Loadings w of 5 features leave 1 / (1 + 5 w^2) of a factor, and all of it to those who lack the view."""
    rng = np.random.default_rng(6)
    has = np.arange(100) < 80
    left = np.where(has, 1 / (1 + 5 * 0.6**2), 1.0)
    z = rng.standard_normal((1, 100, 1)) * np.sqrt(1 - left)[:, None]
    draws = z + np.sqrt(left)[:, None] * rng.standard_normal((400, 100, 1))
    post = plant_posterior(draws, {"rna": np.full((400, 5, 1), 0.6)}, has_view={"rna": has}, is_sampled=True)
    row = mb.associate(post, label({"c": rng.standard_normal(100)}, post)).iloc[0]
    assert row["reliability"] == pytest.approx(1 - left.mean() / draws.var(axis=1).mean(), rel=1e-6)


def test_draws_are_measured_one_by_one(clinic):
    _, post, table = clinic
    draws = association_draws(post, table, survival={"os": ("time", "event")}, factors=["F2"])
    assert draws.dims == ("chain", "draw", "covariate", "factor")
    z = post.factors().isel(chain=0, draw=3).sel(factor="F2").values.astype(float)
    assert float(draws.isel(chain=0, draw=3).sel(covariate="age", factor="F2")) == pytest.approx(
        pearsonr(z, table["age"]).statistic
    )
    assert draws["kind"].to_series().to_dict() == {
        "age": "continuous",
        "sex": "binary",
        "stage": "categorical",
        "os": "survival",
    }


def test_turning_a_factor_over_turns_its_associations_over(clinic):
    _, post, table = clinic
    turned = plant_posterior(
        -post.factors().values[0], {"rna": np.ones((60, 3, 2))}, covariance=post.factor_moments().covariance
    )
    one, other = (
        mb.associate(own, table, survival={"os": ("time", "event")}).set_index(["covariate", "factor"]).sort_index()
        for own in (post, turned)
    )
    signed = one["measure"] != "eta"
    np.testing.assert_allclose(one["p"], other["p"], rtol=1e-6)
    np.testing.assert_allclose(one.loc[signed, "estimate"], -other.loc[signed, "estimate"], rtol=1e-5)
    np.testing.assert_allclose(one.loc[signed, "lower"], -other.loc[signed, "upper"], rtol=1e-5)


def test_missing_values_and_strangers_are_left_aside(clinic):
    _, post, table = clinic
    shuffled = table[["age", "sex"]].sample(frac=1, random_state=0)
    shuffled.loc[post.subjects[:10], "age"] = np.nan
    strangers = pd.DataFrame({"age": [1.0], "sex": ["x"]}, index=["stranger"])
    found = mb.associate(post, pd.concat([shuffled, strangers]).drop(index=list(post.subjects[-5:])))
    assert found.groupby("covariate")["n"].first().to_dict() == {"age": 185, "sex": 195}
    known = mb.associate(post, table.loc[list(post.subjects[10:-5]), ["age"]])
    own = found[found["covariate"] == "age"].set_index("factor")["p"]
    np.testing.assert_allclose(own.loc[known["factor"]], known["p"])


def test_real_fits_are_associated(cohort, post):
    truth = cohort.factors.loc[list(post.subjects)]
    table = pd.DataFrame({"a": truth["T1"], "b": truth["T1"] > 0, "code": np.digitize(truth["T1"], [-1, 0, 1])})
    found = mb.associate(post, table, kinds={"code": "categorical"})
    best = found.groupby("covariate").first()
    assert (best["p"] < 1e-8).all()
    assert best["factor"].nunique() == 1
    assert best["kind"].to_dict() == {"a": "continuous", "b": "binary", "code": "categorical"}
    assert found["reliability"].between(0.5, 1).all()


def test_eta_of_two_classes_is_the_size_of_the_correlation():
    rng = np.random.default_rng(8)
    values, codes = rng.standard_normal((50, 3)), rng.integers(0, 2, 50)
    one, other = compare_groups(values, codes, 0.95), correlate(values, codes.astype(float), 0.95)
    np.testing.assert_allclose(one.estimate, np.abs(other.estimate))
    np.testing.assert_allclose(one.p, other.p)


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        ({"a": np.ones(200)}, {}, "1 different"),
        ({"a": np.arange(200)}, {"columns": ["b"]}, "'b'"),
        ({"a": np.arange(200)}, {"columns": []}, "none"),
        ({"a": np.arange(200)}, {"kinds": {"a": "ordinal"}}, "'ordinal'"),
        ({"a": np.arange(200)}, {"kinds": {"a": "categorical"}}, "200 different"),
        ({"a": np.arange(200)}, {"kinds": {"a": "binary"}}, "200 different"),
        ({"a": [f"x{i}" for i in range(200)]}, {}, "200 different"),
        ({"a": ["x", "y"] * 100}, {"kinds": {"a": "continuous"}}, "not numbers"),
        ({"t": np.arange(200), "e": [0, 1] * 100}, {"survival": {"os": ("t", "e")}}, "times above 0"),
        ({"t": np.arange(1, 201), "e": [0, 2] * 100}, {"survival": {"os": ("t", "e")}}, "events 0 or 1"),
        ({"t": np.arange(1, 201), "e": [0, 0] * 100}, {"survival": {"os": ("t", "e")}}, "one 1"),
        ({"t": np.arange(1, 201)}, {"survival": {"os": ("t", "e")}}, "'e'"),
        ({"a": np.arange(200)}, {"level": 2}, "level"),
        ({"a": np.arange(200)}, {"factors": ["x"]}, "factors"),
    ],
)
def test_unusable_covariates_are_refused(clinic, table, options, said):
    _, post, _ = clinic
    with pytest.raises(DataError, match=said):
        mb.associate(post, label(table, post), **options)


def test_other_patients_tables_are_refused(clinic):
    _, post, table = clinic
    with pytest.raises(DataError, match="0 subjects"):
        mb.associate(post, table.set_axis([f"x{i}" for i in range(200)])[["age"]])
