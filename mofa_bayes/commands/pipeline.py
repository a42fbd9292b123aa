"""Commands on files: views, fit, project, risk, score. Heavy imports wait inside them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mofa_bayes.commands.journal import Journal
from mofa_bayes.watch import is_watched

if TYPE_CHECKING:
    import pandas as pd

    from mofa_bayes.data.multiview import MultiView
    from mofa_bayes.posterior import Posterior

app = typer.Typer()
_LEVELS = "covariate_levels"
Uninformative = Literal["drop", "keep"]
Json = Annotated[bool, typer.Option("--log-json", help="Write the log as JSON, one object per line.")]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="TOML with [model], [steps], [likelihoods], [events].", show_default=False),
]
Names = Annotated[
    list[str] | None, typer.Option("--view", help="A view to read, by file name; once for each; all when left out.")
]


@app.command()
def views(
    source: Annotated[
        Path, typer.Argument(help="MEDS events (file or folder), or a folder of OMOP tables.", show_default=False)
    ],
    index: Annotated[Path, typer.Option(help="Table of subjects with their index times.", show_default=False)],
    config: Annotated[Path, typer.Option("--config", help="TOML with a table [events] of rules.", show_default=False)],
    time: Annotated[str, typer.Option(help="Column of the index time.")] = "time",
    person: Annotated[str | None, typer.Option(help="Column of the person; the subject when left out.")] = None,
    after: Annotated[
        str | None, typer.Option(help="Move index times by this much, as 48h.", show_default=False)
    ] = None,
    omop: Annotated[bool, typer.Option("--omop", help="The source is a folder of OMOP tables.")] = False,
    like: Annotated[Path | None, typer.Option(help="Posterior whose features to make, for new patients.")] = None,
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("views"),
    log_json: Json = False,
) -> None:
    """Make views of clinical events before each subject's index time: one Parquet file for each rule."""
    journal = Journal(log_json)
    with journal.running("views"):
        import pandas as pd

        from mofa_bayes.atomic import make_folder
        from mofa_bayes.commands.configuration import read_configuration
        from mofa_bayes.commands.index import read_index
        from mofa_bayes.data.events import read_meds, read_omop, tabulate_events
        from mofa_bayes.data.readers import read_table_of_subjects
        from mofa_bayes.export import write_parquet

        rules = read_configuration(config).rules
        when = read_index(read_table_of_subjects(index), time=time, person=person, after=after)
        events = read_omop(source) if omop else read_meds(source)
        journal.tell("read events", rows=len(events))
        known = None if like is None else _features_of(_load(like), rules)
        found = tabulate_events(events, when, rules, features=known)
        folder = make_folder(out)
        for name in found.names:
            table = pd.DataFrame(found[name].values, index=list(found.subjects), columns=list(found.features(name)))
            write_parquet(table.dropna(how="all"), folder / f"{name}.parquet")
            journal.tell("wrote", path=folder / f"{name}.parquet", features=len(found.features(name)))


@app.command()
def fit(
    folder: Annotated[Path, typer.Argument(help="Folder of views, or an .h5mu or .h5ad file.", show_default=False)],
    config: Config = None,
    view: Names = None,
    factors: Annotated[int, typer.Option(help="Factors, where no model is given.")] = 10,
    engine: Annotated[str, typer.Option(help="vi, spectral, gibbs or nuts.")] = "vi",
    cross_fit: Annotated[int, typer.Option(help="Folds that calibrate projections (vi, spectral); 0 for none.")] = 20,
    shareable: Annotated[bool, typer.Option("--shareable", help="Leave out all that belongs to a patient.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("fit.nc"),
    log_json: Json = False,
) -> None:
    """Fit a factor model to a folder of views, and save its posterior."""
    journal = Journal(log_json)
    with journal.running("fit"):
        from mofa_bayes import cross_fitting
        from mofa_bayes.commands.configuration import read_configuration
        from mofa_bayes.data.steps import prepare
        from mofa_bayes.fitting import fit as fit_model
        from mofa_bayes.spec import FactorModel

        settings = read_configuration(config)
        cohort = _read(folder, view, settings.likelihoods, uninformative="drop")
        journal.tell("read views", subjects=cohort.n_subjects, views=", ".join(cohort.names))
        if settings.steps:
            cohort = prepare(cohort, settings.steps)
        spec = settings.model or FactorModel(n_factors=min(factors, max(cohort.n_subjects - 1, 1)))
        post = fit_model(cohort, spec, engine=engine, seed=seed, progress=not log_json)  # type: ignore[arg-type]
        journal.tell(
            "fitted",
            factors=len(post.factor_names),
            seconds=post.provenance["seconds"],
            converged=bool(post.provenance["converged"]),
        )
        if cross_fit and engine in ("vi", "spectral"):
            post = cross_fitting.cross_fit(
                post, cohort, n_folds=min(cross_fit, cohort.n_subjects // 2), seed=seed, progress=not log_json
            )
            journal.tell("cross-fitted", folds=cross_fit)
        post.save(out, shareable=shareable)
        journal.tell("wrote", path=out)


@app.command()
def project(
    fitted: Annotated[Path, typer.Argument(help="A posterior.", show_default=False)],
    folder: Annotated[
        Path, typer.Argument(help="Folder of views of new subjects, or a MuData file.", show_default=False)
    ],
    view: Names = None,
    level: Annotated[float, typer.Option(help="Probability of the intervals.")] = 0.95,
    out: Annotated[Path, typer.Option(help="File to write, .parquet or .csv.")] = Path("factors.parquet"),
    log_json: Json = False,
) -> None:
    """Infer the factors of new subjects: mean, sd and interval of each."""
    journal = Journal(log_json)
    with journal.running("project"):
        from mofa_bayes.export import tabulate_moments, write_table

        post = _load(fitted)
        moments = post.project(_read_new(folder, view, post))
        write_table(tabulate_moments(moments, level=level), out)
        journal.tell("wrote", path=out, subjects=len(moments.subjects))


@app.command()
def risk(
    fitted: Annotated[Path, typer.Argument(help="A posterior.", show_default=False)],
    clinical: Annotated[Path, typer.Argument(help="Table of outcomes and covariates.", show_default=False)],
    outcome: Annotated[str, typer.Option(help="survival:TIME,EVENT, binary:COLUMN, ...", show_default=False)],
    covariate: Annotated[list[str] | None, typer.Option(help="A covariate; once for each.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Baseline hazard of a survival outcome.")] = None,
    complete_only: Annotated[
        bool, typer.Option("--complete-only", help="Leave out subjects without outcome or covariates.")
    ] = False,
    draws: Annotated[int, typer.Option(help="Draws of each of four chains.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("risk.nc"),
    log_json: Json = False,
) -> None:
    """Fit a risk model to the subjects of a posterior, and save it."""
    journal = Journal(log_json)
    with journal.running("risk"):
        from mofa_bayes.commands.outcomes import code_covariates, find_complete, read_outcome
        from mofa_bayes.data.readers import read_table_of_subjects
        from mofa_bayes.risk import RiskModel

        post = _load(fitted)
        family = read_outcome(outcome, baseline)
        coded = code_covariates(read_table_of_subjects(clinical), covariate or [])
        moments = post.factor_moments()
        if complete_only:
            kept = find_complete(coded.table, family, coded.names, moments.subjects)
            journal.tell("left out subjects without outcome or covariates", subjects=len(moments.subjects) - len(kept))
            moments = moments.sel(kept)
        model = RiskModel(family, covariates=coded.names)
        progress = not log_json and is_watched()
        found = model.fit(moments, coded.table, seed=seed, n_draws=draws, progress=progress)
        found.tree.attrs[_LEVELS] = json.dumps({name: coded.levels.get(name) for name in covariate or []})
        found = replace(found, fingerprint=post.fingerprint)
        found.save(out)
        for row in found.effects().round(3).to_dict("records"):
            journal.tell("effect", **{str(name): value for name, value in row.items() if name != "level"})
        journal.tell("wrote", path=out, subjects=len(moments.subjects))


@app.command()
def score(
    fitted: Annotated[Path, typer.Argument(help="A posterior.", show_default=False)],
    model: Annotated[Path, typer.Argument(help="A risk model.", show_default=False)],
    folder: Annotated[
        Path, typer.Argument(help="Folder of views of new subjects, or a MuData file.", show_default=False)
    ],
    clinical: Annotated[Path | None, typer.Option(help="Table of covariates.", show_default=False)] = None,
    time: Annotated[list[float] | None, typer.Option(help="A horizon; once for each.")] = None,
    view: Names = None,
    level: Annotated[float, typer.Option(help="Probability of the intervals.")] = 0.95,
    out: Annotated[Path, typer.Option(help="File to write, .parquet or .csv.")] = Path("scores.parquet"),
    log_json: Json = False,
) -> None:
    """Score new subjects: risk, interval, and where the uncertainty comes from."""
    journal = Journal(log_json)
    with journal.running("score"):
        from mofa_bayes.commands.outcomes import code_covariates
        from mofa_bayes.data.readers import read_table_of_subjects
        from mofa_bayes.risk import load_risk

        post, known = _load(fitted), load_risk(model)
        moments = post.project(_read_new(folder, view, post))
        table = None
        if clinical is not None:
            levels = json.loads(known.tree.attrs.get(_LEVELS, "{}"))
            texts = {name: own for name, own in levels.items() if own is not None}
            table = code_covariates(read_table_of_subjects(clinical), list(levels), texts).table
        scores = known.predict(moments, table, times=time or None, level=level)
        scores.to_csv(out) if out.suffix == ".csv" else scores.to_parquet(out)
        journal.tell("wrote", path=out, subjects=len(moments.subjects))


def _load(path: Path) -> "Posterior":
    from mofa_bayes.posterior import load

    return load(path)


def _read(
    folder: Path, names: list[str] | None, likelihoods: Mapping[str, Any] | None, uninformative: Uninformative
) -> "MultiView":
    """Read a folder of tables, or a file of MuData or AnnData."""
    if folder.suffix in (".h5mu", ".h5ad"):
        from mofa_bayes.data.annotated import read_mudata

        return read_mudata(folder, views=names or None, likelihoods=likelihoods, uninformative=uninformative)
    from mofa_bayes.data.readers import read_views

    return read_views(folder, names=names or None, likelihoods=likelihoods, uninformative=uninformative)


def _read_new(folder: Path, names: list[str] | None, post: "Posterior") -> "MultiView | dict[str, pd.DataFrame]":
    """Read those views of new subjects that the posterior knows, as tables whose likelihoods are those of the fit."""
    if folder.suffix in (".h5mu", ".h5ad"):
        return _read(folder, names, None, "keep")
    from mofa_bayes.data.readers import read_frames

    return read_frames(folder, names=names or None, known=post.views)


def _features_of(post: "Posterior", rules: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    return {view: post.features(view) for view in post.views if view in rules}
