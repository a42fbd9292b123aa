"""From sections to one HTML file that asks nothing of any network."""

import base64
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from mofa_bayes.atomic import replacing
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import DataError
from mofa_bayes.explain.summarise import require_aligned, require_level
from mofa_bayes.export.report.risk import describe_risk
from mofa_bayes.export.report.scores import read_scores
from mofa_bayes.export.report.sections import (
    Answer,
    Section,
    describe_fit,
    explain_views,
    judge_fit,
    list_features,
    list_patients,
)
from mofa_bayes.posterior import Posterior
from mofa_bayes.risk import Evaluation, FittedRisk, Scores

_SCRIPTS = ("page.js", "plots.js", "features.js")


def write_report(
    post: Posterior,
    path: str | Path,
    *,
    views: MultiView | None = None,
    risk: FittedRisk | None = None,
    scores: Scores | pd.DataFrame | None = None,
    evaluation: Evaluation | None = None,
    include_patients: bool = False,
    level: float = 0.95,
    seed: int = 0,
) -> None:
    """Write one HTML file for a colleague who wants to click through a result: it opens without Python or a network.

    It answers in order what was fitted, whether to believe it, what explains what, which features and, where there is
    something of it, whose risk.

    Parameters
    ----------
    post
        A posterior with draws.
    path
        Where to write.
    views
        The data of the fit, to hold it against: see `diagnose`.
    risk
        A fitted risk model, for its effects.
    scores
        Scores of patients, or their table; shown as counts.
    evaluation
        From `evaluate`: how good the scores are.
    include_patients
        Add a table with every subject's identifier, factors and risk. Otherwise nothing of a single patient is in the
        file; features, groups and covariates are named.
    level
        Probability that intervals hold.
    seed
        Of replications that data are held against.

    Raises
    ------
    FitError
        The posterior holds means alone, or its draws are not aligned.
    DataError
        `views` are not those of the fit, or something is not of the kind that is asked for.
    FileError
        The file cannot be written there; what was there is untouched.
    """
    require_aligned(post)
    require_level(level)
    _require_kinds(risk, evaluation)
    if views is not None:
        _require_same(post, views)
    table = None if scores is None else read_scores(scores)
    answers = [
        describe_fit(post, views),
        judge_fit(post, views, seed=seed),
        explain_views(post, level=level),
        list_features(post, level=level),
    ]
    if risk is not None or table is not None or evaluation is not None:
        answers.append(describe_risk(risk, table, evaluation, level=level))
    if include_patients:
        answers.append(list_patients(post, table))
    page = _render(post, answers)
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")


def _require_kinds(risk: object, evaluation: object) -> None:
    for what, given, kind in (("risk", risk, FittedRisk), ("evaluation", evaluation, Evaluation)):
        if given is not None and not isinstance(given, kind):
            raise DataError(what, got=type(given).__name__, expected=f"a {kind.__name__}", do=f"Leave out {what}=...")


def _require_same(post: Posterior, views: object) -> None:
    if not isinstance(views, MultiView) or views.fingerprint != post.tree.attrs["data_fingerprint"]:
        raise DataError(
            "views",
            got="other data than the posterior was fitted to" if isinstance(views, MultiView) else type(views).__name__,
            expected="the MultiView of the fit",
            do="Pass what was given to mb.fit, or leave views out.",
        )


def _render(post: Posterior, answers: list[Answer]) -> str:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = files("mofa_bayes.export.report") / "assets"
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    data: dict[str, Any] = {"views": list(post.views), "factors": list(post.factor_names)}
    sections: list[Section] = []
    for section, own in answers:
        sections.append(section)
        data |= own
    # Everything that came from outside is escaped by the template; only our own assets and the JSON are not.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((folder / "report.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        title=f"{', '.join(post.views)}: {len(post.factor_names)} factor{'s' * (len(post.factor_names) > 1)}",
        sections=sections,
        views=post.views,
        factors=post.factor_names,
        style=Markup((folder / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_digest=digest,
        data=Markup(embed(data)),
    )


def embed(data: object) -> str:
    """Write JSON that cannot end the script element it stands in, nor start another."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
