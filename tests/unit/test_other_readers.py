"""MuData, AnnData, long tables and images: what a file says comes in under its own names, and holes stay holes."""

import sys

import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb
from mofa_bayes.errors import DataError, FileError, MissingExtraError

IDS = [f"p{n}" for n in range(20)]


@pytest.fixture(scope="module")
def mdata():
    import anndata
    import mudata
    from scipy import sparse

    rng = np.random.default_rng(0)
    rna = anndata.AnnData(
        sparse.csr_matrix(rng.poisson(1.0, (20, 6)).astype(float)),
        obs=pd.DataFrame(index=IDS),
        var=pd.DataFrame({"highly_variable": [True] * 4 + [False] * 2}, index=[f"g{d}" for d in range(6)]),
        layers={"logged": rng.normal(size=(20, 6))},
    )
    atac = anndata.AnnData(
        rng.normal(size=(15, 3)), obs=pd.DataFrame(index=IDS[5:]), var=pd.DataFrame(index=["a0", "a1", "a2"])
    )
    both = mudata.MuData({"rna": rna, "atac": atac})
    both.obs["keep"] = np.arange(20) % 4 > 0
    both.obs["site"] = ["north", "south"] * 10
    both.obs["age"] = np.arange(20.0)
    return both


def test_modalities_become_views_and_absent_subjects_lack_them(mdata):
    views = mb.read_mudata(mdata)
    assert views.names == ("rna", "atac")
    assert views.has_view("atac").values.sum() == 15
    np.testing.assert_array_equal(views["rna"].sel(subject="p3").values, mdata.mod["rna"].X.toarray()[3])


def test_layers_marked_features_and_subjects_and_columns_of_obs_are_used(mdata):
    views = mb.read_mudata(
        mdata, views=["rna"], layers={"rna": "logged"}, features={"rna": "highly_variable"}, subjects="keep",
        groups="site", covariates=["age"],
    )  # fmt: skip
    assert views.features("rna") == ("g0", "g1", "g2", "g3")
    assert views.n_subjects == 15
    assert set(views.groups.values) == {"north", "south"}
    np.testing.assert_allclose(views["rna"].sel(subject="p1").values, mdata.mod["rna"].layers["logged"][1, :4])
    assert views.covariates.sel(subject="p7").item() == 7.0


def test_files_say_what_the_object_said(mdata, tmp_path):
    mdata.write(tmp_path / "cohort.h5mu")
    mdata.mod["atac"].write_h5ad(tmp_path / "atac.h5ad")
    assert mb.read_mudata(tmp_path / "cohort.h5mu").fingerprint == mb.read_mudata(mdata).fingerprint
    assert mb.read_mudata(tmp_path / "atac.h5ad").names == ("X",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"views": ["protein"]}, "protein"), ({"layers": {"rna": "raw"}}, "raw"), ({"layers": {"x": "raw"}}, "'x'"),
        ({"features": {"rna": "none"}}, "none"), ({"subjects": "site"}, "boolean"), ({"groups": "ward"}, "ward"),
    ],
)  # fmt: skip
def test_unknown_names_are_refused(mdata, options, said):
    with pytest.raises(DataError, match=said):
        mb.read_mudata(mdata, **options)


def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch):
    (tmp_path / "x.h5mu").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "mudata", None)
    with pytest.raises(MissingExtraError, match=r"mofa-bayes\[mudata\]"):
        mb.read_mudata(tmp_path / "x.h5mu")


def test_foreign_files_and_things_are_refused(tmp_path):
    (tmp_path / "x.h5ad").write_bytes(b"not a file")
    with pytest.raises(FileError, match="anndata"):
        mb.read_mudata(tmp_path / "x.h5ad")
    with pytest.raises(FileError, match="nothing there"):
        mb.read_mudata(tmp_path / "y.h5mu")
    with pytest.raises(DataError, match="DataFrame"):
        mb.read_mudata(pd.DataFrame())


def test_long_tables_are_spread_and_what_has_no_row_is_missing():
    rng = np.random.default_rng(1)
    wide = {view: pd.DataFrame(rng.normal(size=(9, 3)), index=IDS[:9], columns=list("abc")) for view in ("x", "y")}
    long = pd.concat(
        [
            table.rename_axis("who").reset_index().melt("who", var_name="what").assign(view=view)
            for view, table in wide.items()
        ]
    )
    whole = mb.read_long(long.sample(frac=1.0, random_state=1), subject="who", feature="what")
    assert whole.fingerprint == mb.MultiView.from_frames(wide).fingerprint
    assert np.isnan(
        mb.read_long(long.iloc[1:], subject="who", feature="what")["x"].sel(subject="p0", feature_x="a").item()
    )
    alone = mb.read_long(long[long["view"] == "x"].drop(columns="view"), subject="who", feature="what", view=None)
    assert alone.names == ("data",)


def test_long_tables_with_doubled_cells_or_without_columns_are_refused():
    table = pd.DataFrame({"subject": ["a", "a"], "feature": ["f", "f"], "value": [1.0, 2.0], "view": "x"})
    with pytest.raises(DataError, match="1 cells given twice"):
        mb.read_long(table)
    with pytest.raises(DataError, match="columns view, subject"):
        mb.read_long(table.drop(columns="view"))
    with pytest.raises(DataError, match="no row"):
        mb.read_long(table.iloc[:0])


def test_radiomics_and_freesurfer_tables_keep_features_only(tmp_path):
    (tmp_path / "radiomics.csv").write_text(
        "patient,Image,diagnostics_Versions_Numpy,original_shape_Volume,original_glcm_Contrast\n"
        "007,a.nii,1.2,10.5,0.1\n008,b.nii,1.2,11.5,0.2\n"
    )
    found = mb.read_image_features(tmp_path / "radiomics.csv", subject="patient")
    assert list(found.columns) == ["original_shape_Volume", "original_glcm_Contrast"]
    assert list(found.index) == ["007", "008"]
    (tmp_path / "aparc.txt").write_text("lh.aparc.thickness\tlh_bankssts\tlh_cuneus\ns1\t2.4\t1.9\ns2\t2.5\t1.8\n")
    assert mb.read_image_features(tmp_path / "aparc.txt").loc["s2", "lh_cuneus"] == 1.8
    (tmp_path / "twice.csv").write_text("id,x\na,1\na,2\n")
    with pytest.raises(DataError, match="more than once"):
        mb.read_image_features(tmp_path / "twice.csv", separator=",")
    with pytest.raises(DataError, match="'who'"):
        mb.read_image_features(tmp_path / "twice.csv", separator=",", subject="who")
    with pytest.raises(FileError, match="absent"):
        mb.read_image_features(tmp_path / "absent.csv")


@pytest.fixture(scope="module")
def images():
    import nibabel

    rng = np.random.default_rng(2)
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    inside = np.zeros((4, 5, 3), dtype=np.uint8)
    inside[1:3, 1:4, 1] = 1
    signal = rng.normal(size=(20, 1)) @ rng.normal(size=(1, 6))
    volumes = {}
    for row, who in zip(signal, IDS, strict=True):
        volume = rng.normal(size=inside.shape).astype(np.float32)
        volume[inside > 0] += 3 * row
        volumes[who] = nibabel.Nifti1Image(volume, affine)
    return volumes, nibabel.Nifti1Image(inside, affine)


def test_loadings_of_voxels_map_back_to_where_they_came_from(images, tmp_path):
    import nibabel

    volumes, mask = images
    table = mb.read_volumes(volumes, mask)
    assert table.shape == (20, 6)
    assert table.columns[0] == "v1_1_1"
    np.testing.assert_allclose(table.loc["p4", "v2_3_1"], volumes["p4"].get_fdata()[2, 3, 1], rtol=1e-6)
    post = mb.fit(mb.MultiView.from_frames({"mri": table}), mb.FactorModel(n_factors=1), n_draws=20, progress=False)
    loadings = post.loadings("mri").mean(("chain", "draw")).sel(factor="F1")
    image = mb.to_volume(loadings, mask)
    nibabel.save(image, tmp_path / "loadings.nii.gz")
    back = nibabel.load(tmp_path / "loadings.nii.gz")
    np.testing.assert_allclose(back.get_fdata()[2, 3, 1], loadings.sel(feature_mri="v2_3_1").item(), rtol=1e-5)
    assert np.isnan(back.get_fdata()).sum() == 4 * 5 * 3 - 6
    np.testing.assert_allclose(back.affine, mask.affine)


def test_volumes_on_another_grid_and_foreign_voxels_are_refused(images):
    import nibabel

    volumes, mask = images
    moved = nibabel.Nifti1Image(volumes["p0"].get_fdata(), np.eye(4))
    with pytest.raises(DataError, match="grid of the mask"):
        mb.read_volumes({"p0": moved}, mask)
    with pytest.raises(DataError, match="voxel that is not zero"):
        mb.read_volumes(volumes, nibabel.Nifti1Image(np.zeros((4, 5, 3)), np.eye(4)))
    with pytest.raises(FileError, match="volume 1 of 1"):
        mb.read_volumes({"secret name": "nowhere.nii"}, mask)
    with pytest.raises(DataError, match="mapping"):
        mb.read_volumes([], mask)
    values = mb.read_volumes(volumes, mask).iloc[0].to_xarray()
    with pytest.raises(DataError, match="mask does not have"):
        mb.to_volume(values.assign_coords(index=[f"w{n}" for n in range(6)]), mask)
    with pytest.raises(DataError, match="one dim"):
        mb.to_volume(values.expand_dims("draw"), mask)
