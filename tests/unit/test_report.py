"""The report as a file: what it says, that it is whole, and that nothing of a patient and nothing of a name escapes."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from reports import make_scores, read_data, write_full_report
from typer.testing import CliRunner

import mofa_bayes as mb
from mofa_bayes.cli import app
from mofa_bayes.commands.journal import exit_code_of
from mofa_bayes.errors import ConvergenceWarning, DataError, FileError, FitError
from mofa_bayes.export.report.features import MOST_ROWS, collect_features
from mofa_bayes.export.report.inputs import read_views_of
from mofa_bayes.export.report.risk import label_effects
from mofa_bayes.export.report.write import embed

EVIL = "</script><script>document.title='owned'</script>"


class Page(HTMLParser):
    """Collects what a page would fetch, and its visible text."""

    def __init__(self):
        super().__init__()
        self.links, self.text, self.inside = [], [], None

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        self.links += [
            (tag, name, value) for name, value in attrs if name in ("src", "href", "action", "data", "srcset")
        ]

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text.append(data)


def parse(path):
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


@pytest.fixture(scope="module")
def full(post, cohort, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_full_report(post, cohort, path)
    return path


def test_it_answers_the_five_questions_in_order(full):
    titles = re.findall(r"<h2>(.*?)</h2>", full.read_text())
    questions = ["What was fitted?", "Should I believe it?", "What explains what?", "Which features?", "Whose risk?"]
    assert titles == questions


def test_it_says_what_the_tables_of_the_package_say(full, post, cohort):
    text = " ".join(parse(full).text)
    assert mb.diagnose(post, cohort.views, n_draws=50).reasons[0].split(":")[0][1:] in text
    assert f"{len(post.factor_names)} latent factors of 80 subjects" in text
    assert "c_index" in text or "auc" in text.lower()
    data = read_data(full)
    found = mb.biomarkers(post)
    own = data["features"]
    assert len(own["mean"]) == len(found)
    for i in (0, 7, len(found) - 1):
        row = found.iloc[i]
        view = data["views"][own["view"][i]]
        assert (view, data["factors"][own["factor"][i]]) == (row["view"], row["factor"])
        assert own["names"][view][own["feature"][i]] == row["feature"]
        numbers = [own[name][i] * own["unit"] for name in ("mean", "lower", "upper")]
        np.testing.assert_allclose(numbers, row[["mean", "lower", "upper"]].astype(float), atol=own["unit"])
        shares = [1e4 * (1 - row["local_fdr"]), 1e4 * row["fdr"]]
        np.testing.assert_allclose([own["surety"][i], own["fdr"][i]], shares, atol=0.6)
    shares = mb.variance_explained(post)["by_factor"].mean(("chain", "draw")).transpose("view", "factor")
    np.testing.assert_allclose(data["heatmap"], shares.sel(view=list(post.views)), atol=1e-4)


def test_it_asks_nothing_of_any_network(full):
    page = parse(full)
    assert page.links == [("link", "href", "data:,")]
    source = full.read_text()
    assert not re.findall(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket|import\(|navigator\.", source)
    assert set(re.findall(r"https?://[^\s\"'<>]*", source)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in source


def test_nothing_of_a_patient_is_in_it(full, post, cohort):
    source = full.read_text()
    assert not [subject for subject in post.subjects if subject in source]
    scores = make_scores(post)
    shown = {f"{value:.6f}" for value in scores.dataset["risk"].values.ravel()}
    assert not [value for value in shown if value in source]
    counts = [count for curve in read_data(full)["scores"] for count in curve["counts"]]
    assert not [count for count in counts if 0 < count < 5]
    assert sum(counts) > 40


def test_patients_are_in_it_where_they_are_asked_for(post, tmp_path):
    path = tmp_path / "report.html"
    mb.write_report(post, path, scores=make_scores(post), include_patients=True)
    text = " ".join(parse(path).text)
    assert all(subject in text for subject in post.subjects)
    assert "patient-level data" in text
    mb.write_report(post, path, include_patients=True)
    assert "Whose risk?" not in path.read_text()


@pytest.mark.parametrize("labels", [("category", "probability"), ("response", "predicted")])
def test_scores_of_other_outcomes_are_reported(post, tmp_path, labels):
    dim, estimate = labels
    frame = make_scores(post).to_frame().rename(columns={"time": dim, "risk": estimate})
    frame[dim] = frame[dim].map({2.0: "<b>low</b>", 5.0: "high"})
    if estimate == "predicted":
        frame[["predicted", "lower", "upper"]] = 70 * frame[["predicted", "lower", "upper"]] + 20
    path = tmp_path / "report.html"
    mb.write_report(post, path, scores=frame, include_patients=True)
    curves = read_data(path)["scores"]
    assert [curve["place"] for curve in curves] == ["<b>low</b>", "high"]
    wide = curves[0]["low"] <= frame[estimate].min() and frame[estimate].max() <= curves[1]["high"]
    assert wide
    assert curves[0]["low"] == (20.0 if estimate == "predicted" else 0.0)
    assert "<b>low" not in path.read_text()
    assert f"{estimate} ({dim} high)" in path.read_text()


def test_effects_on_several_responses_are_told_apart(post):
    effects = pd.DataFrame(
        {"response": ["a", "b"], "term": ["F1", "F1"], "mean": [1.0, 2.0], "lower": 0.0, "upper": 3.0}
    )
    assert label_effects(effects)["label"].tolist() == ["F1, a", "F1, b"]


def test_small_groups_are_not_counted(cohort, tmp_path):
    views = cohort.views.keep_views(["rna"])
    subjects = [s for s, has in views.has_view("rna").to_series().items() if has]
    frame = pd.DataFrame(views["rna"].sel(subject=subjects).values, subjects, list(views.features("rna")))
    groups = pd.Series(np.where(np.arange(len(subjects)) < 3, "rare", "common"), subjects)
    grouped = mb.MultiView.from_frames({"rna": frame}, groups=groups)
    post = mb.fit(grouped, mb.FactorModel(n_factors=1), engine="vi", n_draws=30, progress=False)
    mb.write_report(post, tmp_path / "report.html")
    assert "rare (fewer than 5)" in (tmp_path / "report.html").read_text()


@pytest.fixture(scope="module")
def hostile():
    """Names that would end a script, an attribute or a string."""
    rng = np.random.default_rng(1)
    ids = [f"p{n}" for n in range(30)]
    values = rng.standard_normal((30, 1)) @ np.ones((1, 6)) + 0.3 * rng.standard_normal((30, 6))
    names = [EVIL, "a\"b'c", "<img src=x onerror=alert(1)>", "{{ 7*7 }}", "\u2028`${1}`", "é & ü"]
    groups = pd.Series(np.where(np.arange(30) % 2, EVIL, "other"), ids)
    views = mb.MultiView.from_frames({"lab": pd.DataFrame(values, ids, names)}, groups=groups)
    return views, mb.fit(views, mb.FactorModel(n_factors=1), n_draws=30, progress=False)


def test_names_that_look_like_html_stay_names(hostile, tmp_path):
    views, post = hostile
    path = tmp_path / "report.html"
    mb.write_report(post, path, views=views)
    source = path.read_text()
    assert EVIL not in source
    assert "<img" not in source
    assert source.count("<script") == 2
    data = read_data(path)
    assert sorted(data["features"]["names"]["lab"]) == sorted(views.features("lab"))
    assert "{{ 7*7 }}" in data["features"]["names"]["lab"]


def test_embedded_json_reads_back():
    value = {"a": [1, "</script>", "<!--", "\u2028", 'x"y', "&amp;"]}
    text = embed(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028") & set(text)
    with pytest.raises(ValueError, match="JSON"):
        embed([float("nan")])


def test_a_dense_prior_and_a_sampling_engine_are_reported(cohort, tmp_path):
    views = cohort.views.keep_views(["meth"])
    views = views.sel([s for s, has in views.has_view("meth").to_series().items() if has])
    settings = mb.Sampling(n_draws=60, n_tune=40, n_chains=1, n_jobs=1)
    spec = mb.FactorModel(n_factors=2, loadings=mb.ARD())
    post = mb.fit(views, spec, engine="gibbs", settings=settings, progress=False)
    mb.write_report(post, tmp_path / "report.html", level=0.8)
    source = (tmp_path / "report.html").read_text()
    assert "80 % intervals" in source
    assert "bound" not in read_data(tmp_path / "report.html")
    assert "Read it with care" in source or "Do not believe it" in source or "Nothing was held" in source


def test_of_many_rows_the_surest_are_shown(post, monkeypatch):
    whole = collect_features(post, level=0.95)
    assert whole["n_left_out"] == 0
    monkeypatch.setattr("mofa_bayes.export.report.features.MOST_ROWS", 25)
    part = collect_features(post, level=0.95)
    assert part["n_left_out"] == len(whole["mean"]) - 25
    assert part["mean"] == whole["mean"][:25]
    assert MOST_ROWS >= 50_000


def test_what_cannot_be_reported_is_refused(post, cohort, tmp_path):
    path = tmp_path / "report.html"
    with pytest.raises(DataError, match="MultiView of the fit"):
        mb.write_report(post, path, views=cohort.views.keep_views(["rna"]))
    with pytest.raises(DataError, match="risk: got dict"):
        mb.write_report(post, path, risk={})
    with pytest.raises(DataError, match="scores: got other columns"):
        mb.write_report(post, path, scores=pd.DataFrame({"risk": [0.2]}))
    frame = make_scores(post).to_frame()
    with pytest.raises(DataError, match="not from 0 to 1"):
        mb.write_report(post, path, scores=frame.assign(risk=1.2))
    with pytest.raises(DataError, match="level"):
        mb.write_report(post, path, level=95)
    tree = post.tree.copy()
    tree.attrs["aligned"] = 0
    with pytest.raises(FitError, match="not aligned"):
        mb.write_report(mb.Posterior(tree), path)
    with pytest.raises(FileError):
        mb.write_report(post, tmp_path / "absent" / "report.html")
    assert not path.exists()


def save_views(views, folder):
    folder.mkdir()
    for view in views.names:
        own = views[view].sel(subject=views.has_view(view))
        frame = pd.DataFrame(own.values, own["subject"].values, list(views.features(view)))
        frame.to_parquet(folder / f"{view}.parquet")


def test_the_command_line_writes_it(post, cohort, tmp_path):
    post.save(tmp_path / "fit.nc")
    make_scores(post).to_parquet(tmp_path / "scores.parquet")
    save_views(cohort.views, tmp_path / "views")
    out = tmp_path / "report.html"
    arguments = ["report", str(tmp_path / "fit.nc"), "--out", str(out), "--scores", str(tmp_path / "scores.parquet")]
    done = CliRunner().invoke(app, [*arguments, "--views", str(tmp_path / "views")])
    assert done.exit_code == 0, done.output
    assert "Whose risk?" in out.read_text()
    assert "replications" in out.read_text()
    (tmp_path / "scores.parquet").write_bytes(b"PAR1")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == exit_code_of(FileError("a", got="b", expected="c", do="d"))
    assert "Parquet" in done.stderr


def test_views_are_read_as_they_were_for_the_fit(cohort, tmp_path):
    """With the likelihoods and the preparation of the fit, from a folder or a MuData."""
    measured = cohort.views.keep_views(["ehr", "meth"])
    has = measured.has_view("ehr").values | measured.has_view("meth").values
    measured = measured.sel([s for s, own in zip(measured.subjects, has, strict=True) if own])
    prepared = mb.prepare(measured, {"meth": [mb.steps.Winsorise()]})
    settings = mb.Ascent(max_iterations=3)
    with pytest.warns(ConvergenceWarning):
        post = mb.fit(prepared, mb.FactorModel(n_factors=2), n_draws=20, settings=settings, progress=False)
    save_views(measured, tmp_path / "views")
    mb.to_mudata(post, measured).write(tmp_path / "views.h5mu")
    for place in ("views", "views.h5mu"):
        assert read_views_of(post, tmp_path / place).fingerprint == prepared.fingerprint
