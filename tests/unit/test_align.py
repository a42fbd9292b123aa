"""Laws of alignment: what differs by rotation, sign, order or scale becomes one, and the rest stays what it was."""

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import mofa_bayes as mb
from mofa_bayes.errors import ConvergenceWarning, DataError, FitError
from mofa_bayes.posterior.convergence import rhat_and_ess
from mofa_bayes.posterior.matching import congruence, covariance_of, permute_to, rotate_to, scale_to_unit

DIMS = ("chain", "draw")
WIDTHS = {"a": 12, "b": 5}


def random_turn(rng, size, *, sparse):
    if sparse:
        return np.eye(size)[rng.permutation(size)] * rng.choice([-1.0, 1.0], size)
    return np.linalg.qr(rng.standard_normal((size, size)))[0]


def make_draws(*, sparse, n_chains=4, n_draws=500, n_factors=3, seed=0, by_draw=True, scaled=True, noise=0.1):
    """Draws around one truth, each (or each chain) turned by a map of its own; and the same draws without the maps."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((20, n_factors))
    truth = {
        view: rng.standard_normal((width, n_factors)) * (rng.random((width, n_factors)) < 0.6)
        for view, width in WIDTHS.items()
    }
    shape = (n_chains, n_draws)
    plain = {"factors": z + noise * rng.standard_normal((*shape, *z.shape))}
    plain |= {f"loadings_{view}": w + noise * rng.standard_normal((*shape, *w.shape)) for view, w in truth.items()}
    turned = {name: np.empty_like(own) for name, own in plain.items()}
    for c, s in np.ndindex(shape):
        if s == 0 or by_draw:
            turn = random_turn(rng, n_factors, sparse=sparse)
        size = rng.uniform(0.5, 2.0, n_factors) if scaled else np.ones(n_factors)
        for name, own in plain.items():
            turned[name][c, s] = own[c, s] * (size if name == "factors" else 1 / size) @ turn
    return tuple(
        xr.Dataset(
            {
                name: ((*DIMS, "subject" if name == "factors" else f"feature_{name[9:]}", "factor"), own)
                for name, own in draws.items()
            },
            coords={"chain": np.arange(n_chains), "factor": [f"F{k + 1}" for k in range(n_factors)]},
        )
        for draws in (turned, plain)
    )


def products(draws):
    return np.einsum("csnk,csdk->csnd", draws["factors"].values, draws["loadings_a"].values)


@pytest.mark.parametrize("sparse", [False, True], ids=["rotation", "sign and order"])
@pytest.mark.parametrize("by_draw", [False, True], ids=["by chain", "by draw"])
def test_chains_that_differ_by_a_map_agree_afterwards(sparse, by_draw):
    draws, _ = make_draws(sparse=sparse, by_draw=by_draw)
    aligned, report = mb.align(draws, sparse=sparse)
    table = report.table.set_index(["quantity", "stage"])
    for view in WIDTHS:
        assert table.loc[(f"loadings_{view}", "after"), "rhat_99"] < 1.01
        assert table.loc[(f"loadings_{view}", "after"), "ess_bulk_min"] > 1000
    if not by_draw:
        assert table.loc[("loadings_a", "before"), "rhat_max"] > 1.5
    assert report.is_one_mode
    assert report.freedom == ("sign and order" if sparse else "rotation")
    assert aligned.attrs["aligned"] == 1


@pytest.mark.parametrize("sparse", [False, True])
def test_reconstructions_stay_what_they_were_and_factors_get_unit_variance(sparse):
    draws, _ = make_draws(sparse=sparse, n_draws=20)
    aligned, report = mb.align(draws, sparse=sparse)
    np.testing.assert_allclose(products(aligned), products(draws), atol=1e-10)
    np.testing.assert_allclose(aligned["factors"].std("subject"), 1.0)
    mapped = draws["loadings_b"].values @ report.maps.values
    np.testing.assert_allclose(aligned["loadings_b"].values, mapped, atol=1e-12)
    covariance = np.stack([covariance_of(own) for own in aligned["factors"].values])
    if not sparse:
        np.testing.assert_allclose(covariance, np.broadcast_to(np.eye(3), covariance.shape), atol=1e-10)


def test_a_map_of_each_draw_changes_nothing_in_the_result():
    """The aligned draws are the same as those of the draws before they were turned."""
    for sparse in (False, True):
        draws, plain = make_draws(sparse=sparse, n_draws=40, scaled=False)
        ours, theirs = mb.align(draws, sparse=sparse)[0], mb.align(plain, sparse=sparse)[0]
        np.testing.assert_allclose(ours["loadings_a"], theirs["loadings_a"], atol=1e-3)
        np.testing.assert_allclose(ours["factors"], theirs["factors"], atol=1e-3)


def test_factors_are_ordered_by_variance_and_their_largest_loading_is_positive():
    for sparse in (False, True):
        aligned, _ = mb.align(make_draws(sparse=sparse, n_draws=50)[0], sparse=sparse)
        means = [aligned[f"loadings_{view}"].mean(DIMS).values for view in WIDTHS]
        stacked = np.concatenate(means)
        assert (stacked[np.abs(stacked).argmax(axis=0), np.arange(3)] > 0).all()
        strength = np.sum([np.square(own).mean(axis=0) for own in means], axis=0)
        assert (np.diff(strength) <= 0).all()


def test_zeros_of_a_sparse_prior_stay_zeros_and_indicators_follow():
    draws, _ = make_draws(sparse=True, n_draws=30)
    rng = np.random.default_rng(3)
    active = draws["loadings_a"].copy(data=(rng.random(draws["loadings_a"].shape) < 0.5).astype(np.int8))
    draws = draws.assign(
        loadings_a=draws["loadings_a"] * active,
        active_a=active,
        slab_a=draws["loadings_a"],
        ard_a=1 / np.square(draws["loadings_a"]).mean("feature_a"),
        inclusion_a=active.mean("feature_a"),
        correlation=(("chain", "draw", "factor", "factor_bis"), np.zeros((4, 30, 3, 3))),
        something=(("chain", "draw", "factor"), np.zeros((4, 30, 3))),
        noise_sd_a=(("chain", "draw", "feature_a"), rng.gamma(9.0, 1.0, (4, 30, 12))),
    )
    aligned, report = mb.align(draws)
    assert report.freedom == "sign and order"
    np.testing.assert_array_equal(aligned["active_a"] == 0, aligned["loadings_a"] == 0)
    assert aligned["active_a"].dtype == np.int8
    np.testing.assert_allclose(aligned["inclusion_a"], aligned["active_a"].mean("feature_a"))
    size = np.abs(aligned["loadings_a"] / aligned["slab_a"]).where(aligned["active_a"] == 1).max("feature_a")
    np.testing.assert_allclose(
        aligned["ard_a"] * size**2, 1 / np.square(aligned["slab_a"]).mean("feature_a"), rtol=1e-6
    )
    assert (np.sign(aligned["slab_a"]) * np.sign(aligned["loadings_a"]) >= 0).all()
    assert not {"correlation", "something"} & set(aligned.data_vars)
    assert any("correlation" in note and "something" in note for note in report.notes)
    xr.testing.assert_identical(aligned["noise_sd_a"], draws["noise_sd_a"])
    assert ("noise_sd_a", "free") in report.table.set_index(["quantity", "stage"]).index


def test_indicators_of_factors_follow_and_forbid_a_rotation():
    draws, _ = make_draws(sparse=True, n_draws=30)
    present = (np.random.default_rng(0).random(draws["factors"].shape) < 0.7).astype(np.int8)
    active = draws["factors"].copy(data=present)
    aligned, report = mb.align(
        draws.assign(
            factors=draws["factors"] * active,
            factors_active=active,
            factors_slab=draws["factors"],
            factor_inclusion=active.mean("subject"),
        )
    )
    assert report.freedom == "sign and order"
    np.testing.assert_array_equal(aligned["factors_active"] == 0, aligned["factors"] == 0)
    np.testing.assert_allclose(aligned["factor_inclusion"], aligned["factors_active"].mean("subject"))
    assert (np.sign(aligned["factors_slab"]) * np.sign(aligned["factors"]) >= 0).all()


def test_a_rotation_recomputes_ard_and_drops_what_lost_its_meaning():
    draws, _ = make_draws(sparse=False, n_draws=20)
    per_factor = xr.DataArray(np.ones((4, 20, 3)), dims=(*DIMS, "factor"))
    precision = xr.concat([per_factor, 4 * per_factor], "group").transpose("chain", "draw", "group", "factor")
    mine = {"ard_a": per_factor, "inclusion_a": per_factor, "factor_precision": precision}
    aligned, report = mb.align(draws.assign(mine))
    turned = np.linalg.inv(report.maps.values)
    variance = np.diagonal(turned @ np.swapaxes(turned, 2, 3), axis1=2, axis2=3)
    np.testing.assert_allclose(aligned["factor_precision"].isel(group=1), 4 / variance)
    np.testing.assert_allclose(aligned["ard_a"], 12 / np.square(aligned["loadings_a"]).sum("feature_a"))
    assert "inclusion_a" not in aligned
    assert len(report.notes) == 3


def test_a_trace_from_elsewhere_is_aligned_under_its_own_names():
    draws, _ = make_draws(sparse=False, n_draws=60)
    foreign = xr.Dataset(
        {
            "z": (("chain", "draw", "z_dim_0", "z_dim_1"), draws["factors"].values.astype(np.float32)),
            "w": (("chain", "draw", "w_dim_0", "w_dim_1"), draws["loadings_a"].values),
            "sigma": (("chain", "draw"), np.random.default_rng(0).gamma(9.0, 1.0, (4, 60))),
        },
        coords={"chain": np.arange(4)},
    )
    tree = xr.DataTree.from_dict({"posterior": foreign})
    aligned, report = mb.align(tree, factors="z", loadings=["w"])
    assert aligned["w"].dims == foreign["w"].dims
    assert aligned["z"].dtype == np.float32
    rows = report.table.set_index(["quantity", "stage"])
    assert rows.loc[("w", "after"), "rhat_99"] < 1.1
    assert ("sigma", "free") in rows.index
    transposed = foreign.rename(z_dim_1="latent", w_dim_1="latent").transpose("chain", "draw", "latent", ...)
    again, _ = mb.align(transposed, factors="z", loadings="w")
    assert again["w"].dims == ("chain", "draw", "latent", "w_dim_0")
    np.testing.assert_allclose(again["w"].transpose(..., "latent").values, aligned["w"].values, atol=1e-5)


def test_loadings_alone_are_aligned_without_their_scale():
    draws, plain = make_draws(sparse=False, n_draws=40, scaled=False)
    aligned, report = mb.align(draws[["loadings_a", "loadings_b"]], factors=None)
    norm = np.square(aligned["loadings_a"]).sum(("feature_a", "factor"))
    np.testing.assert_allclose(norm, np.square(plain["loadings_a"]).sum(("feature_a", "factor")))
    assert any("no factors" in note for note in report.notes)


def test_loadings_that_cannot_be_negative_keep_their_sign():
    _, plain = make_draws(sparse=True, n_draws=40, scaled=False)
    rng = np.random.default_rng(5)
    positive = np.abs(plain[["loadings_a"]]).assign(loadings_b=-np.abs(plain["loadings_b"]), factors=plain["factors"])
    order = np.stack([rng.permutation(3) for _ in range(160)]).reshape(4, 40, 1, 3)
    mixed = positive.copy()
    for name in positive.data_vars:
        where = np.broadcast_to(order, positive[name].shape)
        mixed[name] = positive[name].copy(data=np.take_along_axis(positive[name].values, where, axis=3))
    aligned, report = mb.align(mixed)
    assert report.freedom == "order"
    assert (aligned["loadings_a"] >= 0).all()
    assert (aligned["loadings_b"] <= 0).all()
    assert report.table.set_index(["quantity", "stage"]).loc[("loadings_a", "after"), "rhat_99"] < 1.1


@pytest.mark.parametrize("sparse", [False, True])
def test_a_chain_in_another_mode_is_named_and_not_averaged(sparse):
    draws, _ = make_draws(sparse=sparse, by_draw=False, n_draws=100)
    other, _ = make_draws(sparse=sparse, by_draw=False, n_draws=100, seed=9)
    mixed = draws.copy(deep=True)
    for name in draws.data_vars:
        mixed[name][2] = other[name][2]
    with pytest.warns(ConvergenceWarning, match="chain 2 is in another mode"):
        aligned, report = mb.align(mixed, sparse=sparse)
    assert report.other_mode == (2,)
    assert "another mode" in repr(report)
    congruent = report.congruence.mean(("draw", "factor"))
    assert congruent.sel(chain=2) < 0.7
    assert (congruent.drop_sel(chain=2) > 0.9).all()
    alone, _ = mb.align(draws.isel(chain=[0, 1, 3]), sparse=sparse)
    np.testing.assert_allclose(
        aligned["loadings_a"].sel(chain=[0, 1, 3]), alone["loadings_a"].sel(chain=[0, 1, 3]), atol=1e-6
    )
    within = report.chains.set_index(["chain", "factor"]).loc[2, "within"]
    assert (within > 0.9).all()


def test_a_chain_that_changes_its_mode_is_named():
    draws, _ = make_draws(sparse=True, by_draw=False, n_draws=100)
    other, _ = make_draws(sparse=True, by_draw=False, n_draws=100, seed=9)
    mixed = draws.copy(deep=True)
    for name in draws.data_vars:
        mixed[name][1, 50:] = other[name][1, 50:]
    with pytest.warns(ConvergenceWarning, match="chain 1 wanders"):
        _, report = mb.align(mixed, sparse=True)
    assert report.wandering == (1,)


def test_a_factor_that_is_only_noise_is_no_other_mode():
    draws, _ = make_draws(sparse=False, n_draws=100, scaled=False)
    rng = np.random.default_rng(1)
    noisy = {
        name: xr.concat(
            [own, 0.05 * own.isel(factor=[0]).copy(data=rng.standard_normal((*own.shape[:3], 1)))], "factor"
        )
        for name, own in draws.drop_vars("factor").data_vars.items()
        if name != "factors"
    }
    _, report = mb.align(xr.Dataset(noisy), factors=None)
    assert report.is_one_mode


def test_report_is_a_table_and_a_dataset_that_a_file_can_hold(tmp_path):
    draws, _ = make_draws(sparse=False, n_draws=30)
    _, report = mb.align(draws)
    stored = report.to_dataset()
    stored.to_netcdf(tmp_path / "report.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "report.nc", engine="h5netcdf") as again:
        np.testing.assert_allclose(again["rhat_99"], report.table["rhat_99"])
        assert again["halves"].dims == ("chain", "factor")
    assert "\n" not in repr(report)
    assert "loadings_a" in report._repr_html_()


@given(st.integers(0, 1000), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_kernels_recover_the_map_they_were_given(seed, size):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((15, size))
    rotation, permutation = (random_turn(rng, size, sparse=sparse) for sparse in (False, True))
    np.testing.assert_allclose(rotate_to((a.T @ (a @ rotation))[None])[0], rotation, atol=1e-8)
    b = a @ permutation
    found = permute_to((a.T @ b)[None], np.square(a).sum(axis=0)[None], np.square(b).sum(axis=0), with_sign=True)
    np.testing.assert_array_equal(found[0], permutation)
    np.testing.assert_allclose(congruence([a @ found[0]], [b]), 1.0)


def test_scale_turns_with_the_rotation_and_spares_directions_without_variance():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((1, 30, 3)) * [1.0, 3.0, 0.0]
    turn = random_turn(rng, 3, sparse=False)
    own, turned = (scale_to_unit(covariance_of(each), "rotation")[0] for each in (z, z @ turn))
    np.testing.assert_allclose(turn.T @ own @ turn, turned, atol=1e-10)
    assert scale_to_unit(covariance_of(z), "order")[0, 2, 2] == 1.0


def test_convergence_skips_what_does_not_move_and_halves_a_single_chain():
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((1, 200, 3))
    draws[:, :, 1] = 2.0
    draws[0, :100, 2] += 3
    rhat, bulk, tail = rhat_and_ess(draws)
    assert len(rhat) == len(bulk) == len(tail) == 2
    assert rhat[0] < 1.05 < 1.5 < rhat[1]
    assert all(len(own) == 0 for own in rhat_and_ess(draws[:, :5]))


def test_a_tree_of_ours_says_by_its_model_whether_it_is_sparse():
    draws, _ = make_draws(sparse=True, n_draws=20)
    for prior, freedom in ((mb.Laplace(), "sign and order"), (mb.ARD(), "rotation")):
        tree = xr.DataTree.from_dict({"posterior": draws})
        tree.attrs = {"spec": mb.FactorModel(loadings=prior).to_toml(), "views": json.dumps(["a", "b"])}
        assert mb.align(tree)[1].freedom == freedom


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        (lambda d: d, {"loadings": ["w"]}, "no variable 'w'"),
        (lambda d: d[["factors"]], {}, "no variable named loadings_"),
        (lambda d: d.isel(chain=0), {}, "dims of 'factors'"),
        (lambda d: d.isel(draw=slice(3)), {}, "3 draws"),
        (lambda d: d.where(d > -0.5), {}, "not finite"),
        (lambda d: d.assign(loadings_a=d["loadings_a"].rename(factor="k").isel(k=[0, 1])), {}, "dim of factors"),
        (lambda d: {}, {}, "got dict"),
    ],
)
def test_what_cannot_be_aligned_is_refused_in_words(change, options, match):
    draws, _ = make_draws(sparse=False, n_draws=10)
    with pytest.raises(DataError, match=match):
        mb.align(change(draws), **options)


def test_iterations_are_counted_from_one():
    with pytest.raises(FitError, match="max_iterations"):
        mb.align(make_draws(sparse=False, n_draws=10)[0], max_iterations=0)


def test_explain_and_risk_refuse_draws_that_are_not_aligned(post):
    crooked = mb.Posterior(post.tree.copy())
    crooked.tree.attrs = post.tree.attrs | {"aligned": 0}
    for explain in (mb.variance_explained, mb.sharing, mb.biomarkers):
        with pytest.raises(FitError, match="not aligned"):
            explain(crooked)
    from mofa_bayes.risk.inputs import moments_of

    with pytest.raises(FitError, match="not aligned"):
        moments_of(crooked)
