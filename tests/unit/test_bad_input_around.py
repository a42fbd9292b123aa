"""Bad input around the model: readers of other formats, preparation, cross-fitting, risk models, files, commands."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from misuse import Case, World, assert_refused
from typer.testing import CliRunner

import mofa_bayes as mb
from mofa_bayes.cli import app
from mofa_bayes.commands.configuration import read_configuration
from mofa_bayes.commands.index import read_index
from mofa_bayes.commands.journal import EXIT_CODES
from mofa_bayes.commands.outcomes import code_covariates, read_outcome
from mofa_bayes.data.annotated import read_mudata
from mofa_bayes.data.events import Latest, Presence, read_meds, read_omop, tabulate_events
from mofa_bayes.data.readers import read_frames
from mofa_bayes.data.simulate import Cohort
from mofa_bayes.data.steps import prepare
from mofa_bayes.errors import DataError, FileError, FitError, MofaBayesError, SpecError
from mofa_bayes.explain.genesets import read_gmt
from mofa_bayes.export import write_csv, write_parquet, write_table
from mofa_bayes.posterior.moments import FactorMoments

IDS = [f"p{n:04d}" for n in range(60)]
EVENTS = pd.DataFrame(
    {"subject_id": IDS, "time": pd.Timestamp("2024-01-01"), "code": "DX//a", "numeric_value": np.arange(60.0)}
)
WHEN = pd.Series(pd.Timestamp("2024-02-01"), index=IDS)
CLINICAL = pd.DataFrame(
    {"months": np.arange(1.0, 61), "dead": np.tile([0, 1], 30), "age": np.linspace(40, 80, 60), "sex": "f"}, index=IDS
)


@pytest.fixture
def world(tmp_path: Path, cohort: Cohort, post: mb.Posterior) -> World:
    return World(tmp_path, cohort, post)


def moments(n: int = 60) -> FactorMoments:
    mean = np.random.default_rng(0).standard_normal((n, 2))
    return FactorMoments(tuple(IDS[:n]), ("F1", "F2"), mean, 0.2 * np.eye(2)[None], np.zeros(n, dtype=np.intp))


def risk(outcome: object, covariates: tuple[str, ...] = (), clinical: pd.DataFrame = CLINICAL) -> object:
    return mb.RiskModel(outcome, covariates=list(covariates)).fit(moments(), clinical, seed=0, progress=False)


def events(**columns: object) -> mb.MultiView:
    return tabulate_events(EVENTS.assign(**columns), WHEN, {"dx": Presence("DX//*")})


def long(**columns: object) -> mb.MultiView:
    table = pd.DataFrame({"subject": IDS, "feature": "x", "value": np.arange(60.0), "view": "labs"})
    return mb.read_long(table.assign(**columns))


def prepared(world: World, plan: object) -> mb.MultiView:
    return prepare(world.cohort.views, plan)


def annotated(**options: object) -> mb.MultiView:
    anndata = pytest.importorskip("anndata")
    own = anndata.AnnData(np.arange(12.0, dtype=np.float32).reshape(4, 3) ** 2)
    own.obs["site"] = list("aabb")
    return read_mudata(own, **options)


def mask() -> object:
    nibabel = pytest.importorskip("nibabel")
    return nibabel.Nifti1Image(np.ones((2, 2, 2), dtype=np.uint8), np.eye(4))


def configured(world: World, text: str) -> object:
    return read_configuration(world.write(c__toml=text) / "c.toml")


READERS = [
    Case("events of no table", lambda w: tabulate_events([1], WHEN, {"dx": Presence()}), DataError, "list"),
    Case("events without patients", lambda w: events(subject_id=None), DataError, "without subject_id"),
    Case("events at no time", lambda w: events(time="soon"), DataError, "timestamps"),
    Case("events after the index", lambda w: events(time=pd.Timestamp("2025-01-01")), DataError, "none before"),
    Case("a flag that everybody has", lambda w: events(), DataError, "constant"),
    Case("events of others", lambda w: events(subject_id=[f"q{n}" for n in range(60)]), DataError, "subject_id"),
    Case("one table's rule a text", lambda w: tabulate_events(EVENTS, WHEN, {"dx": "DX//*"}), DataError, "rules"),
    Case("an event view ../x", lambda w: tabulate_events(EVENTS, WHEN, {"../x": Presence()}), DataError, "'../x'"),
    Case("a window in words", lambda w: Latest("LAB//*", within="soon"), SpecError, "duration"),
    Case("no MEDS file", lambda w: read_meds(w.folder / "none.parquet"), FileError, "none.parquet"),
    Case("MEDS garbage", lambda w: read_meds(w.write(e__parquet=b"garbage" * 9) / "e.parquet"), FileError, "e.parquet"),
    Case("an empty OMOP folder", lambda w: read_omop(w.folder), FileError, "folder"),
    Case("a long view ../x", lambda w: long(view="../x"), DataError, "'../x'"),
    Case("long values in words", lambda w: long(value="high"), DataError, "labs"),
    Case("long cells twice", lambda w: long(subject=IDS[0]), DataError, "given twice"),
    Case("a long table that is none", lambda w: mb.read_long(None), DataError, "NoneType"),
    Case("no h5mu", lambda w: read_mudata(w.folder / "none.h5mu"), FileError, "none.h5mu"),
    Case("h5mu garbage", lambda w: read_mudata(w.write(x__h5mu=b"garbage" * 99) / "x.h5mu"), FileError, "x.h5mu"),
    Case("annotated data that are none", lambda w: read_mudata([1, 2]), DataError, "list"),
    Case("an unknown modality", lambda w: annotated(views=["rna"]), DataError, "'rna'"),
    Case("an unknown layer", lambda w: annotated(layers={"X": "counts"}), DataError, "'counts'"),
    Case("marks that are no flags", lambda w: annotated(subjects="site"), DataError, "boolean"),
    Case("a covariate in words", lambda w: annotated(covariates=["site"]), DataError, "'site'"),
    Case("image features of nothing", lambda w: mb.read_image_features(w.folder / "x.csv"), FileError, "x.csv"),
    Case("no volumes", lambda w: mb.read_volumes({}, mask()), DataError, "volumes"),
    Case("volumes in a list", lambda w: mb.read_volumes([mask()], mask()), DataError, "mapping"),
    Case(
        "a volume that is text",
        lambda w: mb.read_volumes({"p0001": w.write(v__nii="text") / "v.nii"}, mask()),
        FileError,
        "volume 1 of 1",
    ),
    Case(
        "a view of a path", lambda w: read_frames(w.write(rna__csv="id,a\n1,2\n"), names=["../rna"]), FileError, "../"
    ),
    Case("sets that are no GMT", lambda w: read_gmt(w.write(x__gmt="a b c\n") / "x.gmt"), FileError, "line 1"),
]

PREPARATION = [
    Case("steps in a list", lambda w: prepared(w, ["log1p"]), SpecError, "mapping"),
    Case("steps of an unknown view", lambda w: prepared(w, {"mri": []}), SpecError, "mri"),
    Case("a step by name", lambda w: prepared(w, {"rna": ["log1p"]}), SpecError, "log1p"),
    Case("logs of negative values", lambda w: prepared(w, {"rna": [mb.steps.Log1p()]}), DataError, "range"),
    Case("no cross-fit without views", lambda w: mb.cross_fit(w.post, None), FitError, "NoneType"),
    Case("cross-fit of no posterior", lambda w: mb.cross_fit(None, w.cohort.views), FitError, "NoneType"),
    Case("two folds", lambda w: mb.cross_fit(w.post, w.cohort.views, n_folds=2), FitError, "n_folds"),
    Case("no cross-fit yet", lambda w: w.post.inflation, FitError, "cross_fit"),
]

RISK = [
    Case("an outcome in words", lambda w: mb.RiskModel("dead"), SpecError, "dead"),
    Case("an unknown column", lambda w: risk(mb.Binary("died")), DataError, "'died'"),
    Case("an unknown covariate", lambda w: risk(mb.Binary("dead"), ("height",)), DataError, "'height'"),
    Case("a covariate of words", lambda w: risk(mb.Binary("dead"), ("sex",)), DataError, "'sex'"),
    Case("patients without outcome", lambda w: risk(mb.Binary("dead"), clinical=CLINICAL[:10]), DataError, "50 of 60"),
    Case("one column for time and event", lambda w: mb.Survival("dead", "dead"), SpecError, "different columns"),
    Case("a count of halves", lambda w: risk(mb.Count("age")), DataError, "age"),
    Case("an unknown baseline", lambda w: mb.Survival("months", "dead", baseline="flat"), SpecError, "flat"),
    Case("no clinical table", lambda w: risk(mb.Binary("dead"), clinical=None), DataError, "NoneType"),
    Case("no factors", lambda w: mb.RiskModel(mb.Binary("dead")).fit(None, CLINICAL, seed=0), DataError, "NoneType"),
]


def foreign(world: World) -> Path:
    path = world.folder / "foreign.nc"
    xr.Dataset({"x": ("n", [1.0])}, attrs={"schema_version": 2, "risk": "{}"}).to_netcdf(path, engine="h5netcdf")
    return path


TABLE = pd.DataFrame({"a": [1.0]})
FILES = [
    Case("sharing nowhere", lambda w: w.post.save(w.folder / "no" / "x.nc", shareable=True), FileError, "x.nc"),
    Case("a posterior for a risk model", lambda w: mb.load_risk(w.saved()), FileError, "not a risk model"),
    Case("foreign NetCDF for a risk model", lambda w: mb.load_risk(foreign(w)), FileError, "risk model"),
    Case("no risk model", lambda w: mb.load_risk(w.folder), FileError, "nothing there"),
    Case("CSV nowhere", lambda w: write_csv(TABLE, w.folder / "no" / "x.csv"), FileError, "x.csv"),
    Case("Parquet over a folder", lambda w: write_parquet(TABLE, w.folder), FileError, "directory"),
    Case("a spreadsheet", lambda w: write_table(TABLE, w.folder / "x.xlsx"), FileError, ".xlsx"),
]

COMMANDS = [
    Case("an unknown table", lambda w: configured(w, "[wishes]\n"), SpecError, "wishes"),
    Case("half a table", lambda w: configured(w, "[model"), SpecError, "TOML"),
    Case("a rule by number", lambda w: configured(w, "[events]\nx = 3\n"), SpecError, "events"),
    Case("a step by number", lambda w: configured(w, "[steps]\nrna = [3]\n"), SpecError, "3"),
    Case("a rule's codes a number", lambda w: configured(w, '[events]\nx = {rule="mean", codes=3}\n'), SpecError, "3"),
    Case("a window of -1", lambda w: configured(w, '[events]\nx = {rule="mean", within=-1}\n'), SpecError, "-1"),
    Case("no outcome", lambda w: read_outcome("", None), SpecError, "outcome"),
    Case("half an outcome", lambda w: read_outcome("survival:t", None), SpecError, "survival:t"),
    Case("no covariate", lambda w: code_covariates(CLINICAL, ["height"]), DataError, "'height'"),
    Case(
        "no index time",
        lambda w: read_index(CLINICAL, time="when", person=None, after=None),
        DataError,
        "'when'",
    ),
]

CASES = [*READERS, *PREPARATION, *RISK, *FILES, *COMMANDS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_refused_by_an_error_that_says_what_to_do(case: Case, world: World) -> None:
    assert_refused(case, world)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("fit", "."), FileError),
        (("fit", ".", "--view", "../rna"), FileError),
        (("project", "c.toml", "."), FileError),
        (("score", "c.toml", "c.toml", "."), FileError),
        (("risk", "c.toml", "clinical.csv", "--outcome", "binary:dead"), FileError),
        (("views", "c.toml", "--index", "clinical.csv", "--config", "c.toml"), MofaBayesError),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value.__name__,
)
def test_a_command_ends_with_a_code_and_a_sentence(
    words: tuple[str, ...], error: type[MofaBayesError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.toml").write_text("[model]\nn_factors = 2\n")
    CLINICAL.to_csv(tmp_path / "clinical.csv")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, list(words))
    codes = set(EXIT_CODES.values()) if error is MofaBayesError else {EXIT_CODES[error]}
    assert done.exit_code in codes
    assert "expected" in done.stderr
    assert "Traceback" not in done.stderr
