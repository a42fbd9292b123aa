"""Saved posteriors: they come back identical, are written whole or not at all, and hold no value of any view."""

import errno
import os
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.data.simulate import Cohort
from mofa_bayes.errors import FileError

SENTINEL = 1234567.891


@pytest.fixture
def saved(post: mb.Posterior, tmp_path: Path) -> Path:
    path = tmp_path / "fit.nc"
    post.save(path)
    return path


@pytest.fixture(scope="module")
def marked() -> tuple[mb.MultiView, mb.Posterior]:
    """A cohort with a value and a covariate that cannot be overlooked, and its fit."""
    rng = np.random.default_rng(0)
    ids = [f"p{n:04d}" for n in range(40)]
    table = pd.DataFrame(rng.standard_normal((40, 3)) @ rng.standard_normal((3, 8)), index=ids).add_prefix("lab")
    table += 0.3 * rng.standard_normal(table.shape)
    table.iloc[5, 2] = SENTINEL
    covariates = pd.DataFrame({"age": rng.normal(60, 9, 40)}, index=ids)
    covariates.iloc[7, 0] = SENTINEL + 1
    views = mb.MultiView.from_frames({"lab": table}, covariates=covariates, groups=pd.Series("ward-XYZ", index=ids))
    post = mb.fit(views, mb.FactorModel(n_factors=3), n_draws=50, progress=False)
    return views, post


def arrays(tree: xr.DataTree) -> dict[str, np.ndarray]:
    return {
        f"{node.path}/{name}": variable.values
        for node in tree.subtree
        for name, variable in node.to_dataset(inherit=False).variables.items()
    }


def test_load_returns_what_was_saved(post: mb.Posterior, saved: Path) -> None:
    back = mb.load(saved)
    assert back.tree.identical(post.tree)
    assert [node.path for node in back.tree.subtree] == [node.path for node in post.tree.subtree]
    for node in post.tree.subtree:
        assert dict(back.tree[node.path].attrs) == dict(node.attrs)
    for name, values in arrays(post.tree).items():
        if values.dtype.kind != "U":  # NetCDF holds texts of any length: numpy's width for them may differ
            assert arrays(back.tree)[name].dtype == values.dtype


def test_a_loaded_posterior_answers_as_the_saved_one(post: mb.Posterior, cohort: Cohort, saved: Path) -> None:
    back = mb.load(str(saved))
    assert back.spec == post.spec
    assert back.provenance == post.provenance
    assert back.subjects == post.subjects
    assert back.factor_names == post.factor_names
    new = cohort.views.sel(cohort.views.subjects[:6])
    np.testing.assert_array_equal(back.project(new).mean, post.project(new).mean)
    pd.testing.assert_frame_equal(mb.biomarkers(back, "rna"), mb.biomarkers(post, "rna"))


def test_saving_what_was_loaded_changes_nothing(saved: Path) -> None:
    first = mb.load(saved)
    first.save(saved)
    assert mb.load(saved).tree.identical(first.tree)


def test_a_loaded_posterior_needs_its_file_no_more(post: mb.Posterior, saved: Path) -> None:
    back = mb.load(saved)
    saved.unlink()
    np.testing.assert_array_equal(back.factors().values, post.factors().values)


def test_saving_replaces_what_was_there(saved: Path, marked: tuple) -> None:
    marked[1].save(saved)
    assert mb.load(saved).subjects == marked[1].subjects
    assert os.listdir(saved.parent) == ["fit.nc"]


def test_saving_obeys_the_umask(post: mb.Posterior, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        post.save(tmp_path / "fit.nc")
    finally:
        os.umask(before)
    assert (tmp_path / "fit.nc").stat().st_mode & 0o777 == 0o640


FAILURES = [OSError(errno.ENOSPC, "No space left on device"), ValueError("bad dtype"), KeyboardInterrupt()]


@pytest.mark.parametrize("failure", FAILURES, ids=["full disk", "defect", "interrupt"])
@pytest.mark.parametrize("exists", [True, False], ids=["over a file", "anew"])
def test_a_failing_write_leaves_everything_as_it_was(
    post: mb.Posterior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, exists: bool
) -> None:
    path = tmp_path / "fit.nc"
    if exists:
        post.save(path)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}

    def write_a_part(tree: xr.DataTree, target: object, **options: object) -> None:
        Path(str(target)).write_bytes(b"half of it")
        raise failure

    monkeypatch.setattr(xr.DataTree, "to_netcdf", write_a_part)
    with pytest.raises(FileError if isinstance(failure, OSError) else type(failure)):
        post.save(path)
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_no_value_of_a_view_is_in_the_file(marked: tuple[mb.MultiView, mb.Posterior], tmp_path: Path) -> None:
    views, post = marked
    path = tmp_path / "fit.nc"
    post.save(path)
    scaled = post.preprocessing.apply("lab", views["lab"].values)
    secret = np.concatenate([views["lab"].values.ravel(), scaled.ravel(), views.covariates.values.ravel()])
    assert SENTINEL in secret
    for name, values in arrays(xr.load_datatree(path)).items():
        if values.dtype.kind == "f":
            assert not np.isclose(values, SENTINEL, rtol=1e-5).any(), name
            # Draws are narrow floats: one in many may equal a secret by chance.
            assert np.isin(secret.astype(values.dtype), values).mean() < 0.02, name


def test_no_text_of_the_file_holds_a_value(marked: tuple[mb.MultiView, mb.Posterior], tmp_path: Path) -> None:
    path = tmp_path / "fit.nc"
    marked[1].save(path)
    tree = xr.load_datatree(path)
    texts = [str(node.attrs) + str([v.attrs for v in node.variables.values()]) for node in tree.subtree]
    texts += [" ".join(values.ravel()) for values in arrays(tree).values() if values.dtype.kind in "UO"]
    assert any("lab2" in text for text in texts)
    assert not any(secret in text for text in texts for secret in ("1234567", "1234568"))


def test_nothing_in_the_file_has_a_value_per_subject_and_feature(saved: Path) -> None:
    dims = {
        f"{node.path}/{name}": variable.dims
        for node in xr.load_datatree(saved).subtree
        for name, variable in node.data_vars.items()
    }
    assert dims["/posterior/factors"] == ("chain", "draw", "subject", "factor")
    both = [name for name, own in dims.items() if "subject" in own and any(d.startswith("feature_") for d in own)]
    assert both == []


def test_the_file_opens_with_xarray_alone(post: mb.Posterior, saved: Path) -> None:
    with xr.open_datatree(saved) as tree:
        assert set(tree.children) == set(post.tree.children)
        assert tree["posterior/factors"].dims == ("chain", "draw", "subject", "factor")
        np.testing.assert_array_equal(tree["posterior/loadings_rna"].values, post.loadings("rna").values)
        assert tree["posterior"]["feature_rna"].values.tolist() == list(post.features("rna"))


def test_arviz_summarises_the_file(post: mb.Posterior, saved: Path) -> None:
    table = az.summary(mb.load(saved).tree, var_names=["ard_rna", "factors"], kind="stats", round_to="none")
    assert len(table) == len(post.factor_names) * (1 + len(post.subjects))
    draws = post.tree["posterior"]["ard_rna"]
    np.testing.assert_allclose(
        table["mean"].to_numpy()[: len(post.factor_names)], draws.mean(("chain", "draw")).values, rtol=1e-6
    )
