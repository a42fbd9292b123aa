"""MOFA's HDF5 file: mofax opens ours, we open mofapy2's, and nothing else gets through."""

import gzip
from pathlib import Path

import h5py
import mofax
import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb
from mofa_bayes.data.simulate import Cohort
from mofa_bayes.errors import DataError, FileError, FitError

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "mofapy2.hdf5.gz"


@pytest.fixture(scope="module")
def grouped() -> tuple[mb.MultiView, mb.Posterior]:
    """Two groups whose names are not sorted, views that are not in alphabetical order, a covariate, counts."""
    design = mb.Design(
        n_subjects=50, n_features={"rna": 12, "drugs": 9, "meth": 10}, sharing=[("rna", "drugs", "meth"), ("rna",)],
        density=0.8, absent_view=0.2, missing=0.05,
    )  # fmt: skip
    views = mb.simulate_cohort(design, seed=3).views
    subjects = list(views.subjects)
    rng = np.random.default_rng(0)
    frames = {view: pd.DataFrame(views[view].values, subjects, list(views.features(view))) for view in views.names}
    frames["rna"] += 3.0 * (np.arange(50) % 2)[:, None]
    frames["counts"] = pd.DataFrame(rng.poisson(3, (50, 4)), subjects).add_prefix("code")
    views = mb.MultiView.from_frames(
        frames,
        likelihoods={"counts": "negative_binomial"},
        groups=pd.Series(np.where(np.arange(50) % 2, "Zürich", "Aachen"), subjects),
        covariates=pd.DataFrame({"age": rng.normal(60, 9, 50)}, subjects),
    )
    return views, mb.fit(views, mb.FactorModel(n_factors=2), progress=False, n_draws=60)


@pytest.fixture(scope="module")
def written(grouped, tmp_path_factory) -> Path:
    views, post = grouped
    path = tmp_path_factory.mktemp("mofa") / "model.hdf5"
    mb.export_mofa(post, path, views, rename={"Zürich": "Zurich", "drugs": "drug response"})
    return path


@pytest.fixture
def opened(written):
    model = mofax.mofa_model(str(written))
    yield model
    model.close()


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("mofapy2") / "model.hdf5"
    path.write_bytes(gzip.decompress(GOLDEN.read_bytes()))
    return path


def mofa_r2(y, z, w):
    """MOFA's formula, written down as it is."""
    return 100 * (1 - np.nansum((y - z @ w.T) ** 2) / np.nansum(y**2))


def test_mofax_sees_shapes_and_names(opened, grouped):
    views, post = grouped
    assert opened.shape == (50, 12 + 9 + 10 + 4)
    assert opened.nfactors == len(post.factor_names)
    assert opened.views == ["rna", "drug response", "meth", "counts"]
    assert opened.groups == ["Aachen", "Zurich"]
    assert opened.likelihoods == ["gaussian", "gaussian", "gaussian", "poisson"]
    assert [list(opened.features[name]) for name in opened.views] == [list(post.features(v)) for v in post.views]
    groups = views.groups.to_series()
    assert list(opened.samples["Zurich"]) == [s for s in post.subjects if groups[s] == "Zürich"]
    assert opened.metadata["group"].value_counts().to_dict() == {"Aachen": 25, "Zurich": 25}


def test_mofax_sees_factors_and_weights(opened, grouped):
    _, post = grouped
    moments = post.factor_moments()
    factors = opened.get_factors(df=True)
    expected = pd.DataFrame(moments.mean, moments.subjects, [f"Factor{k + 1}" for k in range(len(moments.factors))])
    pd.testing.assert_frame_equal(factors.sort_index(), expected.sort_index(), check_names=False)
    stored = post.tree["moments"]["weights_mean_drugs"].values[:, : len(moments.factors)]
    np.testing.assert_allclose(opened.get_weights("drug response"), stored)
    drawn = post.loadings("rna").mean(("chain", "draw")).values
    np.testing.assert_allclose(opened.get_weights("rna"), drawn, atol=0.2)


def test_mofax_sees_the_variance_explained_of_the_data_in_the_file(opened, written):
    table = opened.get_variance_explained().set_index(["Factor", "View", "Group"])["R2"]
    for view in ("rna", "drug response", "meth"):
        for group in opened.groups:
            y = opened.data[view][group][...]
            z, w = opened.get_factors(groups=group), opened.get_weights(view)
            for k in range(opened.nfactors):
                expected = mofa_r2(y, z[:, [k]], w[:, [k]])
                np.testing.assert_allclose(table[f"Factor{k + 1}", view, group], expected, atol=1e-6)
            total = opened.model["variance_explained/r2_total"][group][opened.views.index(view)]
            np.testing.assert_allclose(total, mofa_r2(y, z, w), atol=1e-6)
    assert table["Factor1", "rna", "Aachen"] > 5


def test_data_and_intercepts_are_those_of_the_model(written, grouped):
    views, post = grouped
    rows = [s for s in post.subjects if views.groups.to_series()[s] == "Zürich"]
    own = views.sel(rows)
    scaled = post.preprocessing.apply("rna", own["rna"].values)
    aged = post.preprocessing.standardise(own.covariates.values) @ post.effects("rna").mean(("chain", "draw")).values
    with h5py.File(written) as file:
        data, intercepts = file["data/rna/Zurich"][...], file["intercepts/rna/Zurich"][...]
        raw = file["data/counts/Zurich"][...]
        assert dict(file["mofa_bayes"].attrs)["engine"] == "vi"
        assert {name for name in file if "views" in name or "covariates" in name} == {"views"}
        assert file["model_options/spikeslab_weights"][()] == b"True"
        assert file["training_opts"].shape == (6,)
        assert set(file["mofa_bayes/likelihoods/counts"].asstr()[...]) == {"negative_binomial"}
    np.testing.assert_allclose(data + intercepts, scaled - aged, atol=0.1)
    np.testing.assert_array_equal(raw, own["counts"].values)
    assert abs(np.nanmean(data)) < 0.05 < np.nanmean(intercepts)


def test_a_view_of_two_likelihoods_becomes_two(post, cohort: Cohort, tmp_path):
    mb.export_mofa(post, tmp_path / "model.hdf5", cohort.views)
    back = mb.read_mofa(tmp_path / "model.hdf5")
    assert back.views == ("rna", "meth", "ehr_gaussian", "ehr_bernoulli")
    assert back.summary()["likelihoods"].to_dict()["ehr_bernoulli"] == "bernoulli 4"
    both = [*back.features("ehr_gaussian"), *back.features("ehr_bernoulli")]
    assert sorted(both) == sorted(post.features("ehr"))
    loadings = post.tree["moments"]["weights_mean_ehr"].sel(feature_ehr=list(back.features("ehr_bernoulli")))
    np.testing.assert_allclose(back.loadings("ehr_bernoulli")[0, 0], loadings[:, : len(post.factor_names)])
    assert "means" in repr(back)
    assert back.subjects == post.subjects


@pytest.mark.parametrize("rename", [{}, {"Zürich": "a/b"}, {"Zürich": "."}, {"Zürich": "Aachen"}, {"rna": "meth"}])
def test_names_that_readers_cannot_take_are_refused(grouped, tmp_path, rename):
    views, post = grouped
    with pytest.raises(DataError, match="rename="):
        mb.export_mofa(post, tmp_path / "model.hdf5", views, rename=rename)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("views", [None, "other"])
def test_only_the_data_of_the_fit_are_written(grouped, cohort: Cohort, tmp_path, views):
    with pytest.raises(DataError, match="MultiView of the fit"):
        mb.export_mofa(grouped[1], tmp_path / "model.hdf5", cohort.views if views else None)


def test_a_posterior_without_its_patients_is_not_written(post, cohort: Cohort, tmp_path):
    post.save(tmp_path / "shared.nc", shareable=True)
    shared = mb.load(tmp_path / "shared.nc")
    for write in (
        lambda: mb.export_mofa(shared, tmp_path / "model.hdf5", cohort.views),
        lambda: mb.to_mudata(shared, cohort.views),
        lambda: mb.write_report(shared, tmp_path / "report.html"),
    ):
        with pytest.raises(FitError, match="saved to be shared"):
            write()


@pytest.mark.filterwarnings("ignore:engine .spectral. takes")
def test_a_spectral_fit_is_written_too(cohort: Cohort, tmp_path):
    post = mb.fit(cohort.views, mb.FactorModel(n_factors=3), engine="spectral", n_draws=50, progress=False)
    mb.export_mofa(post, tmp_path / "model.hdf5", cohort.views)
    back = mb.read_mofa(tmp_path / "model.hdf5")
    np.testing.assert_allclose(back.factors()[0, 0], post.factor_moments().mean)
    assert back.tree["fit"]["elbo"].size == 0


def test_a_file_of_mofapy2_opens_here(foreign):
    post = mb.read_mofa(foreign)
    assert post.views == ("rna", "mutations", "meth")
    assert post.provenance["engine"] == "mofapy2"
    assert not post.has_uncertainty
    assert repr(post) == "<Posterior (mofapy2): 3 factors, 34 subjects, 1 draws; views: rna, mutations, meth>"
    assert post.groups().to_series().value_counts().to_dict() == {"site A": 20, "site B": 14}
    assert int(post.has_view("meth").sum()) == 30
    with h5py.File(foreign) as file:
        for group in ("site A", "site B"):
            own = post.factors()[0, 0].sel(subject=file[f"samples/{group}"].asstr()[...].tolist())
            np.testing.assert_array_equal(own.values.T, file[f"expectations/Z/{group}"][...])
            r2 = post.tree["fit"]["r2_per_factor"].sel(group=group, view="meth")
            np.testing.assert_array_equal(r2, file[f"variance_explained/r2_per_factor/{group}"][2])
        np.testing.assert_array_equal(post.loadings("meth")[0, 0].values.T, file["expectations/W/meth"][...])
        np.testing.assert_array_equal(
            post.intercepts("rna")[0, 0].sel(group="site B"), file["intercepts/rna/site B"][...]
        )
    assert not post.intercepts("mutations").any()
    assert post.spec.loadings == mb.SpikeSlab()
    assert post.spec.factors == mb.ARDFactors()


def test_variance_explained_of_means_is_near_that_of_mofapy2(foreign):
    """Two definitions, one of the data and one of the model: they agree where a fit is good."""
    post = mb.read_mofa(foreign)
    own = mb.variance_explained(post)["total"].squeeze()
    theirs = post.tree["fit"]["r2_total"].mean("group") / 100
    for view in ("rna", "meth"):
        assert abs(float(own.sel(view=view)) - float(theirs.sel(view=view))) < 0.05
    assert 0.1 < float(own.sel(view="mutations")) < 0.9


def test_without_data_noise_is_unknown_and_counts_have_a_variance_of_their_own(foreign, tmp_path):
    path = tmp_path / "model.hdf5"
    path.write_bytes(foreign.read_bytes())
    with h5py.File(path, "r+") as file:
        damage(file, "model_options/likelihoods", [b"gaussian", b"poisson", b"gaussian"])
        rate = np.concatenate([values[...] for values in file["data/mutations"].values()]).mean(axis=0)
        for place in ("data/rna", "intercepts", "variance_explained", "model_options/ard_factors"):
            del file[place]
    post = mb.read_mofa(path)
    assert np.isnan(post.noise_sd("rna")).all()
    assert post.has_view("rna").all()
    total = mb.variance_explained(post)["total"].squeeze()
    assert np.isnan(total.sel(view="rna"))
    assert 0 < total.sel(view="mutations") < 1
    latent, has_noise = post.latent_variance("mutations")
    np.testing.assert_allclose(latent, rate / (1 - np.exp(-rate)) ** 2)
    assert not has_noise.any()
    assert post.spec.factors == mb.StandardFactors()


def test_means_survive_saving(foreign, tmp_path):
    post = mb.read_mofa(foreign)
    post.save(tmp_path / "fit.nc")
    back = mb.load(tmp_path / "fit.nc")
    assert back.tree.identical(post.tree)
    assert not back.has_uncertainty


NEEDS_UNCERTAINTY = {
    "biomarkers": lambda post, views: mb.biomarkers(post),
    "sharing": lambda post, views: mb.sharing(post),
    "diagnose": lambda post, views: mb.diagnose(post),
    "project": lambda post, views: post.project(views),
    "impute": lambda post, views: post.impute(views),
    "moments": lambda post, views: post.factor_moments(),
    "log likelihood": lambda post, views: post.with_log_likelihood(views),
    "risk": lambda post, views: mb.RiskModel(mb.Binary("died")).fit(
        post, pd.DataFrame({"died": np.arange(34) % 2}, list(post.subjects)), seed=0
    ),
}


@pytest.mark.parametrize("what", NEEDS_UNCERTAINTY)
def test_what_needs_uncertainty_says_so(foreign, cohort: Cohort, what):
    with pytest.raises(FitError, match="means and no uncertainty"):
        NEEDS_UNCERTAINTY[what](mb.read_mofa(foreign), cohort.views)


def damage(file, name, value):
    del file[name]
    if value is not None:
        file[name] = value


FACTORS = "expectations/Z/site A"
DATA = "data/rna/site A"


def replace(name, make):
    def act(file):
        del file[name]
        make(file)

    return act


DAMAGES = {
    "no views": lambda file: damage(file, "views/views", None),
    "numbers for names": lambda file: damage(file, "views/views", np.arange(3)),
    "a name twice": lambda file: damage(file, "features/meth", ["a"] * 9),
    "no name": lambda file: damage(file, "samples/site A", np.array([], dtype="S1")),
    "no weights": lambda file: damage(file, "expectations/W/meth", None),
    "no factor": lambda file: damage(file, "expectations/W/rna", np.zeros((0, 12))),
    "another shape": lambda file: damage(file, FACTORS, np.zeros((3, 19))),
    "not finite": lambda file: damage(file, "expectations/W/meth", np.full((3, 9), np.nan)),
    "texts for numbers": lambda file: damage(file, "expectations/W/meth", [[b"x"] * 9] * 3),
    "other likelihoods": lambda file: damage(file, "model_options/likelihoods", [b"gaussian"]),
    "data of another shape": lambda file: damage(file, DATA, np.zeros((20, 11))),
    "a group for an array": replace(FACTORS, lambda file: file.create_group(FACTORS)),
    "a link elsewhere": replace(FACTORS, lambda file: file.update({FACTORS: h5py.ExternalLink("/etc/passwd", "/")})),
    "a soft link": replace(DATA, lambda file: file.update({DATA: h5py.SoftLink("/expectations/W/rna")})),
    "bytes of another file": replace(
        FACTORS, lambda file: file.create_dataset(FACTORS, (3, 20), "f8", external=[("/etc/passwd", 0, 480)])
    ),
    "more names than bytes": replace(
        "samples/site A", lambda file: file.create_dataset("samples/site A", (2**27,), h5py.string_dtype(), chunks=True)
    ),
    "more weights than bytes": replace(
        "expectations/W/rna", lambda file: file.create_dataset("expectations/W/rna", (2**17, 2**17), "f8", chunks=True)
    ),
    "more than memory": replace(DATA, lambda file: file.create_dataset(DATA, (2**20, 2**20), "f8", chunks=True)),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_file_is_a_file_error(foreign, tmp_path, what):
    path = tmp_path / "model.hdf5"
    path.write_bytes(foreign.read_bytes())
    with h5py.File(path, "r+") as file:
        DAMAGES[what](file)
    with pytest.raises(FileError, match="trained MOFA model"):
        mb.read_mofa(path)


@pytest.mark.parametrize("content", [b"", b"not HDF5", None, "truncated", "netcdf"])
def test_a_file_of_another_kind_is_a_file_error(foreign, post, tmp_path, content):
    path = tmp_path / "model.hdf5"
    if content == "truncated":
        path.write_bytes(foreign.read_bytes()[:30_000])
    elif content == "netcdf":
        post.save(path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError):
        mb.read_mofa(path)


def test_samples_that_groups_share_and_odd_view_names_are_told_apart(foreign, tmp_path):
    path = tmp_path / "model.hdf5"
    path.write_bytes(foreign.read_bytes())
    with h5py.File(path, "r+") as file:
        damage(file, "samples/site B", [f"a{n:02d}" for n in range(14)])
        names = [b"rna", b"mutations", "méth (450k)".encode()]
        for place in ("features", "expectations/W", "data", "intercepts"):
            file[place].move("meth", "méth (450k)")
        damage(file, "views/views", np.array(names, dtype=object))
    post = mb.read_mofa(path)
    assert post.views == ("rna", "mutations", "m_th__450k_")
    assert post.subjects[0] == "site B:a00"
    post.save(tmp_path / "fit.nc")
    assert mb.load(tmp_path / "fit.nc").views == post.views
