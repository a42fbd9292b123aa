"""Folders of tables: what is written there comes back, identifiers as text, the clinical table aside."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb

IDS = ["007", "010", "0100", "100"]
RNA = pd.DataFrame({"g1": [0.5, 1.5, np.nan, 3.5], "g2": [1.0, 0.25, 4.0, -1.0]}, index=IDS)
EHR = pd.DataFrame({"age": [50, 61], "smoker": [0, 1]}, index=["100", "007"])
CLINICAL = pd.DataFrame({"months": [1.0, 2.0, 3.0, 4.0], "dead": [0, 1, 0, 1]}, index=IDS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A view in Parquet, one in CSV, a clinical table, and what is no table."""
    RNA.astype("float32").to_parquet(tmp_path / "rna.parquet")
    EHR.to_csv(tmp_path / "ehr.csv", index_label="subject")
    CLINICAL.to_csv(tmp_path / "clinical.csv")
    (tmp_path / "README.md").write_text("about")
    (tmp_path / ".hidden.csv").write_text("nothing")
    (tmp_path / "more").mkdir()
    return tmp_path


def test_a_folder_of_parquet_and_csv_is_read_as_views(folder: Path) -> None:
    views = mb.read_views(folder)
    expected = mb.MultiView.from_frames({"ehr": EHR, "rna": RNA.astype("float32")})
    assert set(views.names) == {"rna", "ehr"}
    assert views.fingerprint == expected.fingerprint
    assert views["rna"].dtype == np.float32
    assert mb.read_views(str(folder)).fingerprint == views.fingerprint


def test_views_may_be_named(folder: Path) -> None:
    (folder / "gene_sets.csv").write_text("set,gene\ns1,g1\ns1,g2\n")
    views = mb.read_views(folder, names=["rna", "ehr"])
    assert views.names == ("rna", "ehr")
    assert mb.read_views(folder, names=["ehr"]).names == ("ehr",)


def test_options_go_the_same_way_as_from_frames(folder: Path) -> None:
    views = mb.read_views(folder, likelihoods={"ehr": {"age": "poisson"}}, subjects="common", uninformative="keep")
    assert set(views.subjects) == {"007", "100"}
    assert views.likelihoods("ehr").to_series().to_dict() == {"age": "poisson", "smoker": "bernoulli"}


def test_the_clinical_table_is_read_apart(folder: Path) -> None:
    clinical = mb.read_clinical(folder)
    pd.testing.assert_frame_equal(clinical, CLINICAL, check_index_type=False, check_names=False)


@pytest.mark.parametrize("header", ["subject", "", None], ids=["named", "blank", "R"])
def test_leading_zeros_of_identifiers_are_kept_in_csv(tmp_path: Path, header: str | None) -> None:
    columns = ",".join(RNA.columns)
    first = columns if header is None else f"{header},{columns}"
    (tmp_path / "rna.csv").write_text("\n".join([first, *RNA.to_csv(header=False).splitlines()]) + "\n")
    views = mb.read_views(tmp_path)
    assert views.subjects == tuple(IDS)
    assert views.features("rna") == ("g1", "g2")
    np.testing.assert_array_equal(views["rna"].values, RNA.to_numpy())


@pytest.mark.parametrize("name", ["clinical.csv", "clinical.parquet"])
def test_leading_zeros_of_identifiers_are_kept_in_the_clinical_table(tmp_path: Path, name: str) -> None:
    if name.endswith("csv"):
        CLINICAL.to_csv(tmp_path / name)
    else:
        CLINICAL.to_parquet(tmp_path / name)
    assert mb.read_clinical(tmp_path).index.tolist() == IDS


def test_parquet_without_an_index_has_its_identifiers_in_the_first_column(tmp_path: Path) -> None:
    RNA.reset_index(names="subject").to_parquet(tmp_path / "rna.parquet")
    views = mb.read_views(tmp_path)
    assert views.subjects == tuple(IDS)
    assert views.features("rna") == ("g1", "g2")


def test_integer_identifiers_meet_their_text(tmp_path: Path) -> None:
    RNA.set_axis([7, 10, 11, 100], axis=0).to_parquet(tmp_path / "rna.parquet")
    (tmp_path / "ehr.csv").write_text("id,age\n100,3\n7,4\n")
    views = mb.read_views(tmp_path)
    assert set(views.subjects) == {"7", "10", "11", "100"}
    assert views["ehr"].sel(subject="7").values.tolist() == [4.0]


REAL = [
    ("cll", ("mrna", "methylation", "drugs", "mutations"), 200, (136, 196, 184, 200), (5000, 4248, 310, 69)),
    ("physionet2012", ("static", "vitals", "labs", "support"), 8000, (8000, 7987, 7983, 5040), (7, 55, 48, 4)),
    ("pbc", ("labs", "exam", "demographics"), 418, (418, 418, 418), (9, 5, 3)),
]


@pytest.mark.parametrize(
    ("name", "names", "n_subjects", "n_with_view", "n_features"), REAL, ids=[cohort[0] for cohort in REAL]
)
def test_a_real_cohort_is_read_as_its_readme_describes_it(
    shared_data: Path, name: str, names: tuple, n_subjects: int, n_with_view: tuple, n_features: tuple
) -> None:
    views = mb.read_views(shared_data / name, names=names, uninformative="drop")
    assert views.names == names
    assert views.n_subjects == n_subjects
    table = views.summary()
    assert tuple(table["n_subjects"]) == n_with_view
    assert tuple(table["n_features"]) == n_features
    assert all(views[view].dtype == np.float32 for view in names)
    assert set(views.subjects) <= set(mb.read_clinical(shared_data / name).index)


def test_flags_of_a_real_cohort_are_guessed(shared_data: Path) -> None:
    views = mb.read_views(shared_data / "cll", names=["drugs", "mutations"], uninformative="drop")
    assert (views.likelihoods("mutations") == "bernoulli").all()
    assert (views.likelihoods("drugs") == "gaussian").all()
    assert views.missing().loc["mutations", "fraction_missing_within"] == pytest.approx(0.3376, abs=5e-5)
