"""Every bad input is refused by an error of ours that says what, got, expected, do, and names few patients."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import mofa_bayes as mb
from mofa_bayes.data.outcomes import read_binary, read_causes, read_entry, read_intervals, read_times
from mofa_bayes.data.simulate import Cohort, Design
from mofa_bayes.errors import DataError, FileError, FitError, MofaBayesError, SpecError

IDS = [f"p{n:04d}" for n in range(60)]
A_PATIENT = re.compile(r"p\d{4}\b")


@dataclass
class World:
    """What a case may use: an empty folder, a cohort, a fit of it."""

    folder: Path
    cohort: Cohort
    post: mb.Posterior

    def write(self, **files: pd.DataFrame | str | bytes) -> Path:
        """Fill the folder: `rna__csv=...` becomes rna.csv."""
        for name, content in files.items():
            path = self.folder / name.replace("__", ".")
            if isinstance(content, str):
                path.write_text(content)
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                content.to_parquet(path)
        return self.folder

    def saved(self) -> Path:
        path = self.folder / "fit.nc"
        self.post.save(path)
        return path


@dataclass
class Case:
    """One misuse: what to call, the error it must raise, and what its message must name."""

    name: str
    call: Callable[[World], object]
    error: type[MofaBayesError]
    names: str = field(default="")


@pytest.fixture
def world(tmp_path: Path, cohort: Cohort, post: mb.Posterior) -> World:
    return World(tmp_path, cohort, post)


def table(ids: Iterable[object] = IDS, columns: Iterable[object] = ("a", "b", "c"), seed: int = 0) -> pd.DataFrame:
    ids, columns = list(ids), list(columns)
    values = np.random.default_rng(seed).standard_normal((len(ids), len(columns)))
    return pd.DataFrame(values, index=ids, columns=columns)


def frames(rna: object, **keywords: object) -> mb.MultiView:
    return mb.MultiView.from_frames({"rna": rna}, **keywords)


def with_column(name: str, values: object) -> pd.DataFrame:
    return table().assign(**{name: values})


def several(outer: Iterable[object], inner: Iterable[object]) -> pd.MultiIndex:
    return pd.MultiIndex.from_product([list(outer), list(inner)])


COUNTS = np.tile([0, 1, 5], 20)
FLAGS = np.tile([0, 1], 30)
CLINICAL = pd.DataFrame({"months": np.arange(1.0, 61), "dead": FLAGS, "age": 50.0, "sex": "f"}, index=IDS)


def clinical(**columns: object) -> pd.DataFrame:
    return CLINICAL.assign(**columns)


def times(world: World, *, ids: Iterable[str] = IDS, **columns: object) -> object:
    return read_times(clinical(**columns), "months", "dead", list(ids))


def binary(world: World, *, ids: Iterable[str] = IDS, **columns: object) -> object:
    return read_binary(clinical(**columns), "dead", list(ids))


def entry(world: World, values: object) -> object:
    return read_entry(clinical(since=values), "since", IDS, CLINICAL["months"].to_numpy())


def bounds(world: World, lower: object = 1.0, upper: object = 2.0) -> object:
    return read_intervals(clinical(first=lower, last=upper), "first", "last", IDS)


def causes(world: World, **columns: object) -> object:
    return read_causes(clinical(**columns), "months", "dead", IDS)


def competing(world: World, causes: object = None, **columns: object) -> object:
    outcome = mb.CompetingRisks("months", "dead", causes)
    return outcome.learn(outcome.read(clinical(**columns), IDS))


def clinical_of(world: World) -> pd.DataFrame:
    subjects = world.post.factor_moments().subjects
    rows = np.arange(len(subjects))
    return pd.DataFrame({"months": rows + 1.0, "dead": rows % 3, "age": rows % 7}, index=list(subjects))


def with_first(value: float, rest: float) -> list[float]:
    return [value, *[rest] * 59]


A_VIEW = [
    Case("no views", lambda w: mb.MultiView.from_frames({}), DataError, "views"),
    Case("a bare frame", lambda w: mb.MultiView.from_frames(table()), DataError, "DataFrame"),
    Case("a list of frames", lambda w: mb.MultiView.from_frames([table()]), DataError, "list"),
    Case("an array", lambda w: frames(np.ones((3, 2))), DataError, "ndarray"),
    Case("a series", lambda w: frames(pd.Series(1.0, index=IDS)), DataError, "Series"),
    Case("no rows", lambda w: frames(table([])), DataError, "(0, 3)"),
    Case("no columns", lambda w: frames(table(columns=[])), DataError, "(60, 0)"),
    Case("duplicate ids", lambda w: frames(table([*IDS, IDS[7]])), DataError, "p0007"),
    Case("ids equal as text", lambda w: frames(table([1, "1", 2])), DataError, "'1'"),
    Case("duplicate columns", lambda w: frames(table(columns=["a", "b", "a"])), DataError, "'a'"),
    Case("columns equal as text", lambda w: frames(table(columns=[1, "1"])), DataError, "column names"),
    Case(
        "MultiIndex of subjects", lambda w: frames(table().set_axis(several(IDS, "x"), axis=0)), DataError, "MultiIndex"
    ),
    Case(
        "MultiIndex of columns",
        lambda w: frames(table().set_axis(several("abc", "x"), axis=1)),
        DataError,
        "MultiIndex",
    ),
    Case("a missing id", lambda w: frames(table([*IDS, None])), DataError, "subject ids of view 'rna'"),
    Case("a missing id among dates", lambda w: frames(table([pd.NaT, pd.Timestamp(0)])), DataError, "1 missing"),
    Case("a missing column name", lambda w: frames(table(columns=["a", np.nan])), DataError, "column names"),
    Case("a null character in an id", lambda w: frames(table(["q", "q\0"])), DataError, "subject ids"),
    Case("a lone surrogate in a column", lambda w: frames(table(columns=["a", "\ud800"])), DataError, "column names"),
    Case("a string column", lambda w: frames(with_column("stage", "II")), DataError, "stage"),
    Case("an object column", lambda w: frames(table().astype(object)), DataError, "'a', 'b', 'c'"),
    Case("a complex column", lambda w: frames(with_column("wave", 1j)), DataError, "wave"),
    Case("a datetime column", lambda w: frames(with_column("seen", pd.Timestamp(0))), DataError, "seen"),
    Case("a duration column", lambda w: frames(with_column("stay", pd.Timedelta(1))), DataError, "stay"),
    Case("a categorical column", lambda w: frames(with_column("arm", pd.Categorical(FLAGS))), DataError, "arm"),
    Case("an infinite value", lambda w: frames(with_column("crp", [np.inf, *FLAGS[1:]])), DataError, "crp"),
    Case(
        "an infinite nullable value",
        lambda w: frames(with_column("crp", pd.array([-np.inf, *FLAGS[1:]], dtype="Float64"))),
        DataError,
        "crp",
    ),
    Case("a constant feature", lambda w: frames(with_column("site", 3.0)), DataError, "site"),
    Case("an all-missing feature", lambda w: frames(with_column("il6", np.nan)), DataError, "il6"),
    Case("one value among missing", lambda w: frames(with_column("il6", [4.0] + [np.nan] * 59)), DataError, "il6"),
    Case("nothing left to drop", lambda w: frames(table() * 0, uninformative="drop"), DataError, "3 columns"),
    Case(
        "constant among common subjects",
        lambda w: mb.MultiView.from_frames(
            {"rna": with_column("late", [0.0] * 30 + [1.0] * 30), "ehr": table(IDS[:30])}, subjects="common"
        ),
        DataError,
        "late",
    ),
    Case(
        "no common subjects",
        lambda w: mb.MultiView.from_frames({"rna": table(IDS[:30]), "ehr": table(IDS[30:])}),
        DataError,
        "'rna'",
    ),
    Case(
        "no subject whom every view has",
        lambda w: mb.MultiView.from_frames(
            {"rna": table(IDS[:40]), "ehr": table(IDS[20:]), "lab": table(IDS[:20] + IDS[40:])}, subjects="common"
        ),
        DataError,
        "common",
    ),
    *(
        Case(f"view name {name!r:.12}", lambda w, n=name: mb.MultiView.from_frames({n: table()}), DataError, repr(name))
        for name in ("a/b", "con", "", "LPT1", "nul.gz", "a.", ".a", "a b", "é", "..", "x\n", 3, None, "a" * 65)
    ),
    Case("unknown way with subjects", lambda w: frames(table(), subjects="all"), DataError, "'all'"),
    Case("unknown way with features", lambda w: frames(table(), uninformative="ignore"), DataError, "'ignore'"),
    Case("selecting unknown subjects", lambda w: frames(table()).sel(["p9999"]), DataError, "p9999"),
    Case("selecting a subject twice", lambda w: frames(table()).sel(IDS[:1] * 2), DataError, "twice"),
    Case("selecting nobody", lambda w: frames(table()).sel([]), DataError, "none"),
    Case("keeping an unknown view", lambda w: frames(table()).keep_views(["ehr"]), DataError, "'ehr'"),
    Case("keeping no view", lambda w: frames(table()).keep_views([]), DataError, "none"),
    Case("values of an unknown view", lambda w: frames(table())["ehr"], DataError, "'ehr'"),
    Case("features of an unknown view", lambda w: frames(table()).features("ehr"), DataError, "'ehr'"),
    Case("likelihoods of an unknown view", lambda w: frames(table()).likelihoods("ehr"), DataError, "'ehr'"),
]

LIKELIHOODS = [
    Case("likelihoods as text", lambda w: frames(table(), likelihoods="gaussian"), DataError, "likelihoods"),
    Case("likelihoods as a frame", lambda w: frames(table(), likelihoods=table()), DataError, "DataFrame"),
    Case("a likelihood as a number", lambda w: frames(table(), likelihoods={"rna": 3}), DataError, "int"),
    Case("unknown view", lambda w: frames(table(), likelihoods={"ehr": "gaussian"}), DataError, "'ehr'"),
    Case("unknown column", lambda w: frames(table(), likelihoods={"rna": {"z": "gaussian"}}), DataError, "'z'"),
    Case("unknown likelihood", lambda w: frames(table(), likelihoods={"rna": "cauchy"}), DataError, "'cauchy'"),
    Case("unknown for a column", lambda w: frames(table(), likelihoods={"rna": {"b": "cauchy"}}), DataError, "'b'"),
    Case("a list for a column", lambda w: frames(table(), likelihoods={"rna": {"b": ["poisson"]}}), DataError, "'b'"),
    Case(
        "bernoulli with 0.5",
        lambda w: frames(with_column("flag", np.tile([0.5, 1.0], 30)), likelihoods={"rna": {"flag": "bernoulli"}}),
        DataError,
        "0.5",
    ),
    *(
        Case(
            f"{kind} with {wrong}",
            lambda w, k=kind, v=wrong: frames(with_column("n", [v, *COUNTS[1:]]), likelihoods={"rna": {"n": k}}),
            DataError,
            f"declared {kind}",
        )
        for kind in ("poisson", "negative_binomial", "ordinal")
        for wrong in (-1, 1.5)
    ),
]

GROUPS_AND_COVARIATES = [
    Case("groups as a list", lambda w: frames(table(), groups=["x"] * 60), DataError, "list"),
    Case("groups with NaN", lambda w: frames(table(), groups=pd.Series(["x", None] * 30, index=IDS)), DataError, "30"),
    Case("groups of others", lambda w: frames(table(), groups=pd.Series("x", index=IDS[1:])), DataError, "p0000"),
    Case("groups twice", lambda w: frames(table(), groups=pd.Series("x", index=IDS * 2)), DataError, "duplicates"),
    Case(
        "groups under a MultiIndex",
        lambda w: frames(table(), groups=pd.Series("x", index=several(IDS, "x"))),
        DataError,
        "MultiIndex",
    ),
    Case("covariates as a series", lambda w: frames(table(), covariates=CLINICAL["age"]), DataError, "Series"),
    Case(
        "covariates with NaN",
        lambda w: frames(table(), covariates=clinical(age=[np.nan, *FLAGS[1:]])[["age"]]),
        DataError,
        "'age'",
    ),
    Case("covariates in words", lambda w: frames(table(), covariates=CLINICAL[["sex"]]), DataError, "'sex'"),
    Case(
        "infinite covariates",
        lambda w: frames(table(), covariates=clinical(age=np.inf)[["age"]]),
        DataError,
        "'age'",
    ),
    Case("covariates absent", lambda w: frames(table(), covariates=CLINICAL[["age"]][1:]), DataError, "p0000"),
    Case("covariates twice", lambda w: frames(table(), covariates=table(IDS * 2)), DataError, "duplicates"),
    Case(
        "covariate names twice",
        lambda w: frames(table(), covariates=table(columns=["age", "age"])),
        DataError,
        "'age'",
    ),
]

FILES = [
    Case("no folder", lambda w: mb.read_views(w.folder / "nowhere"), FileError, "nowhere"),
    Case("a file for a folder", lambda w: mb.read_views(w.write(rna__csv="") / "rna.csv"), FileError, "rna.csv"),
    Case("empty folder", lambda w: mb.read_views(w.folder), FileError, "no view"),
    Case("only a clinical table", lambda w: mb.read_views(w.write(clinical__parquet=table())), FileError, "no view"),
    Case("no clinical table", lambda w: mb.read_clinical(w.write(rna__parquet=table())), FileError, "clinical"),
    Case("an absent view", lambda w: mb.read_views(w.write(rna__parquet=table()), names=["ehr"]), FileError, "'ehr'"),
    Case("no view asked for", lambda w: mb.read_views(w.write(rna__parquet=table()), names=[]), FileError, "no view"),
    Case(
        "a view twice",
        lambda w: mb.read_views(w.write(rna__parquet=table(), rna__csv=table().to_csv())),
        DataError,
        "rna.csv, rna.parquet",
    ),
    Case(
        "garbage in Parquet", lambda w: mb.read_views(w.write(rna__parquet=b"garbage" * 99)), FileError, "rna.parquet"
    ),
    Case("an empty Parquet file", lambda w: mb.read_views(w.write(rna__parquet=b"")), FileError, "rna.parquet"),
    Case("half a Parquet file", lambda w: mb.read_views(halve_parquet(w)), FileError, "rna.parquet"),
    Case("Parquet, subjects unnamed", lambda w: mb.read_views(unnamed_parquet(w)), DataError, "no subject ids"),
    Case(
        "Parquet, an id missing",
        lambda w: mb.read_views(w.write(rna__parquet=table([*IDS, None]))),
        DataError,
        "subject ids of file 'rna.parquet'",
    ),
    Case(
        "Parquet, MultiIndex",
        lambda w: mb.read_views(w.write(rna__parquet=table().set_axis(several(IDS, "x"), axis=0))),
        DataError,
        "MultiIndex",
    ),
    Case("an empty CSV file", lambda w: mb.read_views(w.write(rna__csv="")), FileError, "rna.csv"),
    Case("a header alone", lambda w: mb.read_views(w.write(rna__csv="id,a,b\n")), DataError, "'rna'"),
    Case("CSV in Latin-1", lambda w: mb.read_views(w.write(rna__csv=b"id,\xe9\np1,1\n")), FileError, "rna.csv"),
    Case(
        "a ragged CSV file", lambda w: mb.read_views(w.write(rna__csv="id,a\np1,1\np2,1,2,3\n")), FileError, "rna.csv"
    ),
    Case("semicolons", lambda w: mb.read_views(w.write(rna__csv="id;a\np1;1\np2;2\n")), DataError, "'rna'"),
    Case("words in CSV", lambda w: mb.read_views(w.write(rna__csv="id,a\np1,low\np2,high\n")), DataError, "'a'"),
    Case("CSV columns twice", lambda w: mb.read_views(w.write(rna__csv="id,a,a\np1,1,2\np2,3,4\n")), DataError, "'a'"),
    Case("CSV, an id missing", lambda w: mb.read_views(w.write(rna__csv="id,a\np1,1\n,2\n")), DataError, "rna.csv"),
    Case("CSV ids twice", lambda w: mb.read_views(w.write(rna__csv="id,a\np1,1\np1,2\n")), DataError, "'p1'"),
    Case("a view no file can have", lambda w: mb.read_views(w.write(**{"a b__csv": "id,a\np1,1\n"})), DataError, "a b"),
    Case(
        "clinical ids twice",
        lambda w: mb.read_clinical(w.write(clinical__parquet=table(IDS * 2))),
        DataError,
        "clinical.parquet",
    ),
]


def halve_parquet(world: World) -> Path:
    path = world.write(rna__parquet=table()) / "rna.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    return world.folder


def unnamed_parquet(world: World) -> Path:
    return world.write(rna__parquet=table().reset_index(drop=True))


OUTCOMES = [
    Case("an outcome that is no table", lambda w: read_times(None, "months", "dead", IDS), DataError, "NoneType"),
    Case("an empty outcome table", lambda w: read_binary(CLINICAL[:0], "dead", IDS), DataError, "outcome table"),
    Case("clinical rows twice", lambda w: read_binary(pd.concat([CLINICAL] * 2), "dead", IDS), DataError, "duplicates"),
    Case("absent clinical rows", lambda w: times(w, ids=[*IDS, "p9999"]), DataError, "p9999"),
    Case("absent column", lambda w: read_times(CLINICAL, "years", "dead", IDS), DataError, "'years'"),
    Case("absent event column", lambda w: read_times(CLINICAL, "months", "died", IDS), DataError, "'died'"),
    Case("a negative time", lambda w: times(w, months=[-3.0, *FLAGS[1:] + 1.0]), DataError, "-3"),
    Case("a time of zero", lambda w: times(w, months=FLAGS.astype(float)), DataError, "'months'"),
    Case("a missing time", lambda w: times(w, months=[np.nan, *FLAGS[1:] + 1.0]), DataError, "missing"),
    Case("an infinite time", lambda w: times(w, months=np.inf), DataError, "'months'"),
    Case("times in words", lambda w: times(w, months="a year"), DataError, "'months'"),
    Case("an event of 2", lambda w: times(w, dead=[2, *FLAGS[1:]]), DataError, "such as 2"),
    Case("a missing event", lambda w: times(w, dead=[np.nan, *FLAGS[1:]]), DataError, "missing"),
    Case("no events", lambda w: times(w, dead=0), DataError, "'dead'"),
    Case("nobody", lambda w: times(w, ids=[]), DataError, "'dead'"),
    Case("an absent entry column", lambda w: read_entry(CLINICAL, "since", IDS, np.ones(60)), DataError, "'since'"),
    Case("an entry before the start", lambda w: entry(w, with_first(-1.0, 0.0)), DataError, "such as -1"),
    Case("an entry after the end", lambda w: entry(w, with_first(3.0, 0.0)), DataError, "such as 3"),
    Case("a missing entry", lambda w: entry(w, with_first(np.nan, 0.0)), DataError, "missing"),
    Case("an infinite entry", lambda w: entry(w, with_first(np.inf, 0.0)), DataError, "'since'"),
    Case("bounds in the wrong order", lambda w: bounds(w, with_first(5.0, 1.0)), DataError, "not before 'first'"),
    Case("a negative lower bound", lambda w: bounds(w, with_first(-2.0, 1.0)), DataError, "such as -2"),
    Case("an upper bound of 0", lambda w: bounds(w, 0.0, with_first(0.0, 2.0)), DataError, "'last'"),
    Case("no bound at all", lambda w: bounds(w, with_first(np.nan, 1.0), with_first(np.inf, 2.0)), DataError, "both"),
    Case("no upper bound in any row", lambda w: bounds(w, 1.0, np.nan), DataError, "no patient"),
    Case("an infinite lower bound", lambda w: bounds(w, with_first(np.inf, 1.0), 2.0), DataError, "'first'"),
    Case("an absent bound", lambda w: read_intervals(CLINICAL, "months", "last", IDS), DataError, "'last'"),
    Case("a cause of 1.5", lambda w: causes(w, dead=with_first(1.5, 1.0)), DataError, "such as 1.5"),
    Case("a negative cause", lambda w: causes(w, dead=with_first(-1.0, 1.0)), DataError, "such as -1"),
    Case("a missing cause", lambda w: causes(w, dead=with_first(np.nan, 1.0)), DataError, "missing"),
    Case("no cause seen", lambda w: causes(w, dead=0), DataError, "'dead'"),
    Case("a cause in words", lambda w: causes(w, dead="relapse"), DataError, "'dead'"),
    Case("a time of zero before a cause", lambda w: causes(w, months=0.0), DataError, "'months'"),
    Case("event and upper bound", lambda w: mb.Survival("t", "dead", upper="last"), SpecError, "either an event"),
    Case("neither event nor bound", lambda w: mb.Survival("t"), SpecError, "either an event"),
    Case("entry named as time", lambda w: mb.Survival("t", "dead", entry="t"), SpecError, "different columns"),
    Case("an entry that is no name", lambda w: mb.Survival("t", "dead", entry=3), SpecError, "entry=3"),
    Case("the same bound twice", lambda w: mb.Survival.interval("t", "t"), SpecError, "different columns"),
    Case("bounds with a new baseline", lambda w: mb.Survival.interval("a", "b", baseline="cox"), SpecError, "'cox'"),
    Case("one cause", lambda w: competing(w, dead=1), DataError, "1 causes"),
    Case("five causes", lambda w: competing(w, dead=np.arange(60) % 6), DataError, "5 causes"),
    Case("a cause without events", lambda w: competing(w, {1: "a", 2: "b"}, dead=FLAGS), DataError, "no event of 'b'"),
    Case("a cause without name", lambda w: competing(w, {1: "a", 3: "b"}, dead=FLAGS * 2), DataError, "without a name"),
    Case("causes as a list", lambda w: competing(w, ["a", "b"]), SpecError, "causes"),
    Case("one named cause", lambda w: competing(w, {1: "a"}), SpecError, "causes"),
    Case("a cause numbered 0", lambda w: competing(w, {0: "a", 1: "b"}), SpecError, "causes"),
    Case("two causes of one name", lambda w: competing(w, {1: "a", 2: "a"}), SpecError, "causes"),
    Case("a cause with a slash", lambda w: competing(w, {1: "a/b", 2: "c"}), SpecError, "a/b"),
    Case("a cause column named as time", lambda w: mb.CompetingRisks("t", "t"), SpecError, "different columns"),
    Case("causes with a new baseline", lambda w: mb.CompetingRisks("t", "c", baseline="cox"), SpecError, "'cox'"),
    Case("causes without intervals", lambda w: mb.CompetingRisks("t", "c", n_intervals=0), SpecError, "n_intervals"),
    Case(
        "competing risks with interactions",
        lambda w: mb.RiskModel(mb.CompetingRisks("months", "dead"), ["age"], interactions=["age"]).build(
            w.post, clinical_of(w)
        ),
        SpecError,
        "interactions",
    ),
    Case(
        "evaluation of late entrants",
        lambda w: mb.evaluate(
            mb.Risks(IDS, [9.0], np.full((60, 1), 0.3)),
            clinical(since=0.0),
            mb.Survival("months", "dead", entry="since"),
            seed=0,
        ),
        DataError,
        "late entry",
    ),
    Case("a binary outcome of 2", lambda w: binary(w, dead=[2, *FLAGS[1:]]), DataError, "such as 2"),
    Case("a missing binary outcome", lambda w: binary(w, dead=[np.nan, *FLAGS[1:]]), DataError, "missing"),
    Case("a constant binary outcome", lambda w: binary(w, dead=1), DataError, "only 1"),
    Case("a binary outcome of nobody", lambda w: binary(w, ids=[]), DataError, "'dead'"),
    Case("a binary outcome in words", lambda w: binary(w, dead="yes"), DataError, "'dead'"),
    Case("an absent binary column", lambda w: read_binary(CLINICAL, "death", IDS), DataError, "'death'"),
]

MODELS = [
    *(
        Case(f"n_factors {wrong!r}", lambda w, n=wrong: mb.FactorModel(n_factors=n), SpecError, repr(wrong))
        for wrong in (0, -1, 2.5, True, "ten", None)
    ),
    *(
        Case(f"intercept {wrong!r:.10}", lambda w, s=wrong: mb.FactorModel(intercept_scale=s), SpecError, "intercept_")
        for wrong in (-1.0, 0, float("nan"), float("inf"), "wide", True, 10**400)
    ),
    *(
        Case(f"min_variance {wrong!r}", lambda w, v=wrong: mb.FactorModel(min_variance=v), SpecError, "min_variance")
        for wrong in (-0.1, 1.0, float("nan"), "some")
    ),
    Case("loadings no prior", lambda w: mb.FactorModel(loadings="horseshoe"), SpecError, "horseshoe"),
    Case("noise no prior", lambda w: mb.FactorModel(noise=1e-3), SpecError, "noise"),
    Case("unknown scale", lambda w: mb.FactorModel(scale="unit"), SpecError, "'unit'"),
    Case("views no mapping", lambda w: mb.FactorModel(views=["ehr"]), SpecError, "ehr"),
    Case("a view no ViewModel", lambda w: mb.FactorModel(views={"ehr": mb.ARD()}), SpecError, "ehr"),
    Case("a view's name no text", lambda w: mb.FactorModel(views={3: mb.ViewModel()}), SpecError, "views"),
    Case("a view's loadings", lambda w: mb.ViewModel(loadings=3), SpecError, "got 3"),
    Case("a view's scale", lambda w: mb.ViewModel(scale="unit"), SpecError, "'unit'"),
    Case("a negative shape", lambda w: mb.Gamma(shape=-1.0), SpecError, "shape"),
    Case("a rate of zero", lambda w: mb.Gamma(rate=0.0), SpecError, "rate"),
    Case("an ARD precision", lambda w: mb.ARD(precision=3.0), SpecError, "precision"),
    Case("a spike-slab precision", lambda w: mb.SpikeSlab(precision="x"), SpecError, "precision"),
    Case("an inclusion of zero", lambda w: mb.SpikeSlab(inclusion_a=0.0), SpecError, "inclusion_a"),
    Case("iterations", lambda w: mb.Ascent(max_iterations=0), SpecError, "max_iterations"),
    Case("threads", lambda w: mb.Ascent(n_threads=-2), SpecError, "n_threads"),
    Case("half a thread", lambda w: mb.Ascent(n_threads=1.5), SpecError, "n_threads"),
    Case("no tolerance", lambda w: mb.Ascent(mode=0.0), SpecError, "mode"),
    Case("tolerance above 1", lambda w: mb.Ascent(mode=2.0), SpecError, "mode"),
]

TOML = [
    Case(name, lambda w, t=text: mb.FactorModel.from_toml(t), SpecError, fragment)
    for name, text, fragment in (
        ("syntax", "[model\nn_factors = 3", "line 1"),
        ("a path as text", "models/mofa/model.toml", "TOML"),
        ("no text", "", "model"),
        ("no model", "[other]\nx = 1", "model"),
        ("model a number", "model = 3", "int"),
        ("models", "[[model]]", "list"),
        ("unknown key", "[model]\nfactor = 3", "'factor'"),
        ("unknown key of a prior", '[model.loadings]\nkind = "ard"\nwidth = 3', "'width'"),
        ("unknown key of a gamma", "[model.noise]\nscale = 3", "'scale'"),
        ("unknown key of a view", "[model.views.ehr]\nnoise = 3", "'noise'"),
        ("unknown prior", '[model.loadings]\nkind = "cauchy"', "'cauchy'"),
        ("a prior of no kind", "[model.loadings]\ninclusion_a = 1.0", "kind"),
        ("kind a list", '[model.loadings]\nkind = ["ard"]', "kind"),
        ("factors in words", '[model]\nn_factors = "ten"', "'ten'"),
        ("factors a table", "[model.n_factors]\nx = 1", "n_factors"),
        ("loadings a number", "[model]\nloadings = 3", "loadings"),
        ("noise a number", "[model]\nnoise = 3", "noise"),
        ("precision a number", '[model.loadings]\nkind = "ard"\nprecision = 3', "precision"),
        ("views a list", "[model]\nviews = [1]", "views"),
        ("a view a number", "[model.views]\nehr = 3", "'ehr'"),
        ("a view's unknown prior", '[model.views.ehr.loadings]\nkind = "x"', "'x'"),
        ("negative scale", "[model]\nintercept_scale = -1.0", "intercept_scale"),
        ("negative rate", "[model.noise]\nrate = -1.0", "rate"),
        ("infinite rate", "[model.noise]\nrate = inf", "rate"),
        ("a date", "[model]\nmin_variance = 2020-01-01", "min_variance"),
        ("5,000 digits", "[model]\nn_factors = " + "1" * 5000, "4300"),
        ("20,000 bits", "[model]\nn_factors = 0x" + "f" * 5000, "64 bits"),
        ("400 digits", "[model]\nintercept_scale = " + "1" * 400, "64 bits"),
        ("nested without end", "[model.scale" + ".a" * 2000 + "]", "nested"),
        ("arrays without end", "[model]\nscale = " + "[" * 5000 + "]" * 5000, "TOML"),
        ("bytes", b"[model]", "bytes"),
        ("None", None, "NoneType"),
    )
] + [
    Case("no file", lambda w: mb.FactorModel.from_toml(w.folder / "model.toml"), FileError, "model.toml"),
    Case("a folder", lambda w: mb.FactorModel.from_toml(w.folder), FileError, "IsADirectory"),
    Case(
        "a binary file", lambda w: mb.FactorModel.from_toml(w.write(x__toml=b"\xff\xfe") / "x.toml"), FileError, "UTF-8"
    ),
    Case(
        "a huge file",
        lambda w: mb.FactorModel.from_toml(w.write(x__toml="#" * 1_000_001) / "x.toml"),
        FileError,
        "1 MB",
    ),
]

SIMULATION = [
    Case(
        "a factor of an unknown view",
        lambda w: mb.simulate_cohort(Design(n_features={"rna": 5}, sharing=[("ehr",)])),
        DataError,
        "ehr",
    ),
    *(
        Case(
            f"binary features {wrong}",
            lambda w, b=wrong: mb.simulate_cohort(Design(n_features={"rna": 5}, sharing=[("rna",)], bernoulli=b)),
            DataError,
            next(iter(wrong)),
        )
        for wrong in ({"ehr": 1}, {"rna": 6}, {"rna": -1})
    ),
]

FITS = [
    Case("views no MultiView", lambda w: mb.fit({"rna": table()}, progress=False), FitError, "dict"),
    Case("a spec in words", lambda w: mb.fit(w.cohort.views, "mofa", progress=False), FitError, "str"),
    Case("an unknown engine", lambda w: mb.fit(w.cohort.views, engine="advi", progress=False), FitError, "'advi'"),
    Case("one draw", lambda w: mb.fit(w.cohort.views, n_draws=1, progress=False), FitError, "n_draws"),
    Case(
        "draws that cannot be aligned",
        lambda w: mb.fit(w.cohort.views, engine="gibbs", n_draws=3, progress=False),
        FitError,
        "n_draws",
    ),
    Case("half a draw", lambda w: mb.fit(w.cohort.views, n_draws=2.5, progress=False), FitError, "n_draws"),
    Case(
        "more factors than subjects",
        lambda w: mb.fit(frames(table()), mb.FactorModel(n_factors=60), progress=False),
        FitError,
        "60 factors",
    ),
    Case(
        "a spec of an unknown view",
        lambda w: mb.fit(frames(table()), mb.FactorModel(n_factors=2, views={"ehr": mb.ViewModel()}), progress=False),
        FitError,
        "'ehr'",
    ),
]

NEW = ["p9001", "p9002"]

POSTERIORS = [
    Case("projecting nothing", lambda w: w.post.project({}), DataError, "views"),
    Case("projecting a bare frame", lambda w: w.post.project(table(NEW)), DataError, "DataFrame"),
    Case("projecting unknown views", lambda w: w.post.project({"mri": table(NEW)}), DataError, "'mri'"),
    Case("projecting unknown features", lambda w: w.post.project({"rna": table(NEW)}), DataError, "'rna'"),
    Case(
        "projecting a flag of 2",
        lambda w: w.post.project({"ehr": pd.DataFrame({"ehr_11": [2.0, 0.0]}, index=NEW)}),
        DataError,
        "ehr_11",
    ),
    Case(
        "projecting views with a flag of 2",
        lambda w: w.post.project(mb.MultiView.from_frames({"ehr": pd.DataFrame({"ehr_11": [2.0, 0.0]}, index=NEW)})),
        DataError,
        "ehr_11",
    ),
    Case(
        "projecting infinity",
        lambda w: w.post.project({"rna": pd.DataFrame({"rna_0": [np.inf, 0.0]}, index=NEW)}),
        DataError,
        "rna_0",
    ),
    Case("factors of unknown subjects", lambda w: w.post.factor_moments().sel(NEW), DataError, "p9001"),
    Case("imputing at level 2", lambda w: w.post.impute(w.cohort.views, level=2), DataError, "level"),
    *(
        Case(f"posterior {what} of an unknown view", lambda w, n=what: getattr(w.post, n)("mri"), DataError, "'mri'")
        for what in ("loadings", "intercepts", "noise_sd", "active", "features", "likelihoods", "has_view")
    ),
    Case("biomarkers of an unknown view", lambda w: mb.biomarkers(w.post, "mri"), DataError, "'mri'"),
    Case("biomarkers of an unknown factor", lambda w: mb.biomarkers(w.post, factors=["F99"]), DataError, "'F99'"),
    Case("biomarkers of no factor", lambda w: mb.biomarkers(w.post, factors=[]), DataError, "factors"),
    Case("biomarkers of an empty name", lambda w: mb.biomarkers(w.post, ""), DataError, "view"),
    Case("biomarkers at a rate in words", lambda w: mb.biomarkers(w.post, fdr="5 %"), DataError, "fdr"),
    Case("biomarkers of views", lambda w: mb.biomarkers(w.cohort.views), DataError, "posterior"),
    Case("sharing at a share in words", lambda w: mb.sharing(w.post, min_variance="x"), DataError, "min_variance"),
    Case("diagnosing no draws", lambda w: mb.diagnose(w.post, w.cohort.views, n_draws=0), SpecError, "n_draws"),
    Case("diagnosing half a draw", lambda w: mb.diagnose(w.post, n_draws=0.5), SpecError, "n_draws"),
    Case("imputing nothing", lambda w: w.post.impute(None), DataError, "NoneType"),
    Case("imputing at a level in words", lambda w: w.post.impute(w.cohort.views, level="x"), DataError, "level"),
    Case("projecting nothing", lambda w: w.post.project(None), DataError, "NoneType"),
    Case("selecting a number", lambda w: w.cohort.views.sel(5), DataError, "subjects"),
    Case("keeping one name without a list", lambda w: w.cohort.views.keep_views("rna"), DataError, "'rna'"),
    Case("a seed in words", lambda w: mb.fit(w.cohort.views, seed="x", progress=False), FitError, "seed"),
    Case("a negative seed", lambda w: mb.fit(w.cohort.views, seed=-1, progress=False), FitError, "seed"),
    Case("settings as a dict", lambda w: mb.fit(w.cohort.views, settings={}, progress=False), FitError, "settings"),
    Case("no threads", lambda w: mb.Ascent(n_threads=0), SpecError, "n_threads"),
    Case("no starts", lambda w: mb.Ascent(n_starts=0), SpecError, "n_starts"),
    Case("a mode in words", lambda w: mb.Ascent(mode="sloth"), SpecError, "sloth"),
    Case("a feature that nobody has", lambda w: mb.fit(unseen(w), progress=False), FitError, "drop_uninformative"),
    Case("weights of zero", lambda w: weighted(w, 0.0), DataError, "weights"),
    Case("weights not a Series", lambda w: mb.MultiView.from_frames({"rna": table()}, weights=3), DataError, "weights"),
    Case(
        "exposures of an unknown view",
        lambda w: mb.MultiView.from_frames({"rna": table()}, exposures={"dna": pd.Series()}),
        DataError,
        "'dna'",
    ),
    *(
        Case(f"biomarkers at fdr {wrong}", lambda w, f=wrong: mb.biomarkers(w.post, fdr=f), DataError, "fdr")
        for wrong in (0.0, 1.0, -0.05, float("nan"))
    ),
    *(
        Case(f"biomarkers at level {wrong!r}", lambda w, v=wrong: mb.biomarkers(w.post, level=v), DataError, "level")
        for wrong in (0.0, 1.0, 95, "95 %")
    ),
    *(
        Case(f"sharing from {wrong}", lambda w, v=wrong: mb.sharing(w.post, min_variance=v), DataError, "min_variance")
        for wrong in (0.0, 1.0, 5, float("nan"))
    ),
]


def cut(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def damage(path: Path) -> Path:
    """Overwrite the compressed factors in the middle of the file."""
    with h5py.File(path, "r") as file:
        chunk = file["posterior/factors"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    return path


def foreign(path: Path, **attributes: object) -> Path:
    xr.Dataset({"x": ("n", [1.0, 2.0])}, attrs=attributes).to_netcdf(path, engine="h5netcdf")
    return path


def altered(world: World, *, without: str | None = None, **attributes: object) -> Path:
    tree = world.post.tree.copy()
    tree.attrs.update(attributes)
    if without in tree.children:
        tree = xr.DataTree.from_dict({name: node for name, node in tree.children.items() if name != without})
        tree.attrs.update(world.post.tree.attrs)
    elif without is not None:
        del tree.attrs[without]
    path = world.folder / "altered.nc"
    tree.to_netcdf(path, engine="h5netcdf")
    return path


SAVED = [
    Case("saving nowhere", lambda w: w.post.save(w.folder / "absent" / "fit.nc"), FileError, "fit.nc"),
    Case("saving over a folder", lambda w: w.post.save(w.folder), FileError, "directory"),
    Case("loading nothing", lambda w: mb.load(w.folder / "absent.nc"), FileError, "absent.nc"),
    Case("loading a folder", lambda w: mb.load(w.folder), FileError, "nothing there"),
    Case("loading an empty file", lambda w: mb.load(cut(w.saved(), 0)), FileError, "fit.nc"),
    Case("loading half a file", lambda w: mb.load(cut(w.saved(), 300_000)), FileError, "fit.nc"),
    Case("loading a file with one byte less", lambda w: mb.load(cut(w.saved(), -1)), FileError, "fit.nc"),
    Case("loading a damaged file", lambda w: mb.load(damage(w.saved())), FileError, "fit.nc"),
    Case("loading text", lambda w: mb.load(w.write(x__nc="not NetCDF\n" * 99) / "x.nc"), FileError, "x.nc"),
    Case("loading foreign NetCDF", lambda w: mb.load(foreign(w.folder / "f.nc")), FileError, "not a posterior"),
    Case(
        "loading foreign NetCDF with a schema",
        lambda w: mb.load(foreign(w.folder / "f.nc", schema_version=1)),
        FileError,
        "not a posterior",
    ),
    Case("loading a later version", lambda w: mb.load(altered(w, schema_version=99)), FileError, "99"),
    Case(
        "loading a version in words", lambda w: mb.load(altered(w, schema_version="new")), FileError, "not a posterior"
    ),
    *(
        Case(f"loading without {name}", lambda w, n=name: mb.load(altered(w, without=n)), FileError, "not a posterior")
        for name in ("schema_version", "views", "spec", "data_fingerprint", "moments", "posterior")
    ),
]


def unseen(w: World) -> mb.MultiView:
    """The cohort with one feature hidden from everybody, as a fold of a cross-validation may have it."""
    dataset = w.cohort.views.dataset.copy(deep=True)
    values = dataset["values_rna"].values.copy()
    values[:, 3] = np.nan
    return mb.MultiView(dataset.assign(values_rna=(dataset["values_rna"].dims, values)))


def weighted(w: World, weight: float) -> mb.MultiView:
    frame = table()
    return mb.MultiView.from_frames({"rna": frame}, weights=pd.Series(weight, frame.index))


CASES = [
    *A_VIEW,
    *LIKELIHOODS,
    *GROUPS_AND_COVARIATES,
    *FILES,
    *OUTCOMES,
    *MODELS,
    *TOML,
    *SIMULATION,
    *FITS,
    *POSTERIORS,
    *SAVED,
]


def patients_in(error: BaseException) -> set[str]:
    return set(A_PATIENT.findall(str(error)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_refused_by_an_error_that_says_what_to_do(case: Case, world: World) -> None:
    with pytest.raises(MofaBayesError) as caught:
        case.call(world)
    error = caught.value
    assert type(error) is case.error
    parts = (error.what, error.got, error.expected, error.do)
    assert all(isinstance(part, str) and part.strip() for part in parts)
    assert all(part in str(error) for part in parts)
    assert case.names in str(error)
    assert len(patients_in(error)) <= 5
    assert len(str(error)) < 1000


HALVES = {"rna": table(IDS[:10]), "ehr": table(IDS[10:])}
TOO_MANY = [
    ("50 doubled ids", lambda w: frames(table(IDS + IDS[:50])), "50"),
    ("50 ids in one view only", lambda w: mb.MultiView.from_frames(dict(reversed(HALVES.items()))), "50"),
    ("50 unknown ids", lambda w: frames(table(IDS[:10])).sel(IDS), "45 more"),
    ("50 without covariates", lambda w: frames(table(), covariates=CLINICAL[["age"]][:10]), "50 of 60"),
    ("50 covariates twice", lambda w: frames(table(), covariates=table(IDS + IDS[:50])), "50"),
    ("50 without a group", lambda w: frames(table(), groups=pd.Series("x", index=IDS[:10])), "50 of 60"),
    ("50 groups missing", lambda w: frames(table(), groups=pd.Series(["x"] * 10 + [None] * 50, index=IDS)), "50"),
    ("50 without an outcome", lambda w: read_times(CLINICAL[:10], "months", "dead", IDS), "50 of 60"),
    ("50 outcomes twice", lambda w: read_binary(pd.concat([CLINICAL, CLINICAL[:50]]), "dead", IDS), "50"),
    ("50 doubled in a file", lambda w: mb.read_views(w.write(rna__csv=table(IDS + IDS[:50]).to_csv())), "50"),
    ("50 not in the posterior", lambda w: w.post.factor_moments().sel([f"p9{n:03d}" for n in range(50)]), "50"),
    ("a table on its side", lambda w: frames((table() * 0).T), "55 more"),
]


@pytest.mark.parametrize(("call", "count"), [case[1:] for case in TOO_MANY], ids=[case[0] for case in TOO_MANY])
def test_a_message_counts_all_bad_patients_and_names_five(call: Callable, count: str, world: World) -> None:
    with pytest.raises(DataError) as caught:
        call(world)
    assert len(patients_in(caught.value)) == 5
    assert count in str(caught.value)
