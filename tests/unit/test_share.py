"""Posteriors that leave the hospital: nothing of a patient is in their bytes, and they project as before."""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mofa_bayes as mb
from mofa_bayes.errors import FileError, FitError
from mofa_bayes.posterior.files import SCHEMA_VERSION

ARCHIVE = Path(__file__).parents[1] / "golden" / "archive"
SENTINEL_ID, SENTINEL, SENTINEL_AGE = "Jane-Q-Public-1957", 3.1234567, 61.7654321


@pytest.fixture(scope="module")
def marked() -> tuple[mb.MultiView, mb.Posterior]:
    """A cohort with an identifier, a group's member and values that cannot be overlooked, and its fit."""
    rng = np.random.default_rng(0)
    ids = [SENTINEL_ID, *(f"p{n:04d}" for n in range(1, 40))]
    table = pd.DataFrame(rng.standard_normal((40, 3)) @ rng.standard_normal((3, 8)), index=ids).add_prefix("lab")
    table += 0.3 * rng.standard_normal(table.shape)
    table.iloc[5, 2] = SENTINEL
    table.iloc[3, 4] = np.nan
    other = pd.DataFrame(rng.standard_normal((30, 5)), index=ids[:30]).add_prefix("rna")
    covariates = pd.DataFrame({"age": rng.normal(60, 9, 40)}, index=ids)
    covariates.iloc[7, 0] = SENTINEL_AGE
    views = mb.MultiView.from_frames({"lab": table, "rna": other}, covariates=covariates)
    post = mb.fit(views, mb.FactorModel(n_factors=3), n_draws=20, progress=False)
    return views, mb.cross_fit(post, views, n_folds=5, progress=False)


@pytest.fixture
def shared(marked, tmp_path) -> Path:
    marked[1].save(tmp_path / "shared.nc", shareable=True)
    return tmp_path / "shared.nc"


def test_no_identifier_and_no_value_of_a_patient_is_in_the_bytes(marked, shared, tmp_path):
    views, post = marked
    post.save(tmp_path / "whole.nc")
    assert SENTINEL_ID.encode() in (tmp_path / "whole.nc").read_bytes()  # the probe finds what is there
    everything = [shared.read_bytes()]
    with h5py.File(shared) as file:
        file.visititems(
            lambda _, item: everything.append(item[()].tobytes()) if isinstance(item, h5py.Dataset) else None
        )
    content = b"".join(everything)
    for subject in views.subjects:
        assert subject.encode() not in content
    secrets = [SENTINEL, SENTINEL_AGE, *post.factor_moments().mean.ravel()]
    for secret in secrets:
        assert np.float64(secret).tobytes() not in content
        assert np.float32(secret).tobytes() not in content


def test_nothing_has_a_value_for_each_patient(marked, shared):
    n_subjects = marked[0].n_subjects
    for node in xr.load_datatree(shared).subtree:
        assert not {"subject", "pattern"} & set(node.dims)
        assert n_subjects not in node.sizes.values()


def test_new_patients_are_projected_and_imputed_as_before(marked, shared):
    _, post = marked
    rng = np.random.default_rng(4)
    table = pd.DataFrame(rng.standard_normal((6, 8)), index=[f"n{n}" for n in range(6)]).add_prefix("lab")
    table.iloc[1, 1] = np.nan
    covariates = pd.DataFrame({"age": np.arange(50.0, 56.0)}, index=table.index)
    new = mb.MultiView.from_frames({"lab": table}, covariates=covariates, uninformative="keep")
    back = mb.load(shared)
    ours, theirs = back.project(new), post.project(new)
    np.testing.assert_array_equal(ours.mean, theirs.mean)
    np.testing.assert_array_equal(ours.covariances(), theirs.covariances())
    xr.testing.assert_identical(back.impute(new), post.impute(new))
    pd.testing.assert_frame_equal(mb.biomarkers(back, "lab"), mb.biomarkers(post, "lab"))


def test_it_says_how_many_patients_there_were_and_that_they_are_not_there(marked, shared):
    back = mb.load(shared)
    assert back.is_shareable
    assert back.subjects == ()
    assert "40 subjects" in repr(back)
    assert back.summary()["n_subjects"].to_dict() == {"lab": 40, "rna": 30}
    assert back.fingerprint == marked[1].fingerprint
    for ask in (back.factors, back.factor_moments, back.groups, lambda: back.has_view("lab")):
        with pytest.raises(FitError, match="saved to be shared"):
            ask()
    with pytest.raises(FitError, match="saved to be shared"):
        mb.variance_explained(back)


def test_sharing_what_is_shared_changes_nothing(shared):
    back = mb.load(shared)
    back.save(shared, shareable=True)
    assert mb.load(shared).tree.identical(back.tree)


def test_a_feature_of_few_patients_is_not_shared(marked, tmp_path):
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rng.standard_normal((30, 4)), index=[f"p{n}" for n in range(30)]).add_prefix("x")
    table.iloc[4:, 3] = np.nan
    post = mb.fit(mb.MultiView.from_frames({"v": table}), mb.FactorModel(n_factors=1), n_draws=5, progress=False)
    with pytest.raises(FitError, match="1 features that fewer than 5 patients have"):
        post.save(tmp_path / "fit.nc", shareable=True)
    assert list(tmp_path.iterdir()) == []


def test_a_level_of_few_patients_is_not_shared(tmp_path):
    rng = np.random.default_rng(2)
    table = pd.DataFrame(
        {"a": rng.standard_normal(30), "b": rng.standard_normal(30)}, index=[f"p{n}" for n in range(30)]
    )
    table["job"] = ["clerk"] * 27 + ["president"] * 3
    views = mb.MultiView.from_frames({"v": table}, likelihoods={"v": {"job": "categorical"}})
    post = mb.fit(views, mb.FactorModel(n_factors=1), n_draws=5, progress=False)
    with pytest.raises(FitError, match="president"):
        post.save(tmp_path / "fit.nc", shareable=True)


@pytest.fixture(scope="module")
def content(marked, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("content") / "fit.nc"
    marked[1].save(path, shareable=True)
    return path.read_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_done_to_a_file_is_noticed(content, tmp_path, data):
    """Bytes changed, cut off, put in or appended: our error, and no other."""
    start = data.draw(st.integers(0, len(content) - 1))
    n_gone = data.draw(st.integers(0, 64) | st.just(len(content)))
    put_in = data.draw(st.binary(max_size=64))
    altered = content[:start] + put_in + content[start + n_gone :]
    if altered == content:
        return
    path = tmp_path / "altered.nc"
    path.write_bytes(altered)
    with pytest.raises(FileError):
        mb.load(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=512), with_signature=st.booleans())
def test_foreign_bytes_are_refused(tmp_path, noise, with_signature):
    path = tmp_path / "foreign.nc"
    path.write_bytes((b"\x89HDF\r\n\x1a\n" if with_signature else b"") + noise)
    with pytest.raises(FileError):
        mb.load(path)


def test_a_file_that_declares_more_than_it_holds_is_refused_before_memory_is_filled(marked, tmp_path):
    tree = marked[1].tree.copy()
    path = tmp_path / "bomb.nc"
    tree.to_netcdf(path, engine="h5netcdf")
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 1
        huge = file["posterior"].create_dataset("huge", shape=(2**40,), dtype="f8", chunks=(2**20,))
        huge.dims[0].label = "huge"
    with pytest.raises(FileError):
        mb.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"views": "[1, 2]"}, {"views": "no json"}, {"views": '["unknown"]'}, {"spec": "not = [toml"},
        {"schema_version": "two"}, {"schema_version": 99},
    ],
    ids=str,
)  # fmt: skip
def test_a_file_that_does_not_describe_itself_is_refused(marked, tmp_path, change):
    tree = marked[1].tree.copy()
    tree.attrs = {**tree.attrs, "schema_version": 1, **change}
    tree.to_netcdf(tmp_path / "odd.nc", engine="h5netcdf")
    with pytest.raises(FileError):
        mb.load(tmp_path / "odd.nc")


@pytest.mark.parametrize("path", sorted(ARCHIVE.glob("*.nc")), ids=lambda path: path.stem)
def test_files_of_every_version_are_read_and_say_what_they_said(path):
    import golden.archive as archive

    post = mb.load(path)
    found, said = post.project(archive.make_views(2, 2)), json.loads(path.with_suffix(".json").read_text())
    np.testing.assert_allclose(found.mean, said["mean"], atol=1e-8)
    np.testing.assert_allclose(found.covariances(), said["covariance"], atol=1e-8)


def test_the_archive_holds_a_file_of_this_version():
    assert list(ARCHIVE.glob(f"v{SCHEMA_VERSION}_*.nc"))
