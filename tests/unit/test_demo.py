"""The demo on the real cohort, through the command line as a user has it."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.errors import MissingExtraError

FILES = ("posterior.nc", "scores.parquet", "biomarkers.csv", "variance_explained.png", "loadings.png", "risk.png")


def run_cli(*arguments):
    command = [str(Path(sys.executable).parent / "mofa-bayes"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    pytest.importorskip("sksurv", reason="the demo's cohort ships inside scikit-survival, an extra")
    folder = tmp_path_factory.mktemp("demo")
    start = time.perf_counter()
    done = run_cli("demo", "--out", str(folder / "out"))
    return folder / "out", done, time.perf_counter() - start


def test_demo_ends_well_within_two_minutes(demo):
    _, done, seconds = demo
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert seconds < 120


def test_demo_writes_its_six_files_and_no_other(demo):
    folder, done, _ = demo
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    for name in FILES:
        assert name in done.stdout
        if name.endswith(".png"):
            assert (folder / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_posterior_opens_in_xarray_and_feeds_arviz(demo):
    import arviz as az

    folder, _, _ = demo
    with xr.open_datatree(folder / "posterior.nc") as tree:
        table = az.summary(tree, var_names=["ard_rna"])
    assert np.isfinite(table["mean"].astype(float)).all()
    post = mb.load(folder / "posterior.nc")
    assert post.views == ("rna", "ehr")
    assert dict(post.likelihoods("ehr").to_series()) == {
        "age": "gaussian",
        "tumour_size": "gaussian",
        "er_positive": "bernoulli",
        "grade_poor": "bernoulli",
        "grade_well": "bernoulli",
    }


def test_scores_have_three_horizons_per_patient_and_shares_that_sum_to_one(demo):
    folder, _, _ = demo
    frame = pd.read_parquet(folder / "scores.parquet")
    assert len(frame) == 198 * 3
    assert sorted(frame["time"].unique()) == [3, 5, 10]
    assert ((frame["lower"] < frame["risk"]) & (frame["risk"] < frame["upper"])).all()
    shares = frame[["share_factors", "share_parameters", "share_outcome"]].sum(axis=1)
    np.testing.assert_allclose(shares, 1.0)
    assert (frame.pivot_table(index="subject", columns="time", values="risk").diff(axis=1).iloc[:, 1:] > 0).all(
        axis=None
    )


def test_scores_agree_with_kaplan_meier_on_average_and_rank_patients(demo):
    """In the cohort they were fitted to: mean risk near Kaplan and Meier's, concordance above a half."""
    from sksurv.metrics import concordance_index_censored
    from sksurv.nonparametric import kaplan_meier_estimator

    folder, _, _ = demo
    frame = pd.read_parquet(folder / "scores.parquet")
    _, clinical = mb.load_transbig()
    event, years = clinical["metastasis"].to_numpy(bool), clinical["years"].to_numpy()
    times, survival = kaplan_meier_estimator(event, years)
    for horizon, own in frame.groupby("time"):
        observed = 1 - survival[np.searchsorted(times, horizon, side="right") - 1]
        assert own["risk"].mean() == pytest.approx(observed, abs=0.04)
    risk = frame[frame["time"] == 5].set_index("subject").loc[clinical.index, "risk"]
    assert concordance_index_censored(event, years, risk)[0] > 0.6


def test_biomarkers_keep_their_rate_and_link_grade_to_oestrogen_receptor(demo):
    folder, _, _ = demo
    table = pd.read_csv(folder / "biomarkers.csv")
    assert table["fdr"].max() <= 0.05
    clinical = table[table["view"] == "ehr"].set_index(["factor", "feature"])["mean"].unstack()
    shared = clinical.dropna(subset=["er_positive", "grade_poor"])
    assert (np.sign(shared["er_positive"]) == -np.sign(shared["grade_poor"])).all()
    assert len(shared) > 0


def test_models_are_listed_and_version_is_printed():
    listed = run_cli("models")
    assert listed.returncode == 0
    assert "mofa" in listed.stdout
    assert "gfa" in listed.stdout
    assert run_cli("--version").stdout.startswith("mofa-bayes 0.")


def test_demo_into_an_impossible_folder_fails_in_words(tmp_path):
    (tmp_path / "file").write_text("here")
    done = run_cli("demo", "--out", str(tmp_path / "file" / "out"))
    assert done.returncode == 6  # of a FileError
    assert "Choose another one" in done.stderr
    assert "Traceback" not in done.stderr


def test_cohort_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sksurv.datasets", None)
    with pytest.raises(MissingExtraError, match=r"mofa-bayes\[demo\]"):
        mb.load_transbig()


def test_models_come_in_the_order_of_their_names():
    names = [entry.name for entry in mb.list_models()]
    assert names == sorted(names)
