"""What the report says of a fit, question by question: tables and the numbers of figures, nothing of one patient."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.explain import sharing, summarise, variance_explained
from mofa_bayes.export.report.features import collect_features
from mofa_bayes.export.report.scores import ScoreTable
from mofa_bayes.export.report.tables import Table, as_table
from mofa_bayes.posterior import Posterior
from mofa_bayes.posterior.diagnose import diagnose

_VERDICTS = {"believe": "Believe it", "with care": "Read it with care", "do not believe": "Do not believe it"}
LEAST_SHOWN = 5
"""Counts of fewer patients than this are not shown: who is in a small cell may be guessed."""

_N_REPLICATED = 50
"""Draws that are held against data: enough for shares of features and Pareto tails, at a tenth of the time of 500."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The answer to one question.

    Attributes
    ----------
    key, question
        Identifier and title.
    lead
        The answer in a sentence or two.
    facts
        Terms and what they are.
    tables
        Tables to show under the lead.
    notes
        What the reader should know besides.
    figures
        Name of a drawing in `assets/plots.js` -> its title.
    text
        A text to show as it is, under its title.
    """

    key: str
    question: str
    lead: str
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    figures: dict[str, str] = field(default_factory=dict)
    text: tuple[str, str] | None = None


Answer = tuple[Section, dict[str, Any]]
"""A section, and what its figures are drawn from."""


def describe_fit(post: Posterior, views: MultiView | None) -> Answer:
    """Say what was fitted."""
    sizes, attrs = post.factors().sizes, post.provenance
    groups = post.groups().to_series().value_counts()
    facts = [
        ("Engine", str(attrs["engine"])),
        ("Factors", f"{sizes['factor']} of at most {post.spec.n_factors}"),
        ("Subjects", f"{sizes['subject']:,}"),
        ("Draws", f"{sizes['chain'] * sizes['draw']:,}"),
        ("Seed", str(attrs.get("seed", "unknown"))),
        ("Made", f"{attrs.get('created', 'unknown')} by mofa_bayes {attrs.get('mofa_bayes', 'unknown')}"),
        ("Fingerprint", post.fingerprint[:16]),
    ]
    if len(groups) > 1:
        facts.insert(3, ("Groups", ", ".join(f"{name} ({_count(n)})" for name, n in groups.items())))
    table = post.summary().reset_index()
    percent = []
    if views is not None:
        table["missing within"] = views.missing()["fraction_missing_within"].loc[table["view"]].to_numpy()
        percent = ["missing within"]
    n_features = sum(len(post.features(view)) for view in post.views)
    lead = (
        f"{_plural(sizes['factor'], 'latent factor')} of {_plural(sizes['subject'], 'subject')}, learned from "
        f"{_plural(n_features, 'feature')} in {_plural(len(post.views), 'view')} by engine {attrs['engine']}."
    )
    return Section(
        key="fit",
        question="What was fitted?",
        lead=lead,
        facts=tuple(facts),
        tables=(as_table("Views", table, percent=percent),),
        text=("The model, as TOML", str(attrs["spec"])),
    ), {}


def judge_fit(post: Posterior, views: MultiView | None, *, seed: int) -> Answer:
    """Say whether to believe it."""
    found = diagnose(post, views, seed=seed, n_draws=_N_REPLICATED)
    table = found.table
    table["threshold"] = table["threshold"].astype(np.float64)
    data: dict[str, Any] = {}
    figures = {}
    if "bound" in post.tree.children["fit"]:
        data["bound"] = _thin(post.bound.values)
        figures["bound"] = "Evidence lower bound after each pass, in nats"
    passed = f"{sum(check.passed for check in found.checks)} of {len(found.checks)} checks passed"
    lead = f"{_VERDICTS[found.verdict]}: {passed}."
    if views is None and found.verdict == "believe":
        lead = f"Nothing was held against data; of the fit itself {passed}."
    return Section(
        key="belief",
        question="Should I believe it?",
        lead=lead,
        tables=(as_table("Checks", table),),
        notes=tuple(note[:1].upper() + note[1:] for note in (*found.reasons, *found.notes)),
        figures=figures,
    ), data


def explain_views(post: Posterior, *, level: float) -> Answer:
    """Say which factors explain how much of which views."""
    shares = variance_explained(post)
    total = summarise(shares["total"], level=level)
    total = total.set_index("view").loc[list(post.views)].reset_index()
    kinds = sharing(post).reset_index()
    by_factor = shares["by_factor"].mean(("chain", "draw")).transpose("view", "factor").values
    best = shares["total"].mean(("chain", "draw")).to_series()
    names = ", ".join(kinds.loc[kinds["kind"] == "shared", "factor"]) or "no factor"
    kinds["kind"] = kinds["kind"].str.replace("_", " ")
    percent = [name for name in kinds.columns.astype(str) if "probability" in name or name.startswith("active_")]
    lead = (
        f"The factors explain most of view {best.idxmax()} ({best.max() * 100:.0f} %) and least of {best.idxmin()} "
        f"({best.min() * 100:.0f} %); shared by all views: {names}."
    )
    return Section(
        key="variance",
        question="What explains what?",
        lead=lead,
        tables=(
            as_table(
                f"Variance of each view that all factors explain, with {100 * level:g} % intervals",
                total.drop(columns="level"),
                percent=["mean", "sd", "lower", "upper"],
            ),
            as_table("In which views each factor is active", kinds, percent=percent),
        ),
        notes=(
            "Shares are of the variance of the factors' part plus noise, per draw. Features that are not real-valued "
            "count on the scale of their linear predictor.",
        ),
        figures={"heatmap": "Share of each view's variance by factor: choose a cell to see its features"},
    ), {"heatmap": np.round(by_factor, 4).tolist()}


def list_features(post: Posterior, *, level: float) -> Answer:
    """Say which features carry the factors."""
    data = collect_features(post, level=level)
    n_found = int((np.asarray(data["fdr"]) <= 500).sum())
    lead = f"{n_found:,} loadings are found at an expected false discovery rate of 5 %."
    notes = [
        "Loadings are on the model's scale: standard deviations of a real-valued feature, or units of the linear "
        f"predictor, per standard deviation of the factor; intervals hold {100 * level:g} %. Surety is the "
        "probability that a loading is not zero under a sparse prior, and of its sign under a dense one.",
    ]
    if data["n_left_out"]:
        notes.append(f"The {data['n_left_out']:,} least sure loadings are not in this page.")
    return Section(key="features", question="Which features?", lead=lead, notes=tuple(notes)), {"features": data}


def list_patients(post: Posterior, scores: ScoreTable | None) -> Answer:
    """List each patient's factors and risk: only where asked for."""
    moments = post.factor_moments().sel(post.subjects)
    table = pd.DataFrame(moments.mean, columns=list(moments.factors))
    table.insert(0, "subject", list(moments.subjects))
    if scores is not None:
        names = {"estimate": scores.labels.estimate, "lower": "lower", "upper": "upper"}
        for place, own in scores.by_place():
            suffix = f" ({scores.labels.dim} {place})" if place else ""
            risk = own.set_index("subject").reindex(table["subject"])
            for name, shown in names.items():
                table[f"{shown}{suffix}"] = risk[name].to_numpy()
    return Section(
        key="patients",
        question="Who?",
        lead=f"Factors of {len(table):,} subjects (posterior means). This is patient-level data: keep it as such.",
        tables=(as_table("Subjects", table),),
    ), {}


def _plural(n: int, what: str) -> str:
    return f"{n:,} {what}" + "s" * (n != 1)


def _count(n: int) -> str:
    return str(n) if n >= LEAST_SHOWN else f"fewer than {LEAST_SHOWN}"


def _thin(values: np.ndarray, most: int = 400) -> list[list[float]]:
    """Points of a long trace, first and last among them, as positions from 1 and values."""
    kept = np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(np.intp))
    return [[int(k) + 1, round(float(values[k]), 3)] for k in kept]
