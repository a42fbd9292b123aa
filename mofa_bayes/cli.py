"""mofa-bayes on the command line. Heavy imports wait inside the commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mofa_bayes.errors import MofaBayesError

if TYPE_CHECKING:
    import pandas as pd

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


def _as_table(title: str, frame: "pd.DataFrame") -> Table:
    table = Table(*(str(column) for column in frame.columns), title=title, title_justify="left")
    for row in frame.itertuples(index=False):
        table.add_row(*(f"{cell:g}" if isinstance(cell, float) else escape(str(cell)) for cell in row))
    return table


def _fail(error: MofaBayesError) -> typer.Exit:
    Console(stderr=True).print(f"[bold red]error[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    return typer.Exit(code=1)
