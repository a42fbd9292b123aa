"""Quadrature integrates what it says, and its points are where a normal's quantiles are."""

import warnings

import numpy as np
import pytest
from scipy.special import ndtri

from mofa_bayes.risk.accuracy import QuadratureWarning, measure_quadrature
from mofa_bayes.risk.quadrature import hermite_nodes, root_of, stratified_nodes


def test_hermite_nodes_reproduce_normal_moments():
    nodes, log_weights = hermite_nodes(20)
    moments = [float(np.exp(log_weights) @ nodes**power) for power in range(9)]
    np.testing.assert_allclose(moments, [1, 0, 1, 0, 3, 0, 15, 0, 105], atol=1e-9)


def test_one_node_is_the_mean():
    nodes, log_weights = hermite_nodes(1)
    assert nodes == pytest.approx([0.0])
    assert log_weights == pytest.approx([0.0])


@pytest.mark.parametrize("n_draws", [1, 50, 2000])
def test_stratified_nodes_have_one_point_in_each_stratum(n_draws):
    points = stratified_nodes(n_draws, 20)
    edges = ndtri(np.linspace(0, 1, 21))
    assert points.shape == (n_draws, 20)
    assert ((points > edges[:-1]) & (points < edges[1:])).all()


def test_stratified_nodes_pooled_over_draws_have_normal_quantiles():
    points = stratified_nodes(1000, 20)
    levels = [0.005, 0.025, 0.5, 0.975, 0.995]
    np.testing.assert_allclose(np.quantile(points, levels), ndtri(levels), atol=0.01)


def test_root_of_squares_to_the_covariance_even_when_singular():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(3, 4, 2))
    covariance = np.concatenate([factor @ factor.swapaxes(1, 2), np.zeros((1, 4, 4))])
    root = root_of(covariance)
    np.testing.assert_allclose(root.swapaxes(1, 2) @ root, covariance, atol=1e-12)


@pytest.mark.parametrize(("slope", "warns"), [(0.0, False), (0.001, False), (0.1, True)])
def test_an_error_that_moves_with_the_draw_warns_and_a_constant_one_does_not(slope, warns):
    draws, values = np.linspace(-2, 2, 20), np.zeros((20, 3))

    def score(n_nodes):
        return values + (np.array([1.0, 0.0, slope]) + slope * draws[:, None]) * (n_nodes == 20)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        error = measure_quadrature(score, 10)
    assert error.n_nodes == 10
    assert error.patient == pytest.approx(1.0 + 2 * slope)
    assert error.total == pytest.approx(3 * slope * draws.std())
    assert [warning.category for warning in caught] == [QuadratureWarning] * warns
