"""MuData and AnnData: results are where their names say, whatever the order of views, features and subjects."""

import sys

import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb
from mofa_bayes.errors import DataError, IgnoredWarning, MissingExtraError

mudata = pytest.importorskip("mudata")
anndata = pytest.importorskip("anndata")


@pytest.fixture
def shuffled(cohort):
    """The cohort as a MuData whose modalities, variables and observations come in other orders than in the fit."""
    rng = np.random.default_rng(2)
    mods = {}
    for view in ("ehr", "rna", "meth"):  # the fit has rna, meth, ehr
        rows, columns = rng.permutation(70), rng.permutation(len(cohort.views.features(view)))
        own = cohort.views[view][rows, columns]
        mods[view] = anndata.AnnData(
            own.values.copy(),
            obs=pd.DataFrame(index=own["subject"].values.astype(object)),
            var=pd.DataFrame(index=own[f"feature_{view}"].values.astype(object)),
        )
    return mudata.MuData(mods)


def means(post, view):
    own = post.tree["moments"][f"weights_mean_{view}"].values[:, : len(post.factor_names)]
    return pd.DataFrame(own, list(post.features(view)))


def test_results_are_right_whatever_the_order_of_views(post, shuffled):
    out = mb.to_mudata(post, shuffled)
    assert out is shuffled
    stored = pd.DataFrame(out.varm["LFs"], list(out.var_names))
    assert list(out.mod) == ["ehr", "rna", "meth"]
    for view in post.views:
        expected = means(post, view)
        pd.testing.assert_frame_equal(stored.loc[expected.index], expected)
        own = pd.DataFrame(out.mod[view].varm["LFs"], list(out.mod[view].var_names))
        pd.testing.assert_frame_equal(own.loc[expected.index], expected)
    moments = post.factor_moments().sel(list(out.obs_names))
    np.testing.assert_allclose(out.obsm["X_mofa"], moments.mean)
    sd = np.sqrt(np.diagonal(moments.covariances(), axis1=1, axis2=2))
    np.testing.assert_allclose(out.obsm["X_mofa_sd"], sd)
    assert (out.varm["LFs_sd"] >= 0).all()
    shares = mb.variance_explained(post).mean(("chain", "draw"))
    for view in post.views:
        np.testing.assert_allclose(out.uns["mofa"]["variance_explained"][view], shares["by_factor"].sel(view=view))


def test_a_mudata_survives_its_file(post, cohort, tmp_path):
    out = mb.to_mudata(post, cohort.views)
    out.write(tmp_path / "cohort.h5mu")
    back = mudata.read_h5mu(tmp_path / "cohort.h5mu")
    for key in ("X_mofa", "X_mofa_sd"):
        np.testing.assert_array_equal(back.obsm[key], out.obsm[key])
    np.testing.assert_array_equal(back.varm["LFs"], out.varm["LFs"])
    np.testing.assert_array_equal(back.mod["meth"].varm["LFs_sd"], out.mod["meth"].varm["LFs_sd"])
    assert list(back.uns["mofa"]["factors"]) == list(post.factor_names)
    assert list(back.uns["mofa"]["views"]) == list(post.views)
    assert back.uns["mofa"]["params"]["fingerprint"] == post.fingerprint
    assert mb.FactorModel.from_toml(back.uns["mofa"]["params"]["spec"]) == post.spec


def test_views_become_modalities_of_those_who_have_them(post, cohort):
    out = mb.to_mudata(post, cohort.views)
    has = cohort.views.has_view("meth").to_series()
    assert list(out.mod["meth"].obs_names) == list(has.index[has])
    np.testing.assert_array_equal(out.mod["meth"].X, cohort.views["meth"].sel(subject=has.index[has]).values)
    assert set(out.mod["ehr"].var["likelihood"]) == {"gaussian", "bernoulli"}


def test_what_the_posterior_does_not_know_is_nan(post, shuffled):
    extra = anndata.AnnData(np.zeros((3, 2)), obs=pd.DataFrame(index=["p0001", "new1", "new2"]))
    out = mb.to_mudata(post, mudata.MuData({"imaging": extra, **shuffled.mod}))
    unknown = ~out.obs_names.isin(post.subjects)
    assert unknown.sum() == 2
    assert np.isnan(out.obsm["X_mofa"][unknown]).all()
    assert np.isfinite(out.obsm["X_mofa"][~unknown]).all()
    assert np.isnan(out.varm["LFs"][:2]).all()
    assert np.isfinite(out.varm["LFs"][2:]).all()


def test_features_that_the_target_lacks_are_told(post, shuffled):
    part = shuffled.mod["rna"][:, :20].copy()
    with pytest.warns(IgnoredWarning, match="40 features"):
        out = mb.to_anndata(post, part, view="rna")
    expected = means(post, "rna").loc[list(out.var_names)]
    np.testing.assert_allclose(out.varm["LFs"], expected)
    assert "X_mofa" in out.obsm


def test_one_view_is_written_to_an_anndata(post, cohort, tmp_path):
    out = mb.to_anndata(post, cohort.views, view="meth")
    out.write_h5ad(tmp_path / "meth.h5ad")
    back = anndata.read_h5ad(tmp_path / "meth.h5ad")
    np.testing.assert_allclose(back.varm["LFs"], means(post, "meth"))
    assert back.n_obs == int(cohort.views.has_view("meth").sum())


def test_means_alone_are_written_with_no_standard_deviation(post, cohort, tmp_path):
    mb.export_mofa(post, tmp_path / "model.hdf5", cohort.views.sel(post.subjects))
    means_alone = mb.read_mofa(tmp_path / "model.hdf5")
    out = mb.to_anndata(means_alone, cohort.views, view="meth")
    np.testing.assert_allclose(out.varm["LFs"], means(post, "meth"))
    assert np.isnan(out.varm["LFs_sd"]).all()
    assert np.isnan(out.obsm["X_mofa_sd"]).all()
    assert np.isfinite(out.obsm["X_mofa"]).all()


def test_targets_that_do_not_fit_are_refused(post, shuffled, cohort):
    del shuffled.mod["meth"]
    with pytest.raises(DataError, match="no modality 'meth'"):
        mb.to_mudata(post, shuffled)
    with pytest.raises(DataError, match="got dict"):
        mb.to_mudata(post, {"rna": 1})
    with pytest.raises(DataError, match="view: got None"):
        mb.to_anndata(post, cohort.views)
    with pytest.raises(DataError, match="got DataFrame"):
        mb.to_anndata(post, pd.DataFrame(), view="rna")
    stranger = anndata.AnnData(np.zeros((2, 2)), var=pd.DataFrame(index=["x", "y"]))
    with pytest.raises(DataError, match="features of view 'rna'"):
        mb.to_anndata(post, stranger, view="rna")


def test_without_mudata_the_extra_is_named(post, cohort, monkeypatch):
    monkeypatch.setitem(sys.modules, "mudata", None)
    with pytest.raises(MissingExtraError, match=r"mofa-bayes\[mudata\]"):
        mb.to_mudata(post, cohort.views)
