"""Laws of the information that views hold about factors, and of profiles of features."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from planted import plant_posterior

import mofa_bayes as mb
from mofa_bayes.errors import DataError
from mofa_bayes.explain.profile import NOISE, feature_shares


@pytest.fixture(scope="module")
def known():
    """Loadings and noise of three views in 6 draws, no two alike; view c is lacking in half of 20 subjects."""
    rng = np.random.default_rng(0)
    sizes = {"a": 5, "b": 4, "c": 6}
    loadings = {view: 0.7 * rng.standard_normal((6, size, 3)) for view, size in sizes.items()}
    noise = {view: 0.5 + rng.random((6, size)) for view, size in sizes.items()}
    has = {"a": np.ones(20, bool), "b": np.ones(20, bool), "c": np.arange(20) % 2 == 0}
    factors = rng.standard_normal((6, 20, 3))
    return plant_posterior(factors, loadings, noise_sd=noise, has_view=has, chains=2), loadings, noise


def joint_covariance(loadings, noise, s):
    """Covariance of (z, x_a, x_b, x_c), and the place of each block."""
    w = np.concatenate([own[s] for own in loadings.values()])
    sd = np.concatenate([own[s] for own in noise.values()])
    whole = np.block([[np.eye(3), w.T], [w, w @ w.T + np.diag(sd**2)]])
    ends = np.cumsum([3, *(own.shape[1] for own in loadings.values())])
    return whole, {view: np.arange(ends[i], ends[i + 1]) for i, view in enumerate(loadings)}


def mutual(whole, left, right):
    """Mutual information of two blocks of a normal vector, by determinants."""

    def det(rows):
        return np.linalg.slogdet(whole[np.ix_(rows, rows)])[1] if len(rows) else 0.0

    return (det(left) + det(right) - det(np.concatenate([left, right]))) / 2


def test_information_is_that_of_the_joint_normal_distribution(known):
    """Oracle: determinants of the covariance of factors and features."""
    post, loadings, noise = known
    found = mb.information(post)
    for s in range(6):
        whole, place = joint_covariance(loadings, noise, s)
        own = found.isel(chain=s // 3, draw=s % 3)
        for k, factor in enumerate(post.factor_names):
            everything = np.concatenate(list(place.values()))
            total = mutual(whole, np.array([k]), everything)
            assert float(own["all"].sel(factor=factor)) == pytest.approx(total)
            for view in post.views:
                rest = np.concatenate([rows for name, rows in place.items() if name != view])
                pair = own.sel(view=view, factor=factor)
                assert float(pair["alone"]) == pytest.approx(mutual(whole, np.array([k]), place[view]))
                assert float(pair["unique"]) == pytest.approx(total - mutual(whole, np.array([k]), rest))
                assert float(pair["shared"]) == pytest.approx(float(pair["alone"] - pair["unique"]))


def test_a_view_that_is_absent_tells_nothing(known):
    post, _, _ = known
    each, complete, cohort = (mb.information(post, patterns=own) for own in ("each", "complete", "cohort"))
    assert each["n_subjects"].to_series().to_dict() == {"a+b+c": 10, "a+b": 10}
    xr.testing.assert_allclose(each.sel(pattern="a+b+c", drop=True).drop_vars("n_subjects"), complete)
    without = each.sel(pattern="a+b")
    assert (without[["alone", "unique", "shared"]].sel(view="c").to_array() == 0).all()
    np.testing.assert_allclose(cohort["all"], each["all"].mean("pattern"))
    assert (without["all"] < complete["all"]).all()


def test_information_about_a_factor_is_that_of_its_direction(known):
    post, _, _ = known
    about = mb.information_about(post, pd.Series({"F2": 1.0, "F1": 0.0, "F3": 0.0}))
    found = mb.information(post).sel(factor="F2", drop=True)
    np.testing.assert_allclose(about["information"].sel(subset="a+b+c"), found["all"])
    np.testing.assert_allclose(about["information"].sel(subset="b"), found["alone"].sel(view="b"))
    np.testing.assert_allclose(about["explained"], 1 - about["variance"])
    assert (about["information"].sel(subset="none") == 0).all()
    assert about["subset"].values.tolist() == ["none", "a", "b", "c", "a+b", "a+c", "b+c", "a+b+c"]


def test_information_does_not_depend_on_the_scale_of_a_direction_and_grows_with_views(known):
    post, _, _ = known
    one, other = (mb.information_about(post, b) for b in ([1.0, -2.0, 0.5], [-10.0, 20.0, -5.0]))
    np.testing.assert_allclose(one["information"], other["information"])
    np.testing.assert_allclose(100 * one["variance"], other["variance"])
    for more, fewer in (("a+b", "a"), ("a+b+c", "a+b"), ("a+c", "c")):
        assert (one["information"].sel(subset=more) > one["information"].sel(subset=fewer)).all()


def test_parts_of_information_add_up(known):
    post, loadings, noise = known
    b = np.array([0.4, 1.0, -0.3])
    parts = mb.partial_information(post, b)
    sums = parts["unique"] + parts["redundant"] + parts["synergistic"] + parts["rest"]
    np.testing.assert_allclose(sums, parts["all"].broadcast_like(sums))
    assert (parts.to_array() >= -1e-12).all()
    whole, place = joint_covariance(loadings, noise, 4)
    turn = np.block([[np.vstack([b, [1, 0, 0], [0, 0, 1]]), np.zeros((3, 15))], [np.zeros((15, 3)), np.eye(15)]])
    turned = turn @ whole @ turn.T
    alone = mutual(turned, np.array([0]), place["a"])
    rest = mutual(turned, np.array([0]), np.concatenate([place["b"], place["c"]]))
    own = parts.isel(chain=1, draw=1).sel(view="a")
    assert float(own["redundant"]) == pytest.approx(min(alone, rest))
    assert float(own["unique"] + own["redundant"]) == pytest.approx(alone)
    assert float(own["rest"] + own["redundant"]) == pytest.approx(rest)


def test_copies_are_redundant_and_a_view_of_the_noise_is_synergistic():
    """A second view with the same loadings adds no unique part; one that shows only the nuisance factor is synergy."""
    rng = np.random.default_rng(1)
    factors = rng.standard_normal((1, 5, 2))
    w = np.ones((1, 30, 2))
    copies = mb.partial_information(plant_posterior(factors, {"a": w, "b": w}), [1.0, 0.0])
    assert float(copies["unique"].max()) == pytest.approx(0, abs=1e-12)
    nuisance = plant_posterior(factors, {"a": w, "b": w * [0.0, 1.0]})
    parts = mb.partial_information(nuisance, [1.0, 0.0]).squeeze().sel(view="b")
    assert float(parts["unique"]) == float(parts["redundant"]) == 0
    assert float(parts["synergistic"]) > 0.5
    shared = mb.information(nuisance).squeeze().sel(view="b", factor="F1")["shared"]
    assert float(shared) == pytest.approx(-float(parts["synergistic"]))


def test_draws_of_a_direction_are_paired_with_draws_of_the_posterior(known):
    post, _, _ = known
    rng = np.random.default_rng(2)
    b = xr.DataArray(rng.standard_normal((2, 3, 3)), dims=("chain", "draw", "factor"))
    found = mb.information_about(post, b)
    for c, d in np.ndindex(2, 3):
        one = mb.information_about(post, b.isel(chain=c, draw=d)).isel(chain=c, draw=d)
        np.testing.assert_allclose(found.isel(chain=c, draw=d)["variance"], one["variance"])
    many = xr.DataArray(rng.standard_normal((4, 25, 3)), dims=("chain", "draw", "factor"))
    many = many.assign_coords(factor=["F3", "F1", "F2"])
    wide = mb.information_about(post, many)
    assert dict(wide.sizes) == {"chain": 4, "draw": 25, "subset": 8}
    prior = np.square(many).sum("factor")
    np.testing.assert_allclose(wide["variance"].sel(subset="none"), prior)
    last = mb.information_about(post, many.isel(chain=3, draw=24).sel(factor=["F1", "F2", "F3"]).values)
    np.testing.assert_allclose(
        wide["variance"].isel(chain=3, draw=24), last["variance"].isel(chain=1, draw=2), rtol=1e-12
    )


def test_many_views_are_taken_alone_and_left_out():
    rng = np.random.default_rng(3)
    post = plant_posterior(rng.standard_normal((2, 4, 1)), {f"v{i}": rng.standard_normal((2, 3, 1)) for i in range(7)})
    assert mb.information_about(post, [1.0]).sizes["subset"] == 1 + 7 + 7 + 1


def test_groups_have_the_prior_that_the_fit_learned():
    """Half the subjects have factors of variance 4, half of variance 1: the prior's variance is 2.5."""
    rng = np.random.default_rng(4)
    post = plant_posterior(rng.standard_normal((3, 8, 1)), {"a": np.ones((3, 2, 1))}, groups=np.array(["x", "y"] * 4))
    precision = xr.DataArray(
        np.broadcast_to(np.array([[0.25], [1.0]]), (1, 3, 2, 1)), dims=("chain", "draw", "group", "factor")
    ).assign_coords(group=["x", "y"])
    tree = post.tree.copy()
    tree["posterior"] = xr.DataTree(post.tree["posterior"].to_dataset().assign(factor_precision=precision))
    found = mb.information(mb.Posterior(tree))
    np.testing.assert_allclose(found["all"], np.log(2.5 * (1 / 2.5 + 2)) / 2)


@pytest.mark.parametrize(
    "direction",
    [
        [1.0, 2.0],
        [0.0, 0.0, 0.0],
        [np.nan, 1.0, 1.0],
        "F1",
        {"F1": 1.0},
        pd.Series({"F1": 1.0}),
        np.ones((2, 3)),
        xr.DataArray(np.ones((2, 3)), dims=("draw", "factor")),
        xr.DataArray(np.ones((2, 2, 2)), dims=("chain", "draw", "factor")),
        xr.DataArray(np.ones(3), dims="response"),
    ],
)
def test_unusable_directions_are_refused(known, direction):
    for ask in (mb.information_about, mb.partial_information):
        with pytest.raises(DataError, match="direction"):
            ask(known[0], direction)


def test_unknown_patterns_are_refused(known):
    with pytest.raises(DataError, match="patterns"):
        mb.information(known[0], patterns="all")


def test_information_of_a_real_fit_agrees_with_the_factors_that_it_has(post):
    """With a complete patient, the variance that is left of a factor is near that of the fit's own moments."""
    left = np.exp(-2 * mb.information(post)["all"].mean(("chain", "draw")))
    moments = post.factor_moments()
    complete = np.stack([post.has_view(view).values for view in post.views]).all(axis=0)
    own = np.diagonal(moments.covariances()[complete], axis1=1, axis2=2).mean(axis=0)
    np.testing.assert_allclose(left, own, rtol=0.2)


def test_shares_of_a_feature_add_up_and_average_to_those_of_its_view(post):
    shares = mb.variance_explained(post)["by_factor"]
    for view in ("meth", "ehr"):
        parts = [feature_shares(post, view, own) for own in post.features(view)]
        for one in parts:
            np.testing.assert_allclose(one.sum("factor"), 1)
        # A view's share is the mean of its features', each weighted by its variance: that is 1 / noise share x noise.
        noise = [post.latent_variance(view)[0][d] for d in range(len(parts))]
        kinds = post.latent_variance(view)[1]
        sd = post.noise_sd(view)
        names = [str(own) for own in sd[next(d for d in sd.dims if "feature" in d)].values]
        total = 0
        whole = 0
        for d, (one, name) in enumerate(zip(parts, post.features(view), strict=True)):
            own = noise[d] * (sd.isel({sd.dims[-1]: names.index(name)}) ** 2 if kinds[d] else 1)
            variance = own / one.sel(factor=NOISE, drop=True)
            total = total + variance * one.drop_sel(factor=NOISE)
            whole = whole + variance
        np.testing.assert_allclose(
            (total / whole).transpose("chain", "draw", "factor"), shares.sel(view=view), rtol=1e-4, atol=1e-6
        )


def test_a_profile_is_the_row_of_biomarkers(post):
    feature = post.features("rna")[7]
    profile = mb.feature_profile(post, "rna", feature, level=0.8).set_index("factor")
    assert list(profile.index) == [*post.factor_names, NOISE]
    table = mb.biomarkers(post, "rna", level=0.8)
    table = table[table["feature"] == feature].set_index("factor").loc[list(post.factor_names)]
    columns = ["mean", "sd", "lower", "upper", "sign_probability"]
    np.testing.assert_allclose(profile[columns].iloc[:-1].astype(float), table[columns].astype(float), rtol=1e-6)
    shares = feature_shares(post, "rna", feature)
    np.testing.assert_allclose(profile["variance"], shares.mean(("chain", "draw")))
    np.testing.assert_allclose(profile["variance_upper"], shares.quantile(0.9, ("chain", "draw")))
    assert profile.loc[NOISE, ["mean", "inclusion"]].isna().all()
    assert profile["inclusion"].iloc[:-1].between(0, 1).all()


def test_profiles_of_dense_loadings_have_no_inclusion(known):
    post, loadings, _ = known
    profile = mb.feature_profile(post, "b", "b_2")
    assert profile["inclusion"].isna().all()
    np.testing.assert_allclose(profile["mean"].iloc[:3], loadings["b"][:, 2].mean(axis=0))


def test_unknown_features_are_refused(known):
    with pytest.raises(DataError, match="feature of view 'a'"):
        mb.feature_profile(known[0], "a", "b_2")
