"""mofa-bayes on the command line. Heavy imports wait inside the commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mofa_bayes.commands.journal import exit_code_of
from mofa_bayes.commands.pipeline import app as pipeline
from mofa_bayes.errors import MofaBayesError, SpecError

if TYPE_CHECKING:
    import pandas as pd

    from mofa_bayes.checking import Sizes
    from mofa_bayes.data.multiview import MultiView

app = typer.Typer(
    name="mofa-bayes",
    help="Bayesian multi-view latent factor models for medicine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of the fit and of the risk model.")] = 0,
) -> None:
    """Fit a real breast-cancer cohort, score every patient, and write posterior, scores, biomarkers and figures."""
    console = Console()
    with console.status("loading the libraries"):
        from mofa_bayes.demo import HORIZONS, run_demo, tabulate_factors
    try:
        result = run_demo(out, seed=seed)
    except MofaBayesError as error:
        raise _fail(error) from error
    console.print(_as_table("Factors: % of variance explained per view", tabulate_factors(result.post).reset_index()))
    effects = result.effects.drop(columns="level").round(2)
    console.print(_as_table("Effect on the log hazard of distant metastasis, 95 % interval", effects))
    frame = result.scores.to_frame()
    shares = ["share_factors", "share_parameters", "share_outcome"]
    summary = frame.groupby("time")[["risk", *shares]].mean().round(3).loc[list(HORIZONS)].reset_index()
    console.print(_as_table("Scores: mean over patients, by horizon in years", summary))
    for path in result.files:
        console.print(f"wrote {escape(str(path))}", highlight=False, soft_wrap=True)


@app.command()
def check(
    features: Annotated[
        list[str] | None,
        typer.Option(help="A view as NAME=COUNT or NAME=COUNT:LIKELIHOOD; once for each.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of views whose sizes and missing entries to copy.", show_default=False)
    ] = None,
    engine: Annotated[str, typer.Option(help="Engine to check.")] = "vi",
    spec: Annotated[
        Path | None, typer.Option(help="Model as TOML; the default model when left out.", show_default=False)
    ] = None,
    subjects: Annotated[int, typer.Option(help="Subjects of each cohort.")] = 100,
    factors: Annotated[int, typer.Option(help="Factors, where no model is given.")] = 3,
    absent_view: Annotated[float, typer.Option(help="Share of subjects who lack a view.")] = 0.1,
    missing: Annotated[float, typer.Option(help="Share of other entries that are missing.")] = 0.05,
    replicates: Annotated[int, typer.Option(help="Cohorts to draw and fit.")] = 100,
    draws: Annotated[int, typer.Option(help="Draws of each fit.")] = 500,
    processes: Annotated[int, typer.Option(help="Cohorts fitted at the same time.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("check"),
) -> None:
    """Measure an engine's calibration: cohorts are drawn from the model, fitted, and the truth is looked for.

    Writes coverage.csv, ranks.csv, uniformity.csv, check.json and ranks.png.
    """
    console = Console()
    with console.status("loading the libraries"):
        from mofa_bayes.atomic import make_folder
        from mofa_bayes.checking import check_calibration
        from mofa_bayes.plot import plot_ranks, save_figure
        from mofa_bayes.spec import FactorModel
    try:
        result = check_calibration(
            FactorModel(n_factors=factors) if spec is None else FactorModel.from_toml(spec),
            _read_sizes(features or [], data, subjects, absent_view, missing),
            engine=engine,
            n_replicates=replicates,
            options={"n_draws": draws},
            seed=seed,
            n_processes=processes,
        )
        make_folder(out)
        written = [*result.save(out), out / "ranks.png"]
        save_figure(plot_ranks(result), written[-1])
    except MofaBayesError as error:
        raise _fail(error) from error
    wide = result.table.pivot_table(index="quantity", columns="level", values="coverage", sort=False).round(3)
    title = f"{engine}: coverage over {result.n_replicates} cohorts, by nominal level"
    console.print(_as_table(title, wide.reset_index()))
    uniform = result.uniformity.groupby("quantity", sort=False)["p_holm"].min().round(3).reset_index()
    console.print(_as_table("Uniform ranks: smallest p, after Holm", uniform))
    for note in result.notes:
        console.print(f"note: {escape(note)}", highlight=False, soft_wrap=True)
    for path in written:
        console.print(f"wrote {escape(str(path))}", highlight=False, soft_wrap=True)


@app.command()
def report(
    fit: Annotated[Path, typer.Argument(help="A posterior, as post.save wrote it.", show_default=False)],
    views: Annotated[
        Path | None,
        typer.Option(help="Folder (or .h5mu file) of the views of the fit, to hold it against.", show_default=False),
    ] = None,
    risk: Annotated[Path | None, typer.Option(help="A risk model, for its effects.", show_default=False)] = None,
    scores: Annotated[Path | None, typer.Option(help="Scores, a Parquet file.", show_default=False)] = None,
    include_patients: Annotated[
        bool, typer.Option("--include-patients", help="Add a table of subjects: patient-level data.")
    ] = False,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("report.html"),
) -> None:
    """Write one HTML page that answers what was fitted, whether to believe it and what follows; it opens offline."""
    console = Console()
    with console.status("loading the libraries"):
        from mofa_bayes.export import write_report
        from mofa_bayes.export.report.inputs import read_score_table, read_views_of
        from mofa_bayes.posterior import load
        from mofa_bayes.risk.files import load_risk
    try:
        post = load(fit)
        write_report(
            post,
            out,
            views=None if views is None else read_views_of(post, views),
            risk=None if risk is None else load_risk(risk),
            scores=None if scores is None else read_score_table(scores),
            include_patients=include_patients,
        )
    except MofaBayesError as error:
        raise _fail(error) from error
    console.print(f"wrote {escape(str(out))}", highlight=False, soft_wrap=True)


@app.command()
def models() -> None:
    """List the models of the zoo."""
    from mofa_bayes.zoo import list_models

    table = Table("model", "what it is", "source")
    for entry in list_models():
        table.add_row(entry.name, entry.title, entry.source)
    Console().print(table)


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Bayesian multi-view latent factor models for medicine."""
    if version:
        from importlib.metadata import version as installed

        Console().print(f"mofa-bayes {installed('mofa-bayes')}", highlight=False)
        raise typer.Exit


def _read_sizes(
    features: list[str], data: Path | None, subjects: int, absent_view: float, missing: float
) -> "Sizes | MultiView":
    """Read dimensions from options, or from a folder of views."""
    from mofa_bayes.checking import Sizes
    from mofa_bayes.data.readers import read_views

    if (data is None) == (not features):
        raise SpecError(
            "sizes of the cohorts",
            got="both --features and --data" if features else "neither --features nor --data",
            expected="one of them",
            do="Write --features rna=90 --features ehr=30:bernoulli.",
        )
    if data is not None:
        return read_views(data)
    counts: dict[str, int] = {}
    kinds: dict[str, str] = {}
    for text in features:
        name, _, rest = text.partition("=")
        count, _, kind = rest.partition(":")
        if not name or not count.isdigit():
            raise SpecError(
                "--features", got=repr(text), expected="NAME=COUNT or NAME=COUNT:LIKELIHOOD", do="Write rna=90."
            )
        counts[name] = int(count)
        kinds |= {name: kind} if kind else {}
    return Sizes(n_subjects=subjects, n_features=counts, likelihoods=kinds, absent_view=absent_view, missing=missing)


def _as_table(title: str, frame: "pd.DataFrame") -> Table:
    table = Table(*(str(column) for column in frame.columns), title=title, title_justify="left")
    for row in frame.itertuples(index=False):
        table.add_row(*(f"{cell:g}" if isinstance(cell, float) else escape(str(cell)) for cell in row))
    return table


def _fail(error: MofaBayesError) -> typer.Exit:
    Console(stderr=True).print(f"[bold red]error[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    return typer.Exit(code=exit_code_of(error))


app.add_typer(pipeline)
