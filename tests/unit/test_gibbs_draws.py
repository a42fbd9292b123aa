"""The compiled draws of the gibbs engine, one by one, against the distributions they are of."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaln, softplus

from mofa_bayes.engines.gibbs.kernels import draw_dispersion, draw_elements, draw_gaussians, redraw_active
from mofa_bayes.engines.gibbs.polya_gamma import draw_polya_gamma, fill_softplus_counts
from mofa_bayes.engines.gibbs.walk import draw_log_scale
from mofa_bayes.engines.vi.packed import pack

N = 20_000
# Two-sided, of a normal number: one in 16,000.
LIMIT = 4.0


def z_score(draws, mean):
    return abs(np.mean(draws) - mean) / (np.std(draws) / np.sqrt(len(draws)))


@pytest.mark.parametrize("c", [0.0, 0.3, -2.5, 12.0, 80.0])
@pytest.mark.parametrize("b", [0.02, 0.7, 1.0, 2.3, 6.0, 150.5])
def test_polya_gamma_has_its_laplace_transform(b, c):
    """E exp(-s x) = (cosh(c/2) / cosh(sqrt(c^2/4 + s/2)))^b, at scales of x small and large."""
    rng = np.random.default_rng(3)
    x = np.array([draw_polya_gamma(b, c, rng) for _ in range(N)])
    mean = b / 4 if c == 0 else b * np.tanh(c / 2) / (2 * c)
    assert z_score(x, mean) < LIMIT
    for s in (0.3 / mean, 3 / mean):
        root = np.sqrt(c**2 / 4 + s / 2)
        log_cosh = [v + np.log1p(np.exp(-2 * v)) for v in (abs(c) / 2, root)]
        assert z_score(np.exp(-s * x), np.exp(b * (log_cosh[0] - log_cosh[1]))) < LIMIT


@pytest.mark.parametrize(("y", "exposure"), [(0, 1.0), (1, 0.4), (4, 2.5)])
def test_augmented_poisson_is_the_poisson_likelihood(y, exposure):
    """A Gibbs sampler of one eta ~ N(0, 1) has the posterior's mean and variance, found by quadrature."""
    rng = np.random.default_rng(4)
    n = 8000
    one = np.ones((n, 1))
    eta, kappa, omega = rng.standard_normal((n, 1)), np.empty((n, 1)), np.empty((n, 1))
    for _ in range(25):
        fill_softplus_counts(y * one, eta, exposure * one[:, 0], one, rng, kappa, omega)
        eta = kappa / (omega + 1) + rng.standard_normal((n, 1)) / np.sqrt(omega + 1)
    grid = np.linspace(-8, 8, 4001)
    rate = exposure * softplus(grid)
    weight = np.exp(y * np.log(rate) - rate - gammaln(y + 1) - grid**2 / 2)
    mean = np.average(grid, weights=weight)
    assert z_score(eta[:, 0], mean) < LIMIT
    assert z_score((eta[:, 0] - mean) ** 2, np.average((grid - mean) ** 2, weights=weight)) < LIMIT


@pytest.mark.parametrize(
    ("power", "grow", "shrink"),
    [(2.0, 3.0, 1.0), (-40.0, 0.0, 30.0), (100.0, 200.0, 0.0), (0.003, 0.002, 0.004), (-3, 5, 9)],
)
def test_log_scale_is_generalised_inverse_gaussian(power, grow, shrink):
    rng = np.random.default_rng(5)
    t = np.array([draw_log_scale(power, grow, shrink, rng) for _ in range(N)])
    grid = np.linspace(t.min() - 1, t.max() + 1, 20_001)
    log_density = power * grid - (grow * np.exp(grid) + shrink * np.exp(-grid)) / 2
    density = np.exp(log_density - log_density.max())
    cumulative = np.cumsum(density) / density.sum()
    assert stats.kstest(t, lambda x: np.interp(x, grid, cumulative)).pvalue > 1e-4


def test_gaussians_have_their_mean_and_covariance():
    rng = np.random.default_rng(6)
    root = rng.standard_normal((3, 3))
    a, h, prior = root @ root.T, rng.standard_normal(3), np.array([0.5, 1.0, 2.0])
    out = np.empty((N, 3))
    draw_gaussians(pack(a)[None], np.tile(h, (N, 1)), prior[None], rng, out)
    covariance = np.linalg.inv(a + np.diag(prior))
    for k, mean in enumerate(covariance @ h):
        assert z_score(out[:, k], mean) < LIMIT
    np.testing.assert_allclose(np.cov(out.T), covariance, atol=5 * covariance.max() / np.sqrt(N))


@pytest.mark.parametrize("h", [1.5, -0.5, -30.0])
def test_loadings_that_may_not_be_negative_are_truncated_normals(h):
    rng = np.random.default_rng(7)
    terms = np.ones((N, 1))
    draw_elements(np.array([[2.0]]), np.full((N, 1), h), np.array([[1.0]]), np.zeros(1), False, True, rng, terms)
    mean, sd = h / 3, 3**-0.5
    assert stats.kstest(terms[:, 0], stats.truncnorm(-mean / sd, np.inf, mean, sd).cdf).pvalue > 1e-4


@pytest.mark.parametrize("positive", [False, True])
def test_indicators_have_their_exact_probability(positive):
    """One loading: P(w != 0 | y) from the two marginal likelihoods, integrated numerically."""
    rng = np.random.default_rng(8)
    a, h, prior, theta = 2.0, 1.2, 0.7, 0.3
    terms = np.zeros((N, 1))
    odds = np.log(theta / (1 - theta))
    draw_elements(
        np.array([[a]]), np.full((N, 1), h), np.array([[prior]]), np.array([odds]), True, positive, rng, terms
    )
    w = np.linspace(0 if positive else -12, 12, 40_001)
    slab = np.sqrt(prior / (2 * np.pi)) * np.exp(-prior * w**2 / 2) * (2 if positive else 1)
    ratio = np.trapezoid(slab * np.exp(h * w - a * w**2 / 2), w)
    assert z_score((terms[:, 0] != 0).astype(float), theta * ratio / (theta * ratio + 1 - theta)) < LIMIT


def test_redrawing_leaves_zeros_alone_and_draws_the_others_given_them():
    rng = np.random.default_rng(9)
    root = rng.standard_normal((4, 4))
    a, h = root @ root.T + np.eye(4), rng.standard_normal(4)
    terms = np.tile([1.0, 0.0, 1.0, 1.0], (N, 1))
    redraw_active(pack(a)[None], np.tile(h, (N, 1)), np.ones((1, 4)), rng, terms)
    own = np.array([0, 2, 3])
    covariance = np.linalg.inv(a[np.ix_(own, own)] + np.eye(3))
    assert (terms[:, 1] == 0).all()
    for k, mean in zip(own, covariance @ h[own], strict=True):
        assert z_score(terms[:, k], mean) < LIMIT


def test_dispersion_follows_its_posterior():
    rng = np.random.default_rng(10)
    n = 12
    y, eta, exposure = rng.poisson(3.0, (n, 1)).astype(float), np.full((n, 1), 1.0), np.zeros(n)
    y[0] = 14
    wide = 4000
    r = np.full(wide, 2.0)
    for _ in range(12):
        draw_dispersion(np.tile(y, wide), np.tile(eta, wide), exposure, np.ones((n, wide)), r, 0.1, rng)
    grid = np.exp(np.linspace(-4, 7, 4001))
    mu = np.exp(1.0)
    log_density = np.log(grid) - 0.1 * grid + stats.nbinom.logpmf(y, grid, grid / (grid + mu)).sum(axis=0)
    weight = np.exp(log_density - log_density.max())
    assert z_score(np.log(r), np.average(np.log(grid), weights=weight)) < LIMIT
