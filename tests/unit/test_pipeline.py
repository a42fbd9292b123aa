"""The command line on files: from events and folders to scores, with exit codes and a log for machines."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import mofa_bayes as mb
from mofa_bayes.cli import app
from mofa_bayes.commands.configuration import read_configuration
from mofa_bayes.commands.index import read_index
from mofa_bayes.commands.outcomes import code_covariates, find_complete, read_outcome
from mofa_bayes.errors import DataError, FileError, SpecError

N = 60
pytestmark = pytest.mark.filterwarnings("ignore::mofa_bayes.errors.ConvergenceWarning")


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cohort and new patients as files: counts, labs with holes, a clinical table with text in it."""
    place = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(0)
    for name, count in (("old", N), ("new", 6)):
        (place / name).mkdir()
        ids = [f"{name}{n:03d}" for n in range(count)]
        factor = rng.standard_normal((count, 1))
        labs = pd.DataFrame(factor @ np.ones((1, 5)) + rng.standard_normal((count, 5)), index=ids).add_prefix("lab")
        rna = pd.DataFrame(rng.poisson(np.exp(2 + 0.5 * factor @ np.ones((1, 6)))), index=ids).add_prefix("g") + 0.0
        labs.mask(rng.random(labs.shape) < 0.1).to_csv(place / name / "labs.csv")
        rna.to_parquet(place / name / "rna.parquet")
        clinical = pd.DataFrame(
            {
                "time": rng.exponential(np.exp(-factor[:, 0])) + 0.05, "event": 1, "age": rng.normal(60, 9, count),
                "sex": rng.choice(["F", "M"], count),
            },
            index=ids,
        )  # fmt: skip
        if name == "old":
            clinical.iloc[3, 0] = np.nan
            clinical.iloc[4, 0] = 0.0
        clinical.to_csv(place / name / "clinical.csv")
    (place / "model.toml").write_text('[model]\nn_factors = 2\n[steps]\nrna = ["log1p"]\n')
    return place


@pytest.fixture(scope="module")
def fitted(folder):
    out = folder / "fit.nc"
    done = run("fit", folder / "old", "--config", folder / "model.toml", "--cross-fit", 5, "--out", out, "--log-json")
    assert done.exit_code == 0, done.output
    return out, done.stderr


@pytest.fixture(scope="module")
def risk_file(folder, fitted):
    out = folder / "risk.nc"
    done = run(
        "risk", fitted[0], folder / "old" / "clinical.csv", "--outcome", "survival:time,event", "--baseline", "weibull",
        "--covariate", "age", "--covariate", "sex", "--complete-only", "--draws", 60, "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return out, done.stderr


def test_a_folder_is_fitted_as_the_configuration_says_and_the_log_is_json(fitted):
    post = mb.load(fitted[0])
    assert post.n_subjects == N
    assert json.loads(post.tree["preparation"].attrs["steps"])["rna"][0]["kind"] == "log1p"
    assert post.tree["cross_fits"].sizes["fold"] == 5
    lines = [json.loads(line) for line in fitted[1].splitlines()]
    assert next(line["event"] for line in lines if line["level"] == "info") == "read views"
    assert all({"time", "level", "event"} <= set(line) for line in lines)


def test_new_patients_are_scored_as_in_python(folder, fitted, risk_file):
    out = folder / "scores.csv"
    done = run(
        "score", fitted[0], risk_file[0], folder / "new", "--clinical", folder / "new" / "clinical.csv",
        "--time", 0.5, "--time", 1.0, "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = pd.read_csv(out)
    assert len(found) == 12
    assert found["risk"].between(0, 1).all()
    post, risk = mb.load(fitted[0]), mb.load_risk(risk_file[0])
    tables = {"labs": pd.read_csv(folder / "new" / "labs.csv", index_col=0),
              "rna": pd.read_parquet(folder / "new" / "rna.parquet")}  # fmt: skip
    clinical = pd.read_csv(folder / "new" / "clinical.csv", index_col=0)
    clinical["sex=M"] = (clinical["sex"] == "M").astype(float)
    scores = risk.predict(post.project(tables), clinical, times=[0.5, 1.0]).to_frame()
    np.testing.assert_allclose(found["risk"], scores["risk"])
    assert risk.fingerprint == post.fingerprint


def test_patients_without_an_outcome_are_left_out_when_asked_and_counted(risk_file):
    assert mb.load_risk(risk_file[0]).n_subjects == N - 2
    assert "2" in next(line for line in risk_file[1].splitlines() if "left out" in line)


def test_factors_of_new_patients_are_written_with_intervals(folder, fitted):
    out = folder / "factors.parquet"
    assert run("project", fitted[0], folder / "new", "--view", "labs", "--out", out).exit_code == 0
    table = pd.read_parquet(out)
    assert list(table.columns) == ["subject", "factor", "mean", "sd", "lower", "upper", "level"]
    assert (table["lower"] < table["upper"]).all()


def test_a_shareable_model_scores_alike(folder, fitted, risk_file):
    post = mb.load(fitted[0])
    post.save(folder / "shared.nc", shareable=True)
    for source, name in ((fitted[0], "a.parquet"), (folder / "shared.nc", "b.parquet")):
        done = run(
            "score", source, risk_file[0], folder / "new", "--clinical", folder / "new" / "clinical.csv",
            "--time", 1.0, "--out", folder / name,
        )  # fmt: skip
        assert done.exit_code == 0, done.output
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "a.parquet"), pd.read_parquet(folder / "b.parquet"))


def test_events_become_views_and_those_of_new_patients_have_the_same_features(tmp_path):
    rows = [(f"p{n}", pd.Timestamp("2024-05-20"), "LAB//crea", 1.0 + n) for n in range(30)]
    rows += [(f"p{n}", pd.Timestamp("2024-05-21"), "LAB//hb", 9.0 + n % 5) for n in range(30)]
    pd.DataFrame(rows, columns=["subject_id", "time", "code", "numeric_value"]).to_parquet(tmp_path / "events.parquet")
    index = pd.DataFrame({"admitted": pd.Timestamp("2024-05-31")}, index=[f"p{n}" for n in range(30)])
    index.to_parquet(tmp_path / "index.parquet")
    index.iloc[:2].to_parquet(tmp_path / "two.parquet")
    (tmp_path / "c.toml").write_text('[events]\nlabs = { rule = "latest", codes = "LAB//*", within = "30D" }\n')
    common = ("--time", "admitted", "--after", "24h", "--config", tmp_path / "c.toml")
    done = run(
        "views", tmp_path / "events.parquet", "--index", tmp_path / "index.parquet", *common, "--out", tmp_path / "v"
    )
    assert done.exit_code == 0, done.output
    assert run("fit", tmp_path / "v", "--factors", 1, "--cross-fit", 0, "--out", tmp_path / "f.nc").exit_code == 0
    done = run(
        "views", tmp_path / "events.parquet", "--index", tmp_path / "two.parquet", *common,
        "--like", tmp_path / "f.nc", "--out", tmp_path / "w",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert list(pd.read_parquet(tmp_path / "w" / "labs.parquet").columns) == ["LAB//crea", "LAB//hb"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("fit", "nowhere"), 6, "nowhere"),
        (("fit", "{}/old", "--config", "{}/absent.toml"), 6, "absent.toml"),
        (("fit", "{}/old", "--engine", "guess"), 5, "guess"),
        (("project", "{}/model.toml", "{}/new"), 6, "model.toml"),
        (("risk", "{}/fit.nc", "{}/old/clinical.csv", "--outcome", "wish:x"), 4, "wish"),
        (("risk", "{}/fit.nc", "{}/old/clinical.csv", "--outcome", "binary:sex"), 3, "sex"),
        (("risk", "{}/fit.nc", "{}/old/clinical.csv", "--outcome", "count:event", "--covariate", "bmi"), 3, "bmi"),
        (("score", "{}/fit.nc", "{}/fit.nc", "{}/new"), 6, "not a risk model"),
        (("score", "{}/fit.nc", "{}/risk.nc", "{}/new", "--time", "1.0"), 3, "clinical"),
        (("project", "{}/fit.nc", "{}/new", "--out", "{}/factors.xlsx"), 6, "xlsx"),
        (("fit",), 2, ""),
    ],
)  # fmt: skip
def test_errors_end_with_the_code_of_their_kind(folder, fitted, risk_file, words, code, said):
    done = run(*(word.format(folder) for word in words))
    assert done.exit_code == code, done.output
    assert said in done.stderr


def test_an_error_in_the_log_for_machines_has_its_four_parts(folder):
    done = run("fit", "nowhere", "--log-json")
    line = json.loads(done.stderr.splitlines()[-1])
    assert line["level"] == "error"
    assert {"what", "got", "expected", "do", "kind"} <= set(line)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[rules]\n", "rules"), ("[model\n", "valid TOML"), ("[steps]\nrna = 3\n", "steps"),
        ('[steps]\nrna = ["polish"]\n', "polish"), ("[likelihoods]\nrna = 3\n", "likelihoods"),
        ("events = 3\n", "events"), ('[events]\nx = { rule = "guess" }\n', "guess"),
        ('[events]\nx = { rule = "mean", colour = 1 }\n', "colour"), ('[model]\nn_factors = "many"\n', "n_factors"),
    ],
)  # fmt: skip
def test_configurations_that_say_something_unknown_are_refused(tmp_path, text, said):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(SpecError, match=said):
        read_configuration(tmp_path / "c.toml")


def test_configuration_files_are_short_text(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="readable TOML"):
        read_configuration(tmp_path / "c.toml")
    (tmp_path / "c.toml").write_text("#" * 1_100_000)
    with pytest.raises(FileError, match="1 MB"):
        read_configuration(tmp_path / "c.toml")


def test_text_is_coded_against_its_first_level_and_unknown_levels_are_refused():
    table = pd.DataFrame({"sex": ["F", "M", None], "age": [1.0, 2.0, 3.0]}, index=["a", "b", "c"])
    coded = code_covariates(table, ["age", "sex"])
    assert coded.names == ["age", "sex=M"]
    assert coded.table["sex=M"].tolist()[:2] == [0.0, 1.0]
    assert np.isnan(coded.table["sex=M"].iloc[2])
    with pytest.raises(DataError, match="'X'"):
        code_covariates(table.assign(sex="X"), ["sex"], coded.levels)
    kept = find_complete(coded.table.assign(y=[1, 0, 1]), mb.Binary("y"), coded.names, ["a", "b", "c"])
    assert kept == ["a", "b"]


def test_outcomes_are_read_from_words():
    assert read_outcome("survival:t,e", "weibull") == mb.Survival("t", "e", baseline="weibull")
    assert read_outcome("ordinal:g,low,high", None) == mb.Ordinal("g", levels=("low", "high"))
    assert read_outcome("count:n", None) == mb.Count("n")
    for wrong in ("survival:t", "binary:", "ordinal:", "x"):
        with pytest.raises(SpecError):
            read_outcome(wrong, None)


def test_index_times_need_their_columns_and_a_duration():
    table = pd.DataFrame({"time": ["2024-01-01"]}, index=["a"])
    assert read_index(table, time="time", person=None, after="36h")["time"].iloc[0] == pd.Timestamp("2024-01-02 12:00")
    with pytest.raises(DataError, match="when"):
        read_index(table, time="when", person=None, after=None)
    with pytest.raises(SpecError, match="soon"):
        read_index(table, time="time", person=None, after="soon")
