"""Rotations of pairs of factors: what they leave alone, and that angles and scales have the posterior they should."""

import numpy as np
import pytest
from oracle.geweke import Case, draw_prior
from scipy.integrate import quad
from scipy.special import exp1, hyperu
from scipy.stats import chisquare, kstest

import mofa_bayes as mb
from mofa_bayes.engines.gibbs.horseshoe import draw_globals, draw_locals, log_g, tabulate_log_g
from mofa_bayes.engines.gibbs.rotation import may_rotate, rotate
from mofa_bayes.engines.gibbs.state import first_point

GAMMA = mb.Gamma(shape=2.0, rate=1.0)
LAPLACE, HORSESHOE, ARD = (mb.Laplace(rate=GAMMA), mb.Horseshoe(precision=GAMMA), mb.ARD(precision=GAMMA))
FREE = mb.ARDFactors(precision=GAMMA)


def pose_case(**more):
    case = Case(is_known=True, missing=0.1, **more)
    problem, _ = case.problem()
    template = first_point(problem.layout, problem.spec)
    return problem, draw_prior(problem, template, np.random.default_rng(4))


def log_prior_at(problem, point, angle):
    """Log density of the first two factors and their loadings turned by an angle, from the model's definition."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    total, z = 0.0, point.factors @ turn
    for block in problem.layout.blocks:
        total -= 0.5 * (point.factor_precision[block.group] * z[block.rows] ** 2).sum()
    for view, above in point.above.items():
        w = point.loadings(problem.layout, view) @ turn
        match problem.spec.loadings_of(view):
            case mb.Laplace():
                for k in range(2):
                    size, power = np.abs(w[:, k]).sum(), 1 + len(w)
                    joint = quad(lambda r, s, p: r**p * np.exp(-r * (1 + s)), 0, np.inf, args=(size, power))
                    total += np.log(joint[0])
            case mb.Horseshoe():
                x = above.alpha * w**2 / 2
                total += (x + np.log(exp1(x))).sum()
            case _:
                total -= 0.5 * (above.precision * w**2).sum()
    return total


@pytest.mark.parametrize(
    "more",
    [
        {"prior": LAPLACE},
        {"prior": HORSESHOE},
        {"prior": HORSESHOE, "second": ARD, "factors": FREE},
        {"prior": LAPLACE, "second": HORSESHOE, "factors": FREE},
    ],
    ids=["laplace", "horseshoe", "horseshoe_ard", "laplace_horseshoe"],
)
def test_angles_have_the_density_of_the_prior_on_the_orbit(more):
    """Against the density on a grid: the angle between a chain's point and where it began, modulo pi."""
    problem, start = pose_case(**more)
    rng, point, angles = np.random.default_rng(0), start, []
    for _ in range(3000):
        point = rotate(problem, point, rng)
        (a, b), (c, d) = np.linalg.lstsq(start.factors, point.factors)[0]
        assert (a, b) == pytest.approx((d, -c))
        angles.append(np.arctan2(c, a) % np.pi)
    grid = (np.arange(2400) + 0.5) * np.pi / 2400
    density = np.array([log_prior_at(problem, start, angle) for angle in grid])
    density = np.exp(density - density.max()).reshape(24, -1).sum(axis=1)
    counts = np.histogram(angles[::2], bins=24, range=(0, np.pi))[0]
    expected = density / density.sum() * counts.sum()
    rare = expected < 5
    counts, expected = (np.append(own[~rare], own[rare].sum()) for own in (counts, expected))
    keep = expected > 0
    assert chisquare(counts[keep], expected[keep] * counts[keep].sum() / expected[keep].sum()).pvalue > 1e-4
    assert len(counts) > 4


def test_rotations_leave_eta_and_all_else_alone():
    """Also with more factors than pairs are made for in a sweep."""
    problem, before = pose_case(prior=HORSESHOE, second=LAPLACE, n_factors=7)
    after = rotate(problem, before, np.random.default_rng(0))
    assert np.abs(after.factors - before.factors).max() > 0.1
    np.testing.assert_allclose((after.factors**2).sum(axis=1), (before.factors**2).sum(axis=1))
    for own, other in zip(before.parts, after.parts, strict=True):
        np.testing.assert_allclose(before.factors @ own.terms[:, :7].T, after.factors @ other.terms[:, :7].T)
        np.testing.assert_array_equal(own.terms[:, 7:], other.terms[:, 7:])
        np.testing.assert_array_equal(own.tau, other.tau)
    assert after.above is before.above


@pytest.mark.parametrize(
    "more",
    [
        {"prior": ARD},
        {"prior": HORSESHOE, "second": mb.SpikeSlab(precision=GAMMA)},
        {"prior": HORSESHOE, "second": mb.Laplace(rate=GAMMA, positive=True)},
        {"prior": LAPLACE, "n_factors": 1},
    ],
    ids=["dense", "zeros", "signs", "one factor"],
)
def test_where_a_rotation_changes_the_priors_form_nothing_moves(more):
    problem, point = pose_case(**more)
    assert not may_rotate(problem, point.above)
    assert rotate(problem, point, np.random.default_rng(0)) is point


def test_density_of_the_horseshoe_is_that_of_its_definition():
    table = tabulate_log_g()
    x = np.exp(np.linspace(-70, 6.5, 2001))
    np.testing.assert_allclose([log_g(own, table) for own in x], x + np.log(exp1(x)), rtol=0, atol=5e-12)
    np.testing.assert_allclose(log_g(5e3, table), np.log(hyperu(1, 1, 5e3)), rtol=0, atol=5e-12)
    for w, alpha in ((0.3, 2.0), (4.0, 0.5)):
        mixture = quad(
            lambda a, w, alpha: (
                np.sqrt(alpha / (2 * np.pi)) / np.tan(a) * np.exp(-alpha * w**2 / (2 * np.tan(a) ** 2))
            ),
            0, np.pi / 2, args=(w, alpha),
        )  # fmt: skip
        ours = np.sqrt(alpha / (2 * np.pi**3)) * np.exp(log_g(alpha * w**2 / 2, table))
        assert ours == pytest.approx(mixture[0] * 2 / np.pi, rel=1e-6)


@pytest.mark.parametrize("c", [1e-12, 1e-3, 0.4, 1.0, 20.0])
def test_local_scales_have_their_conditional(c):
    """Probability transforms are uniform, by quadrature over log(1 + u)."""
    drawn = np.empty((2000, 1))
    draw_locals(np.full((2000, 1), 2 * c), np.ones(1), np.random.default_rng(1), drawn)
    grid = np.linspace(0, np.log(50 / c + 2), 20001)
    density = np.exp(-c * np.expm1(grid))
    mass = np.append(0, np.cumsum((density[1:] + density[:-1]) / 2))
    assert kstest(np.interp(np.log1p(drawn[:, 0]), grid, mass / mass[-1]), "uniform").pvalue > 1e-4


def test_global_scales_have_their_conditional():
    rng, table = np.random.default_rng(2), tabulate_log_g()
    w = np.array([0.1, 1.5, 0.02, 0.7])
    alpha, drawn = np.ones(1), []
    for _ in range(4000):
        draw_globals((w**2)[None], alpha, 2.0, 1.5, table, rng)
        drawn.append(np.log(alpha[0]))
    grid = np.linspace(-12, 4, 4001)
    x = np.exp(grid)[:, None] * w**2 / 2
    density = (2 + len(w) / 2) * grid - 1.5 * np.exp(grid) + (x + np.log(exp1(x))).sum(axis=1)
    mass = np.cumsum(np.exp(density - density.max()))
    assert kstest(np.interp(drawn[::4], grid, mass / mass[-1]), "uniform").pvalue > 1e-4


def test_a_loading_of_zero_has_scales():
    above = pose_case(prior=HORSESHOE)[1].above["a"].redraw(np.zeros((4, 2)), np.random.default_rng(0))
    assert np.isfinite(above.precision).all()
    assert (above.precision > 0).all()
