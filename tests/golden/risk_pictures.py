"""Figures of risks, of checks and of strategies at small size: what they show is drawn by numpy."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from scipy.stats import norm

import mofa_bayes as mb
from mofa_bayes import plot
from mofa_bayes.posterior.diagnose import Diagnosis
from mofa_bayes.posterior.diagnose.loo import LeaveOneOut
from mofa_bayes.posterior.diagnose.predictive import Predictive
from mofa_bayes.risk import Evaluation, FittedRisk, Risks, Scores
from mofa_bayes.risk.baselines import Weibull
from mofa_bayes.risk.inputs import Scaling
from mofa_bayes.risk.survival import SurvivalResponse
from mofa_bayes.validation import Fusion

OUTCOME = mb.Survival("months", "event", baseline="weibull")
N_PATIENTS = 120
MODELS = ("clinical", "early", "clinical + early", "intermediate", "late", "stacked")


def _make_scores() -> Scores:
    risk = np.linspace(0.05, 0.8, 30)[:, None]
    values = {"risk": risk, "lower": 0.6 * risk, "upper": np.minimum(1.3 * risk, 1)}
    values |= dict.fromkeys(("share_factors", "share_parameters", "share_outcome"), risk)
    cells = {name: (("subject", "time"), own) for name, own in values.items()}
    coords = {"subject": [f"p{n}" for n in range(30)], "time": [5.0]}
    return Scores(dataset=xr.Dataset(cells, coords=coords), level=0.95, provenance={})


def _make_patients() -> tuple[Risks, pd.DataFrame]:
    """Draws of risks at ten horizons, and what happened to these patients, the highest risks in one arm."""
    rng = np.random.default_rng(4)
    predictor = rng.normal(size=N_PATIENTS)
    waiting, censored = rng.exponential(30 / np.exp(predictor)), rng.uniform(12, 80, N_PATIENTS)
    clinical = pd.DataFrame(
        {
            "months": np.minimum(waiting, censored) + 0.01,
            "event": (waiting <= censored).astype(int),
            "arm": np.where(predictor > 0, "high", "low"),
        },
        index=[f"p{n}" for n in range(N_PATIENTS)],
    )
    times = np.linspace(6, 60, 10)
    slopes, levels = 1 + 0.25 * rng.normal(size=(40, 1, 1)), 0.25 * rng.normal(size=(40, 1, 1))
    hazard = np.exp(levels + slopes * predictor[:, None]) * times / 30
    return Risks(clinical.index, times, 1 - np.exp(-hazard)), clinical


def _evaluate() -> Evaluation:
    risks, clinical = _make_patients()
    return mb.evaluate(risks, clinical, OUTCOME, seed=0, times=[24.0], n_bootstrap=40)


def _draw_strata(ax: Axes) -> Axes:
    risks, clinical = _make_patients()
    return plot.plot_survival(risks, by=clinical["arm"], observed=(clinical, OUTCOME), ax=ax)


def _draw_patients(ax: Axes) -> Axes:
    risks, _ = _make_patients()
    return plot.plot_survival(risks, subjects=[f"p{n}" for n in range(3)], ax=ax)


def _make_fitted() -> FittedRisk:
    """Effects of four factors and two covariates, one of them of a large unit."""
    rng = np.random.default_rng(3)
    factors = ("F1", "F2", "F3", "F4")
    draws = {
        "effect_factors": ("factor", [0.8, -0.5, 0.1, 0.02] + 0.15 * rng.normal(size=(2, 30, 4))),
        "effect_covariates": ("covariate", [0.03, -0.4] + np.array([0.01, 0.3]) * rng.normal(size=(2, 30, 2))),
    }
    cells = {name: (("chain", "draw", dim), values) for name, (dim, values) in draws.items()}
    coords = {"factor": list(factors), "covariate": ["age", "treated"]}
    return FittedRisk(
        spec=mb.RiskModel(OUTCOME, ["age", "treated"]),
        response=SurvivalResponse(Weibull(20.0, 0.0), 60.0),
        tree=xr.DataTree.from_dict({"posterior": xr.Dataset(cells, coords=coords)}),
        scaling=Scaling(("age", "treated"), np.array([60.0, 0.5]), np.array([10.0, 0.5])),
        factors=factors,
        n_subjects=100,
        fingerprint="",
    )


def _make_contributions() -> pd.DataFrame:
    """One patient's parts: two views that were seen, one that was not, and two covariates."""
    rows = [
        ("rna", "view", True, 0.9, 0.2), ("meth", "view", True, -0.45, 0.15), ("mri", "view", False, 0.0, 0.0),
        ("age", "covariate", True, 0.3, 0.1), ("stage", "covariate", True, -0.1, 0.12),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["source", "kind", "is_seen", "contribution", "sd"])
    half = 1.96 * table["sd"]
    ends = {"lower": table["contribution"] - half, "upper": table["contribution"] + half}
    return table.assign(subject="p0", level=0.95, **ends)


def _make_diagnosis() -> Diagnosis:
    """Features of which a few lie outside their replications, and one subject on whom much hangs."""
    rng = np.random.default_rng(6)
    replicated = rng.gamma(9, 0.11, 60)
    half = 0.25 * replicated
    observed = replicated + half / 1.96 * rng.normal(size=60)
    table = pd.DataFrame(
        {
            "view": "rna",
            "feature": [f"rna_{n}" for n in range(60)],
            "statistic": "sd",
            "observed": observed,
            "replicated": replicated,
            "lower": replicated - half,
            "upper": replicated + half,
            "p": norm.sf(observed, replicated, half / 1.96),
        }
    )
    pareto_k = np.append(np.abs(rng.normal(0.25, 0.2, 59)), 0.95)
    return Diagnosis("vi", (), predictive=Predictive(table), loo=LeaveOneOut(-900.0, 20.0, 12.0, pareto_k, 0.66))


def _make_fusion() -> Fusion:
    """Six models by three metrics; differences are half as wide as the estimates' own intervals, being paired."""
    rng = np.random.default_rng(0)
    rows = []
    for metric, base, sd, sign in (
        ("c", 0.62, 0.05, 1),
        ("integrated_brier", 0.2, 0.02, -1),
        ("log_density", -3, 1, 1),
    ):
        for place, model in enumerate(MODELS):
            better = rng.normal(0.8, 1.3) * sd if place else 0.0
            estimate, half = base + sign * better, sd if place else 0.0
            ends = (estimate - 2 * sd, estimate + 2 * sd, 0.95, better, better - half, better + half)
            rows.append((model, metric, estimate, *ends))
    columns = ["model", "metric", "estimate", "lower", "upper", "level"]
    table = pd.DataFrame(rows, columns=[*columns, "difference", "difference_lower", "difference_upper"])
    return Fusion(table, dict.fromkeys(MODELS), MODELS[0])


RISK_PICTURES: Mapping[str, Callable[[Axes], Axes]] = {
    "risk": lambda ax: plot.plot_risk(_make_scores(), ax=ax),
    "survival_strata": _draw_strata,
    "survival_patients": _draw_patients,
    "effects": lambda ax: plot.plot_effects(_make_fitted(), ax=ax),
    "contributions": lambda ax: plot.plot_contributions(_make_contributions(), "p0", ax=ax),
    "calibration": lambda ax: plot.plot_calibration(_evaluate(), ax=ax),
    "decision": lambda ax: plot.plot_decision(_evaluate(), ax=ax),
    "risk_distribution": lambda ax: plot.plot_risk_distribution(_evaluate(), ax=ax),
    "predictive": lambda ax: plot.plot_predictive(_make_diagnosis(), "rna", ax=ax),
    "pareto_k": lambda ax: plot.plot_pareto_k(_make_diagnosis(), ax=ax),
}


def draw_fusion() -> list[Axes]:
    """Draw the panels of the strategies, in a figure of their own."""
    return plot.plot_fusion(_make_fusion())
