"""The gibbs engine against the model: sweeps leave the posterior invariant, and the model is the graph's."""

from dataclasses import replace

import numpy as np
import pymc as pm
import pytest
from oracle.geweke import TIGHT, Case, draw_data, draw_prior, geweke, squash

import mofa_bayes as mb
from mofa_bayes.engines.gibbs import sweep as sweep_module
from mofa_bayes.engines.gibbs.state import first_point

PRIORS = {
    "ard": mb.ARD(precision=TIGHT),
    "normal": mb.Normal(scale=0.8),
    "spike_slab": mb.SpikeSlab(precision=TIGHT, inclusion_a=2.0, inclusion_b=1.5),
    "laplace": mb.Laplace(rate=TIGHT),
    "horseshoe": mb.Horseshoe(precision=TIGHT),
}
PRIORS |= {f"{name}_positive": replace(prior, positive=True) for name, prior in PRIORS.items()}
LIKELIHOODS = ["student_t", "bernoulli", "poisson", "negative_binomial"]
CASES = {name: Case(prior=prior) for name, prior in PRIORS.items()}
CASES |= {name: Case(prior=PRIORS["spike_slab"], likelihood=name, is_known=True, missing=0.2) for name in LIKELIHOODS}
CASES["ard_factors"] = Case(
    prior=PRIORS["ard"], factors=mb.ARDFactors(precision=TIGHT), n_factors=3, is_known=True, missing=0.2
)
CASES["mixed"] = Case(
    prior=PRIORS["ard"],
    second=PRIORS["horseshoe"],
    factors=mb.ARDFactors(precision=TIGHT),
    likelihood="bernoulli",
    missing=0.2,
)
EVERYTHING = {
    f"{prior}-{likelihood}": Case(prior=PRIORS[prior], likelihood=likelihood, is_known=True, missing=0.2)
    for prior in PRIORS
    for likelihood in ["gaussian", *LIKELIHOODS]
}
# Of some 40 functions in 16 cases, one normal number in 150,000 is larger.
LIMIT = 4.5


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_sweeps_leave_prior_and_data_as_they_are(case):
    scores = geweke(case, n_chains=40, n_sweeps=20, n_prior=600)
    assert scores.abs().max() < LIMIT, scores[scores.abs() > 3].to_dict()


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERYTHING.values(), ids=EVERYTHING)
def test_sweeps_leave_every_combination_as_it_is(case):
    scores = geweke(case, n_chains=400, n_sweeps=50, n_prior=5000, seed=1)
    assert scores.abs().max() < LIMIT, scores[scores.abs() > 3].to_dict()


def test_a_wrong_jacobian_is_found(monkeypatch):
    """The oracle sees an error in a move: a change of scale that is not weighed by what it does to the posterior."""
    right = sweep_module.move

    def wrong(problem, point, rng):
        moved = right(problem, point, rng)
        scale = np.exp(0.5 * np.abs(rng.standard_normal(point.n_factors)))
        terms = [own.terms / np.append(scale, np.ones(problem.n_known)) for own in moved.parts]
        parts = tuple(replace(own, terms=t) for own, t in zip(moved.parts, terms, strict=True))
        return replace(moved, factors=moved.factors * scale, parts=parts)

    monkeypatch.setattr(sweep_module, "move", wrong)
    assert geweke(CASES["normal"], n_chains=40, n_sweeps=20, n_prior=600).abs().max() > LIMIT


@pytest.mark.parametrize(
    ("name", "likelihood"),
    [("spike_slab", "negative_binomial"), ("laplace_positive", "student_t"), ("horseshoe", "bernoulli")],
)
def test_the_prior_of_these_tests_is_the_graphs(name, likelihood):
    """Means of bounded functions of prior draws and of data, here and in the PyMC model."""
    case = Case(prior=PRIORS[name], likelihood=likelihood, factors=mb.ARDFactors(precision=TIGHT))
    problem, masks = case.problem()
    layout, rng = problem.layout, np.random.default_rng(2)
    number = next(i for i, part in enumerate(layout.parts) if part.likelihood == likelihood)
    ours = []
    for _ in range(1500):
        point = draw_prior(problem, first_point(layout, problem.spec), rng)
        draw_data(problem, masks, point, rng)
        y = np.concatenate([block.cells[number].values.y for block in layout.blocks])
        w, tau = point.loadings(layout, "a"), point.parts[0].tau
        ours.append([squash(v).mean() for v in (w, w**2, point.factors**2, tau, point.parts[0].terms[:, -1] ** 2, y)])
    model = mb.graph(case.views(), problem.spec)
    names = ["loadings_a", "factors", "noise_precision_a", "intercept_a", f"{likelihood}_b"]
    w, z, tau, mu, y = pm.draw([model[name] for name in names], draws=1500, random_seed=1)
    theirs = np.column_stack(
        [squash(v).reshape(len(v), -1).mean(axis=1) for v in (w, w**2, z**2, tau, mu**2, y.astype(float))]
    )
    ours = np.array(ours)
    error = np.sqrt(ours.var(axis=0) / len(ours) + theirs.var(axis=0) / len(theirs))
    np.testing.assert_array_less(np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) / error, LIMIT)
