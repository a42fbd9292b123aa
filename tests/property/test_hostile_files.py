"""Whatever is in a file: a value or an error of ours, in bounded time, and nothing outside the folder is touched."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import mofa_bayes as mb
from mofa_bayes.commands.configuration import read_configuration
from mofa_bayes.errors import DataError, FileError, MofaBayesError
from mofa_bayes.explain.genesets import read_gmt

SOON = settings(
    max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LONG = settings(
    max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
SECONDS = 20.0

LEAVES = st.one_of(
    st.sampled_from(["ard", "spike_slab", "cpm", "log1p", "latest", "../x", "48h", "LAB//*", "", "\u00e9"]),
    st.integers(-(2**70), 2**70), st.floats(), st.booleans(), st.dates(),
)  # fmt: skip
NAMES = st.sampled_from(
    [
        "model", "steps", "likelihoods", "events", "views", "loadings", "factors", "noise", "kind", "precision",
        "shape", "rate", "rna", "../x", "n_factors", "scale", "rule", "codes", "within", "gap", "n_features",
    ]
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=8
)
TABLES = st.dictionaries(
    st.sampled_from(["model", "steps", "likelihoods", "events"]), VALUES | st.dictionaries(NAMES, VALUES)
)
TOML = st.one_of(st.text(max_size=200), TABLES.map(tomli_w.dumps))
CELLS = st.sampled_from(["1", "2.5", "", "p1", "p2", "nan", "inf", '"', "x", "-0", "1e999", "é", "\0", "id", "0x1"])
SHAPED = st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=8).map("\n".join).map(str.encode)
CSV = st.one_of(st.binary(max_size=300), SHAPED)
GMT = st.one_of(
    st.binary(max_size=300), st.lists(st.lists(CELLS, max_size=5).map("\t".join)).map("\n".join).map(str.encode)
)


def answer(call: Callable[[], object]) -> object:
    """Value or error of ours, and soon."""
    begun, said = time.process_time(), ""
    try:
        return call()
    except MofaBayesError as error:
        said = str(error)
        return None
    finally:
        assert time.process_time() - begun < SECONDS
        assert len(said) < 2000


def check_toml(text: str) -> None:
    model = answer(lambda: mb.FactorModel.from_toml(text))
    assert model is None or mb.FactorModel.from_toml(model.to_toml()) == model


def check_configuration(folder: Path, content: bytes) -> None:
    (folder / "c.toml").write_bytes(content)
    answer(lambda: read_configuration(folder / "c.toml"))


def check_views(folder: Path, content: bytes) -> None:
    (folder / "rna.csv").write_bytes(content)
    views = answer(lambda: mb.read_views(folder))
    assert views is None or views.names == ("rna",)


def check_sets(folder: Path, content: bytes) -> None:
    (folder / "sets.gmt").write_bytes(content)
    sets = answer(lambda: read_gmt(folder / "sets.gmt"))
    assert sets is None or all(members for members in sets.values())


@SOON
@given(text=TOML)
def test_any_text_is_a_model_or_refused(text):
    check_toml(text)


@SOON
@given(text=TOML)
@example(text="[events]\nx = {codes = [[1]], rule = 'mean'}")
@example(text="[steps]\nrna = [{kind = 'cpm', target = 'x'}]")
@example(text="[steps]\nrna = [{kind = ['cpm']}]")
@example(text="[likelihoods.rna]\na = 3")
@example(text="[events]\nx = {rule = 'latest', min_subjects = 1e400}")
def test_any_text_is_a_configuration_or_refused(tmp_path, text):
    check_configuration(tmp_path, text.encode("utf-8", "surrogatepass"))


@SOON
@given(content=CSV)
def test_any_bytes_are_a_view_or_refused(tmp_path, content):
    check_views(tmp_path, content)


@SOON
@given(content=GMT)
def test_any_bytes_are_sets_or_refused(tmp_path, content):
    check_sets(tmp_path, content)


@pytest.mark.slow
@LONG
@given(text=TOML, csv=CSV, gmt=GMT)
def test_any_file_is_read_or_refused_at_length(tmp_path, text, csv, gmt):
    check_toml(text)
    check_configuration(tmp_path, text.encode("utf-8", "surrogatepass"))
    check_views(tmp_path, csv)
    check_sets(tmp_path, gmt)


@SOON
@given(
    parts=st.lists(st.sampled_from(["..", ".", "/", "x", "secret", "\\", "~", "", "\0", "C:"]), min_size=1, max_size=6)
)
def test_no_name_of_a_view_leads_out_of_the_folder(tmp_path_factory, parts):
    """A table that lies beside the folder is never read and nothing is written there, whatever a view is called."""
    place = tmp_path_factory.mktemp("outer")
    (place / "secret.csv").write_text("id,a\np1,1\np2,2\n")
    (place / "in").mkdir()
    (place / "in" / "rna.csv").write_text("id,a\np1,1\np2,3\n")
    name = "/".join(parts)
    with pytest.raises(FileError):
        mb.read_views(place / "in", names=[name])
    if not all(letter.isalnum() for letter in name) or not name:
        table = mb.read_views(place / "in")["rna"].to_pandas()
        with pytest.raises(DataError):
            mb.MultiView.from_frames({f"{name}/": table})
    assert sorted(path.name for path in place.rglob("*")) == ["in", "rna.csv", "secret.csv"]
