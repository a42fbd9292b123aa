"""The vi engine against the graph: its bound is E_q[log p - log q] of the PyMC model, constants included."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from scipy.stats import bernoulli, beta, gamma, multivariate_normal, norm, truncnorm

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.data.simulate import Design
from mofa_bayes.engines.vi.ascend import ascend
from mofa_bayes.engines.vi.known import find_known
from mofa_bayes.engines.vi.layout import lay_out
from mofa_bayes.engines.vi.packed import unpack
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.engines.vi.start import start_factors

# Under the vague default the precision of a factor that a view lacks is drawn as 0, which nothing can be computed with.
UNIT = mb.Gamma(shape=1.0, rate=1.0)
SPARSE = mb.FactorModel(n_factors=2, min_variance=0.0, loadings=mb.SpikeSlab(precision=UNIT))

N_SUBJECTS = 25


def make_views(likelihood="gaussian", *, groups=False, covariates=False, exposures=False, weights=False):
    """Two views of 25 subjects that share two factors; the last columns of the second have the likelihood asked for."""
    design = Design(
        n_subjects=N_SUBJECTS,
        n_features={"a": 8, "b": 6},
        sharing=[("a", "b"), ("a", "b")],
        density=0.7,
        noise_sd=0.5,
        absent_view=0.2,
        missing=0.1,
    )
    cohort = mb.simulate_cohort(design, seed=5)
    frames = {view: cohort.views[view].to_pandas() for view in ("a", "b")}
    frames = {view: frame[frame.notna().any(axis=1)] for view, frame in frames.items()}
    rng = np.random.default_rng(8)
    own = frames["b"].columns[-3:]
    eta = frames["b"][own]
    if likelihood == "bernoulli":
        frames["b"][own] = (eta > 0).astype(float).where(eta.notna())
    elif likelihood in ("poisson", "negative_binomial"):
        frames["b"][own] = eta.map(lambda x: rng.poisson(np.exp(x / 2)) if np.isfinite(x) else np.nan)
    elif likelihood == "ordinal":
        frames["b"][own] = np.digitize(eta, [-0.5, 1.0]).astype(float) + 0 * eta
    subjects = list(cohort.views.subjects)
    return mb.MultiView.from_frames(
        frames,
        likelihoods={"b": dict.fromkeys(own, likelihood)},
        groups=pd.Series(["x", "y", "y"] * 8 + ["x"], index=subjects) if groups else None,
        covariates=pd.DataFrame({"age": rng.normal(50, 10, 25)}, index=subjects) if covariates else None,
        exposures={"b": pd.Series(rng.uniform(0.5, 2, 25), index=subjects)} if exposures else None,
        weights=pd.Series(rng.uniform(0.5, 2, 25), index=subjects) if weights else None,
    )


def fit_raw(views, spec, **settings):
    preprocessing = fit_preprocessing(views, {view: spec.scale_of(view) for view in views.names})
    layout = lay_out(views, preprocessing, find_known(views, preprocessing))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mb.errors.ConvergenceWarning)
        scores = start_factors(layout, spec.n_factors, np.random.default_rng(0))
        return ascend(layout, spec, Ascent(expand=False, **settings), scores)


def compile_logp(model):
    """Joint log density over the model's own (untransformed) variables."""
    import pymc as pm
    from pymc.logprob.basic import transformed_conditional_logp

    rvs = model.basic_RVs
    values = {rv: rv.clone() for rv in rvs if rv not in model.observed_RVs}
    values |= {rv: model.rvs_to_values[rv] for rv in model.observed_RVs}
    terms = transformed_conditional_logp(rvs, rvs_to_values=values, rvs_to_transforms={})
    free = [rv for rv in model.basic_RVs if rv not in model.observed_RVs]
    total = sum(term.sum() for term in terms)
    function = pm.pytensorf.compile([values[rv] for rv in free], total)
    return [rv.name for rv in free], function


def draw_rows(fitted, place, rng):
    """Draw z from q in the order of the views' subjects, as the graph's variable; and log q."""
    n_factors = fitted.globals.n_factors
    z = np.empty((len(place), n_factors))
    log_q = 0.0
    for block, rows in zip(fitted.layout.blocks, fitted.rows, strict=True):
        covariance = np.broadcast_to(unpack(rows.covariance, n_factors), (block.n_rows, n_factors, n_factors))
        for n, mean, own in zip(block.rows, rows.mean, covariance, strict=True):
            draw = rng.multivariate_normal(mean, own)
            z[place[fitted.layout.subjects[n]]] = draw
            log_q += multivariate_normal.logpdf(draw, mean, own)
    return {"factors": z}, log_q


def draw_sparse_rows(fitted, place, rng):
    """Draw v, s and theta of sparse factors from q, as the graph's variables; and log q."""
    state = fitted.globals.factors
    slab, active = (np.empty((len(place), fitted.globals.n_factors)) for _ in range(2))
    theta = np.clip(rng.beta(state.a, state.b), 1e-12, 1 - 1e-12)
    log_q = beta.logpdf(theta, state.a, state.b).sum()
    for block, rows in zip(fitted.layout.blocks, fitted.rows, strict=True):
        target = [place[fitted.layout.subjects[n]] for n in block.rows]
        on = rng.random(rows.inclusion.shape) < rows.inclusion
        location, scale = np.where(on, rows.slab_mean, 0.0), np.where(on, np.sqrt(rows.slab_variance), 1.0)
        own = rng.normal(location, scale)
        slab[target], active[target] = own, on
        log_q += norm.logpdf(own, location, scale).sum() + bernoulli.logpmf(on, rows.inclusion).sum()
    return {"factor_inclusion": theta, "factors_slab": slab, "factors_active": active.astype(int)}, log_q


def draw_gamma(shape, rate, rng):
    draw = rng.gamma(shape, 1 / rate)
    return draw, gamma.logpdf(draw, shape, scale=1 / rate).sum()


def draw_above(view, state, prior, rng):
    """Draw what stands above a view's loadings: graph variables, log q, and the factor c with v = c w."""
    if isinstance(prior, mb.Normal):
        return {}, 0.0, np.ones((1, 1)) / prior.scale
    if isinstance(prior, mb.Laplace):
        rate, log_q = draw_gamma(state.shape, state.rate, rng)
        return {f"rate_{view}": rate}, log_q, rate[None]
    own = state if isinstance(prior, mb.ARD) else state.ard
    alpha, log_q = draw_gamma(own.shape, own.rate, rng)
    out = {f"ard_{view}": alpha}
    if isinstance(prior, mb.SpikeSlab):
        theta = np.clip(rng.beta(state.a, state.b), 1e-12, 1 - 1e-12)
        return (
            out | {f"inclusion_{view}": theta},
            log_q + beta.logpdf(theta, state.a, state.b).sum(),
            alpha[None] ** 0.5,
        )
    if isinstance(prior, mb.Horseshoe):
        inverse_square, more = draw_gamma(np.ones_like(state.local_rate), state.local_rate, rng)
        local = inverse_square**-0.5
        # Of l where q is of t = 1 / l^2: log q(l) = log q(t) + log(2 / l^3).
        log_q += more + np.sum(np.log(2) - 3 * np.log(local))
        return out | {f"local_{view}": local}, log_q, np.sqrt(alpha[None] / local**2 + N_SUBJECTS)
    return out, log_q, alpha[None] ** 0.5


def draw_slab(state, scale, positive, rng):
    """Draw w given s, and its log density under q."""
    location, sd = state.slab_mean, np.sqrt(state.slab_variance)
    if positive:
        q = truncnorm(-location / sd, np.inf, location, sd)
        w = q.rvs(random_state=rng)
        return w, q.logpdf(w)
    w = rng.normal(location, sd)
    return w, norm.logpdf(w, location, sd)


def draw_one_by_one(state, factor, prior, rng):
    """Draw loadings, coefficients and indicators of a part whose terms are independent; and log q."""
    size = state.n_factors
    slab, log_slab = draw_slab(state, factor, prior.positive, rng)
    active = np.ones(slab.shape, dtype=int)
    log_q = 0.0
    if isinstance(prior, mb.SpikeSlab):
        active = (rng.random(state.inclusion.shape) < state.inclusion).astype(int)
        log_q += bernoulli.logpmf(active, state.inclusion).sum()
        off = rng.normal(0, 1 / factor)
        log_off = norm.logpdf(off, 0, 1 / factor)
        if prior.positive:
            off, log_off = np.abs(off), log_off + np.log(2)
        slab, log_slab = np.where(active, slab, off), np.where(active, log_slab, log_off)
    rest = state.mean[:, size:], np.sqrt(state.spread[:, size:])
    known = rng.normal(*rest)
    return slab, known, active, log_q + log_slab.sum() + norm.logpdf(known, *rest).sum()


def draw_together(state, factor, prior, rng):
    """Draw loadings and coefficients of a part whose features have full covariances; and log q."""
    size = state.n_factors
    terms, log_q = np.empty(state.mean.shape), 0.0
    for d, (mean, covariance) in enumerate(zip(state.mean, state.covariance(), strict=True)):
        terms[d] = rng.multivariate_normal(mean, covariance)
        log_q += multivariate_normal.logpdf(terms[d], mean, covariance)
    return terms[:, :size], terms[:, size:], np.ones((len(terms), size), dtype=int), log_q


def draw_view(view, views, fitted, spec, rng):
    """Draw a view's globals from q; return graph variables and log q in the graph's (non-centred) variables."""
    prior, n_factors = spec.loadings_of(view), fitted.globals.n_factors
    features = list(views.features(view))
    n_groups = len(fitted.layout.groups)
    out, log_q, scale = draw_above(view, fitted.globals.views[view], prior, rng)
    w, known = np.zeros((len(features), n_factors)), np.zeros((len(features), fitted.layout.n_known))
    s = np.ones((len(features), n_factors), dtype=int)
    factor = np.broadcast_to(scale, w.shape)
    tau = np.full((n_groups, len(features)), np.nan)
    for part, state in zip(fitted.layout.parts, fitted.globals.parts, strict=True):
        if part.view != view:
            continue
        columns = np.array([features.index(name) for name in part.features])
        if part.family.has_noise:
            tau[:, columns], more = draw_gamma(state.noise_shape, state.noise_rate, rng)
            log_q += more
        if part.likelihood == "negative_binomial":
            # A point in vi and a variable in the graph: its prior is taken off again.
            place = np.argsort([features.index(name) for name in part.features])
            out[f"dispersion_{view}"] = state.nuisance[place]
            log_q += np.sum(np.log(0.1) - 0.1 * state.nuisance)
        draw_part = draw_one_by_one if state.is_elementwise else draw_together
        w[columns], known[columns], s[columns], more = draw_part(state, factor[columns], prior, rng)
        log_q += more
    log_q -= np.log(factor).sum()
    out |= {f"slab_{view}": w * factor, f"intercept_{view}": known[:, :n_groups].T}
    if views.groups is None:
        out[f"intercept_{view}"], tau = out[f"intercept_{view}"][0], tau[0]
    if fitted.layout.covariates:
        out[f"effects_{view}"] = known[:, n_groups:].T
    return out | noise_variables(view, views, tau) | (
        {f"active_{view}": s} if isinstance(prior, mb.SpikeSlab) else {}
    ), log_q


def noise_variables(view, views, tau):
    kinds = views.likelihoods(view).values
    noisy = [kind for kind in ("gaussian", "student_t") if kind in kinds]
    names = [f"noise_precision_{view}"] if len(noisy) < 2 else [f"noise_precision_{view}_{kind}" for kind in noisy]
    return {name: tau[..., kinds == kind] for name, kind in zip(names, noisy, strict=True)}


def estimate_bound(views, spec, fitted, n_draws=250):
    """Monte Carlo E_q[log p - log q]: mean and standard error."""
    names, logp = compile_logp(mb.graph(views, spec))
    place = {subject: n for n, subject in enumerate(views.subjects)}
    rng = np.random.default_rng(1)
    values = []
    for _ in range(n_draws):
        draw = draw_sparse_rows if isinstance(spec.factors, mb.SpikeSlabFactors) else draw_rows
        point, log_q = draw(fitted, place, rng)
        if isinstance(spec.factors, mb.ARDFactors):
            own = fitted.globals.factors.ard
            point["factor_precision"], more = draw_gamma(own.shape, own.rate, rng)
            log_q += more
        for view in views.names:
            own, own_q = draw_view(view, views, fitted, spec, rng)
            point |= own
            log_q += own_q
        values.append(float(logp(*(point[name] for name in names))) - log_q)
    return np.mean(values), np.std(values) / np.sqrt(n_draws)


PRIORS = {
    "spike_slab": mb.SpikeSlab(precision=UNIT),
    "spike_slab_positive": mb.SpikeSlab(precision=UNIT, positive=True),
    "ard": mb.ARD(),
    "ard_positive": mb.ARD(positive=True),
    "normal": mb.Normal(scale=0.7),
    "normal_positive": mb.Normal(scale=0.7, positive=True),
}


def model(prior, **more):
    return mb.FactorModel(n_factors=2, min_variance=0.0, loadings=prior, **more)


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_bound_equals_expected_log_ratio_of_the_graph(prior):
    views = make_views()
    fitted = fit_raw(views, model(prior))
    estimate, error = estimate_bound(views, model(prior), fitted)
    assert abs(estimate - fitted.bound[-1]) < 4 * error
    assert error < 0.5  # nats, of some 500: an omitted constant or entropy would be larger


FACTORS = {"standard": mb.StandardFactors(), "ard": mb.ARDFactors(), "spike_slab": mb.SpikeSlabFactors()}


@pytest.mark.parametrize("factors", FACTORS.values(), ids=FACTORS)
@pytest.mark.parametrize("prior", [mb.SpikeSlab(precision=UNIT), mb.ARD()], ids=["spike_slab", "ard"])
def test_bound_equals_it_with_groups_and_covariates(prior, factors):
    views, spec = make_views(groups=True, covariates=True), model(prior, factors=factors)
    fitted = fit_raw(views, spec)
    estimate, error = estimate_bound(views, spec, fitted)
    assert abs(estimate - fitted.bound[-1]) < 4 * error
    assert error < 0.6


@pytest.mark.parametrize("likelihood", ["bernoulli", "student_t", "poisson", "negative_binomial"])
def test_bounded_likelihood_stays_below_the_exact_one_and_near_it(likelihood):
    views = make_views(likelihood, exposures=likelihood in ("poisson", "negative_binomial"))
    fitted = fit_raw(views, SPARSE)
    estimate, error = estimate_bound(views, SPARSE, fitted)
    assert fitted.bound[-1] < estimate + 3 * error
    n_entries = int(np.isfinite(views["b"].values[:, -3:]).sum())
    assert estimate - fitted.bound[-1] < 0.15 * n_entries


@pytest.mark.parametrize(
    "prior", [mb.Laplace(), mb.Laplace(positive=True), mb.Horseshoe(), mb.Horseshoe(positive=True)]
)
def test_bounded_prior_stays_below_the_exact_one_and_near_it(prior):
    views = make_views()
    fitted = fit_raw(views, model(prior))
    estimate, error = estimate_bound(views, model(prior), fitted)
    assert fitted.bound[-1] < estimate + 3 * error
    assert estimate - fitted.bound[-1] < 0.5 * (8 + 6) * 2


def test_logit_of_intercepts_matches_prevalence_when_nothing_else_explains_it():
    """An oracle for the bernoulli part alone: with no signal the intercept is the log-odds of the prevalence."""
    rng = np.random.default_rng(2)
    index = [f"p{n:03d}" for n in range(400)]
    flags = pd.DataFrame((rng.random((400, 6)) < [0.1, 0.3, 0.5, 0.5, 0.7, 0.9]).astype(float), index, list("abcdef"))
    noise = pd.DataFrame(rng.standard_normal((400, 5)), index, list("vwxyz"))
    post = mb.fit(
        mb.MultiView.from_frames({"flags": flags, "noise": noise}), mb.FactorModel(n_factors=1), progress=False
    )
    found = post.intercepts("flags").mean(("chain", "draw")).values
    np.testing.assert_allclose(found, logit(flags.mean().to_numpy()), atol=0.15)


def test_weights_have_no_graph():
    with pytest.raises(mb.errors.FitError, match="weights"):
        mb.graph(make_views(weights=True), SPARSE)
