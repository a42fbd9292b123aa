"""Laws of subgroups among uncertain factors."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from planted import plant_posterior
from scipy.stats import multivariate_normal

import mofa_bayes as mb
from mofa_bayes.errors import DataError
from mofa_bayes.explain.mixture import Evidence, Mixture, climb, expect, maximise, scatter_starts
from mofa_bayes.explain.subgroups import read_evidence


def measure(z, noise_sd, rng):
    """Posterior under z ~ N(0, I) of subjects whose z was measured with a noise of their own, (N,)."""
    variance = np.square(noise_sd) / (1 + np.square(noise_sd))
    measured = z + noise_sd[:, None] * rng.standard_normal(z.shape)
    mean = measured * (variance / np.square(noise_sd))[:, None]
    covariance = variance[:, None, None] * np.eye(z.shape[1])
    draws = mean + np.sqrt(variance)[:, None] * rng.standard_normal((2, *z.shape))
    post = plant_posterior(draws, {"rna": np.ones((2, 3, z.shape[1]))}, covariance=covariance)
    tree = post.tree.copy()
    moments = tree["moments"].to_dataset()
    tree["moments"] = xr.DataTree(moments.assign(factors_mean=(("subject", "factor"), mean)))
    return mb.Posterior(tree), measured


@pytest.fixture(scope="module")
def planted():
    """Three subgroups of 300 subjects on two factors; a third of subjects are measured badly."""
    rng = np.random.default_rng(0)
    centres = np.array([[-1.4, 0.6], [1.2, 1.0], [0.2, -1.6]])
    member = rng.choice(3, 300, p=[0.5, 0.3, 0.2])
    z = centres[member] + 0.35 * rng.standard_normal((300, 2))
    noise = np.where(rng.random(300) < 0.33, 1.0, 0.2)
    post, _ = measure(z, noise, rng)
    return post, member, centres, noise


@pytest.fixture(scope="module")
def found(planted):
    return mb.find_subgroups(planted[0], (1, 2, 3, 4), n_starts=4, seed=1)


def test_planted_subgroups_are_found(planted, found):
    _, member, centres, _ = planted
    assert found.n_subgroups == 3
    own = found.centres.loc[["S1", "S2", "S3"]]
    np.testing.assert_allclose(own[["F1", "F2"]], centres, atol=0.15)
    np.testing.assert_allclose(own["weight"], np.bincount(member) / 300, atol=0.05)
    np.testing.assert_allclose(np.diagonal(found.covariances, axis1=1, axis2=2), 0.35**2, atol=0.08)
    assert found.criterion["agreeing"].min() >= 1
    assert found.criterion["bic"].idxmin() == 3


def test_assignments_are_as_sure_as_they_are_right(planted, found):
    """Calibrated: among all subjects, and among the badly measured, the mean probability is the share that is right."""
    _, member, _, noise = planted
    table = found.assignments
    is_right = table["subgroup"].to_numpy() == np.array(["S1", "S2", "S3"])[member]
    for rows in (noise > 0.5, noise < 0.5):
        assert is_right[rows].mean() == pytest.approx(table["probability"][rows].mean(), abs=0.1)
    assert table["probability"][noise < 0.5].mean() > 0.97 > 0.93 > table["probability"][noise > 0.5].mean()
    np.testing.assert_allclose(table[["S1", "S2", "S3"]].sum(axis=1), 1)
    np.testing.assert_allclose(table[["S1", "S2", "S3"]].max(axis=1), table["probability"])


def test_one_cloud_is_one_subgroup():
    rng = np.random.default_rng(2)
    post, _ = measure(rng.standard_normal((150, 2)), np.full(150, 0.5), rng)
    found = mb.find_subgroups(post, (1, 2, 3), n_starts=3)
    assert found.n_subgroups == 1
    assert found.covariances[0] == pytest.approx(np.eye(2), abs=0.3)
    assert (found.assignments["probability"] == 1).all()


def test_spread_of_a_subgroup_does_not_hold_the_uncertainty_of_factors():
    """Deconvolution: a spread of .5 seen with a noise of 1.5 is found, where posterior means show .15."""
    rng = np.random.default_rng(3)
    post, _ = measure(0.5 * rng.standard_normal((2000, 1)), np.full(2000, 1.5), rng)
    found = mb.find_subgroups(post, 1)
    assert np.sqrt(found.covariances[0, 0, 0]) == pytest.approx(0.5, abs=0.15)
    assert post.factor_moments().mean.std() < 0.55


def test_subjects_without_data_get_the_weights_and_move_nothing(planted):
    post, _, _, _ = planted
    moments = post.factor_moments()
    evidence = read_evidence(moments, [0, 1], np.ones((300, 2)))
    vague = Evidence(
        np.vstack([evidence.linear, np.zeros((50, 2))]),
        np.concatenate([evidence.precision, np.zeros((1, 2, 2))]),
        np.append(evidence.pattern, np.full(50, len(evidence.precision))),
    )
    start = Mixture(np.array([0.6, 0.4]), np.array([[-1.0, 0.0], [1.0, 0.0]]), np.stack([np.eye(2)] * 2))
    expected = expect(start, vague)
    np.testing.assert_allclose(expected.share[300:], np.tile([0.6, 0.4], (50, 1)))
    options = {"shape": "full", "floor": 0.0, "max_iterations": 3000, "tolerance": 1e-13}
    one, other = (climb(start, own, **options)[0] for own in (evidence, vague))
    np.testing.assert_allclose(one.means, other.means, atol=1e-3)
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-3)


def test_evidence_is_that_of_the_marginal_normal_densities():
    """Oracle: N(x; u_c, S_c + V) of the measured values, which differs by a constant of each subject."""
    rng = np.random.default_rng(4)
    noise = np.array([0.3, 1.0, 2.0, 0.7])
    post, measured = measure(rng.standard_normal((4, 2)), noise, rng)
    evidence = read_evidence(post.factor_moments(), [0, 1], np.ones((4, 2)))
    gaps = []
    for _ in range(3):
        root = rng.standard_normal((2, 2, 2))
        mixture = Mixture(
            np.array([0.7, 0.3]), rng.standard_normal((2, 2)), root @ root.swapaxes(1, 2) + 0.1 * np.eye(2)
        )
        density = np.array(
            [
                [
                    multivariate_normal(mixture.means[c], mixture.covariances[c] + sd**2 * np.eye(2)).logpdf(x)
                    for c in range(2)
                ]
                for x, sd in zip(measured, noise, strict=True)
            ]
        )
        joint = density + np.log(mixture.weights)
        total = np.logaddexp(*joint.T)
        own = expect(mixture, evidence)
        np.testing.assert_allclose(own.share, np.exp(joint - total[:, None]), rtol=1e-6)
        gaps.append(own.log_evidence - total)
    np.testing.assert_allclose(gaps[1:], gaps[:-1], atol=1e-6)


def test_no_step_lowers_the_evidence():
    rng = np.random.default_rng(5)
    post, _ = measure(rng.standard_normal((60, 2)) + rng.choice([-1, 1], (60, 1)), rng.uniform(0.2, 2, 60), rng)
    evidence = read_evidence(post.factor_moments(), [0, 1], np.ones((60, 2)))
    for shape in ("full", "diagonal", "shared"):
        mixture = scatter_starts(post.factor_moments().mean, 3, rng)
        heights = []
        for _ in range(40):
            expected = expect(mixture, evidence)
            heights.append(expected.log_evidence.sum())
            mixture = maximise(expected, evidence.pattern, shape, 0.0)
        assert (np.diff(heights)[1:] > -1e-9).all()


@pytest.mark.parametrize(("shape", "kind"), [("full", "full"), ("diagonal", "diag"), ("shared", "tied")])
def test_without_uncertainty_it_is_the_mixture_of_scikit_learn(shape, kind):
    mixture = pytest.importorskip("sklearn.mixture")
    rng = np.random.default_rng(6)
    x = np.concatenate([rng.standard_normal((60, 2)) - [2, 0], rng.standard_normal((40, 2)) * [1, 0.4] + [2, 1]])
    evidence = Evidence(x * 1e7, 1e7 * np.eye(2)[None], np.zeros(100, dtype=np.intp))
    start = Mixture(np.array([0.5, 0.5]), np.array([[-1.0, 0.0], [1.0, 0.0]]), np.stack([np.eye(2)] * 2))
    ours, _, settled = climb(start, evidence, shape=shape, floor=1e-3, max_iterations=2000, tolerance=1e-11)
    theirs = mixture.GaussianMixture(
        2,
        covariance_type=kind,
        reg_covar=1e-3,
        tol=1e-10,
        max_iter=2000,
        means_init=start.means,
        weights_init=start.weights,
    ).fit(x)
    assert settled
    np.testing.assert_allclose(ours.weights, theirs.weights_, atol=1e-4)
    np.testing.assert_allclose(ours.means, theirs.means_, atol=1e-3)
    own = {"full": theirs.covariances_, "tied": np.stack([theirs.covariances_] * 2)}.get(kind)
    own = np.stack([np.diag(v) for v in theirs.covariances_]) if own is None else own
    np.testing.assert_allclose(ours.covariances, own, atol=2e-3)
    np.testing.assert_allclose(expect(ours, evidence).share, theirs.predict_proba(x), atol=2e-3)
    assert ours.n_parameters(shape) == theirs._n_parameters()


def test_new_patients_are_assigned_as_those_of_the_fit(planted, found):
    post, _, _, _ = planted
    moments = post.factor_moments().sel(post.subjects[40:50])
    pd.testing.assert_frame_equal(found.assign(moments), found.assignments.iloc[40:50])
    with pytest.raises(DataError, match="F2"):
        found.assign(replace(moments, factors=("F1", "X")))


def test_some_factors_and_the_same_seed(planted):
    post, _, _, _ = planted
    one, other = (mb.find_subgroups(post, 2, factors=["F2"], shape="shared", n_starts=2, seed=4) for _ in range(2))
    assert one.factors == ("F2",)
    pd.testing.assert_frame_equal(one.assignments, other.assignments)
    assert "2 of 300 subjects" in repr(one)
    assert "<table" in one._repr_html_()
    assert one.criterion.loc[2, "n_parameters"] == 1 + 2 + 1


def test_priors_that_groups_learned_are_divided_out():
    """Half the subjects have a prior of variance 4: what their posterior says beyond it is what was measured."""
    rng = np.random.default_rng(7)
    groups = np.array(["x", "y"] * 10)
    precision = np.where(groups == "x", 0.25, 1.0)
    variance = 1 / (precision + 1 / 0.09)
    measured = rng.standard_normal((20, 1))
    post = plant_posterior(
        np.zeros((2, 20, 1)), {"a": np.ones((2, 2, 1))}, covariance=variance[:, None, None], groups=groups
    )
    tree = post.tree.copy()
    own = (
        tree["moments"]
        .to_dataset()
        .assign(
            factor_precision=(("group", "factor"), np.array([[0.25], [1.0]])),
            factors_mean=(("subject", "factor"), measured * variance[:, None] / 0.09),
        )
    )
    tree["moments"] = xr.DataTree(own)
    found = mb.find_subgroups(mb.Posterior(tree), 1)
    spread = np.sqrt(max(measured.var() - 0.09, 0))
    assert found.centres.loc["S1", "F1"] == pytest.approx(measured.mean(), abs=1e-3)
    assert np.sqrt(found.covariances[0, 0, 0]) == pytest.approx(spread, abs=0.01)
    assert found.prior == pytest.approx(0.625)


def test_real_fits_have_subgroups(post):
    found = mb.find_subgroups(post, (1, 2), factors=["F1", "F2"], n_starts=2)
    assert found.n_subgroups == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_subgroups": 0}, "n_subgroups"),
        ({"n_subgroups": 200}, "n_subgroups"),
        ({"n_subgroups": "3"}, "n_subgroups"),
        ({"n_subgroups": []}, "n_subgroups"),
        ({"n_subgroups": (1, 2.5)}, "n_subgroups"),
        ({"shape": "round"}, "shape"),
        ({"n_starts": 0}, "n_starts"),
        ({"max_iterations": True}, "max_iterations"),
        ({"factors": ["F7"]}, "factors"),
    ],
)
def test_unusable_requests_are_refused(planted, options, said):
    with pytest.raises(DataError, match=said):
        mb.find_subgroups(planted[0], **options)
