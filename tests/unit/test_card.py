"""A value shows itself as one line and one small table: nothing of a patient, nothing that a page would run."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.card import render_card
from mofa_bayes.risk import FittedRisk, RiskModel, Scores
from mofa_bayes.risk.inputs import Scaling

HOSTILE = '<img src=x onerror="alert(1)">&<script>alert(2)</script>'
VOID = {"img", "br"}


class Page(HTMLParser):
    """Reads a page: which tags it has, whether they are closed in order, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.text, self.styles = [], [], "", []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.styles += [value for name, value in attrs if name == "style"]
        assert all(name in ("style", "scope") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def fitted() -> FittedRisk:
    draws = {
        "effect_factors": (("chain", "draw", "factor"), np.ones((1, 4, 1))),
        "effect_covariates": (("chain", "draw", "covariate"), np.ones((1, 4, 1))),
    }
    return FittedRisk(
        spec=RiskModel(mb.Survival(HOSTILE, "event"), [HOSTILE + "age"]),
        response=type("Fake", (), {"ratio": "hazard_ratio"})(),
        tree=xr.DataTree.from_dict({"posterior": xr.Dataset(draws)}),
        scaling=Scaling((HOSTILE + "age",), np.zeros(1), np.ones(1)),
        factors=("F1",),
        n_subjects=77,
        fingerprint="",
    )


def make_scores(n_subjects: int) -> Scores:
    shares = ("share_factors", "share_parameters", "share_outcome")
    cells = {name: (("subject", "time"), np.full((n_subjects, 1), 0.0312)) for name in ("risk", "lower", *shares)}
    cells["upper"] = (("subject", "time"), np.full((n_subjects, 1), 0.5))
    coords = {"subject": [f"sentinel{n}" for n in range(n_subjects)], "time": [5.0]}
    return Scores(dataset=xr.Dataset(cells, coords=coords), level=0.95, provenance={})


def test_a_card_is_one_closed_table_without_colours_of_its_own():
    page = Page(render_card("<Thing: 3 parts>", pd.DataFrame({"x": [0.123456, np.nan], "y": ["a", "b"]})))
    assert page.tags.count("table") == page.tags.count("caption") == 1
    assert "Thing: 3 parts" in page.text
    assert "0.1235" in page.text
    assert "nan" not in page.text.lower()
    for style in page.styles:
        assert "background" not in style
        assert re.findall(r"color:(\w+)", style) in ([], ["inherit"])


def test_text_of_a_card_is_text_wherever_it_stands():
    table = pd.DataFrame({HOSTILE: [HOSTILE]}, index=pd.Index([HOSTILE], name=HOSTILE))
    page = Page(render_card(f"<{HOSTILE}>", table, notes=[HOSTILE]))
    assert {"img", "script"} & set(page.tags) == set()
    assert page.text.count(HOSTILE) == 6


def test_a_long_card_is_cut_and_says_so():
    page = Page(render_card("x", pd.DataFrame({"n": range(1000)}), index=False))
    assert page.tags.count("tr") == 61
    assert "940 more rows." in page.text


def test_a_card_heads_each_row_by_its_labels():
    index = pd.MultiIndex.from_tuples([("auc", 12.0), ("auc", 36.0)], names=["metric", "time"])
    page = Page(render_card("x", pd.DataFrame({"share": [0.5, 0.25]}, index=index), percent={"share"}))
    assert page.tags.count("th") == 3 + 4
    assert "50.0%" in page.text


def test_cohort_and_posterior_show_nobody(cohort, post):
    for value in (cohort.views, post):
        page = Page(value._repr_html_())
        assert page.tags.count("table") == 1
        shown = page.text + repr(value)
        assert not any(subject in shown for subject in cohort.views.subjects)
        for view in value.summary().index:
            assert view in page.text


def test_a_model_says_what_it_believes_and_can_be_read_back():
    spec = mb.FactorModel(n_factors=7, loadings=mb.ARD(), views={HOSTILE: mb.ViewModel(scale="none")})
    page = Page(spec._repr_html_())
    assert "script" not in page.tags
    assert f"scale of {HOSTILE}" in page.text
    assert spec.summary().loc["noise", "default"] == "default"
    assert spec.summary().loc["n_factors", "value"] == "7"
    assert repr(mb.FactorModel()) == "FactorModel(n_factors=10)"
    names = {name: getattr(mb, name) for name in ("FactorModel", "ViewModel", "ARD", "Gamma")}
    for own in (spec, mb.FactorModel(n_factors=3, scale_groups=True, noise=mb.Gamma(shape=2.0, rate=3.0))):
        assert eval(repr(own), names) == own
        assert "\n" not in repr(own)


def test_risk_models_escape_the_names_of_columns(fitted):
    for value in (fitted, fitted.spec):
        page = Page(value._repr_html_())
        assert {"img", "script"} & set(page.tags) == set()
        assert f"{HOSTILE}age" in page.text
    assert fitted.spec.summary().loc["method", "value"] == "marginal"


def test_scores_show_averages_of_some_patients_and_never_one():
    many, one = (Page(make_scores(n)._repr_html_()) for n in (8, 1))
    assert "0.0312" in many.text
    assert "mean_risk" in many.text
    assert "0.0312" not in one.text
    assert "at least 5 patients" in one.text
    assert "sentinel" not in many.text + one.text
