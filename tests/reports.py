"""A full report of the session's cohort, for tests of the file and of the page."""

import html
import json
import re

import numpy as np
import pandas as pd
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.risk.fitted import FittedRisk
from mofa_bayes.risk.inputs import Scaling
from mofa_bayes.risk.scores import Scores


def read_data(path):
    """Read the JSON inside a report."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    return json.loads(html.unescape(found[1]))


def make_scores(post):
    """Scores of the cohort at two horizons, without a risk model behind them."""
    moments = post.factor_moments()
    linear = moments.mean[:, 0]
    times = np.array([2.0, 5.0])
    risk = 1 / (1 + np.exp(-(linear[:, None] + np.array([-1.5, -0.3]))))
    cells = {"risk": risk, "lower": 0.8 * risk, "upper": 0.8 * risk + 0.2}
    cells |= {f"share_{name}": np.full_like(risk, 1 / 3) for name in ("factors", "parameters", "outcome")}
    dataset = xr.Dataset(
        {name: (("subject", "time"), values) for name, values in cells.items()},
        coords={"subject": list(moments.subjects), "time": times},
    )
    dataset["linear_predictor"] = ("subject", linear)
    dataset["linear_predictor_sd"] = ("subject", np.ones_like(linear))
    return Scores(dataset=dataset, level=0.95, provenance={})


def make_risk(post):
    """A fitted risk model whose draws are made up: what a report says of it needs no sampling."""
    rng = np.random.default_rng(0)
    n_factors = len(post.factor_names)
    posterior = xr.Dataset(
        {
            "effect_factors": (("chain", "draw", "factor"), rng.normal(0.4, 0.2, (1, 200, n_factors))),
            "effect_covariates": (("chain", "draw", "covariate"), rng.normal(0.1, 0.1, (1, 200, 1))),
        },
        coords={"factor": list(post.factor_names), "covariate": ["age"]},
    )
    spec = mb.RiskModel(mb.Survival("time", "event"), covariates=["age"])
    return FittedRisk(
        spec=spec,
        response=Ratio(),
        tree=xr.DataTree.from_dict({"posterior": posterior}),
        scaling=Scaling(("age",), np.array([60.0]), np.array([9.0])),
        factors=post.factor_names,
        n_subjects=80,
        fingerprint="",
    )


class Ratio:
    """As much of a response as effects need."""

    ratio = "hazard_ratio"


def make_clinical(post):
    """Times and events that follow the scores."""
    rng = np.random.default_rng(3)
    linear = post.factor_moments().mean[:, 0]
    time = rng.exponential(5 * np.exp(-linear)).clip(0.01, 9)
    return pd.DataFrame({"time": time, "event": (time < 9).astype(int)}, list(post.factor_moments().subjects))


def write_full_report(post, cohort, path):
    """Write a report with everything in it that needs no patient rows."""
    scores = make_scores(post)
    evaluation = mb.evaluate(scores, make_clinical(post), mb.Survival("time", "event"), seed=0, n_bootstrap=20)
    mb.write_report(post, path, views=cohort.views, risk=make_risk(post), scores=scores, evaluation=evaluation)
