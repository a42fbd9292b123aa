"""Saved risk models: every family comes back as it was and predicts the same, and a hostile file is refused."""

import json

import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb
from mofa_bayes.errors import FileError
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.risk.files import decode, encode

N = 60
IDS = tuple(f"Jane-{n:03d}" for n in range(N))
FAST = {"n_draws": 250, "n_tune": 60, "n_chains": 2}
pytestmark = pytest.mark.filterwarnings("ignore::mofa_bayes.errors.MofaBayesWarning")
FAMILIES = {
    "weibull": mb.Survival("time", "event", baseline="weibull"),
    "piecewise": mb.Survival("time", "event", baseline="piecewise_exponential", n_intervals=3),
    "m_spline": mb.Survival("time", "event", baseline="m_spline", n_intervals=4),
    "competing": mb.CompetingRisks("time", "cause", {1: "relapse", 2: "death"}, baseline="weibull"),
    "binary": mb.Binary("event"),
    "probit": mb.Binary("event", link="probit"),
    "continuous": mb.Continuous("level"),
    "count": mb.Count("visits"),
    "panel": mb.MultiContinuous(["level", "age"]),
    "ordinal": mb.Ordinal("grade", levels=["low", "middle", "high"]),
}


@pytest.fixture(scope="module")
def patients():
    rng = np.random.default_rng(0)
    mean = rng.standard_normal((N, 2))
    moments = FactorMoments(IDS, ("F1", "F2"), mean, 0.2 * np.eye(2)[None], np.zeros(N, dtype=np.intp))
    clinical = pd.DataFrame(
        {
            "time": rng.exponential(np.exp(-mean[:, 0])) + 0.01,
            "event": (rng.random(N) < 0.7).astype(int),
            "cause": rng.integers(0, 3, N),
            "level": mean[:, 0] + rng.standard_normal(N),
            "visits": rng.poisson(np.exp(0.5 * mean[:, 0])),
            "grade": rng.choice(["low", "middle", "high"], N),
            "age": rng.normal(60, 9, N),
            "bmi": rng.normal(25, 4, N),
        },
        index=list(IDS),
    )
    return moments, clinical


@pytest.fixture(scope="module")
def fits(patients):
    moments, clinical = patients
    return {
        name: mb.RiskModel(family, covariates=["bmi"]).fit(moments, clinical, seed=1, sampler="importance", **FAST)
        for name, family in FAMILIES.items()
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_a_loaded_model_predicts_what_the_saved_one_did(patients, fits, tmp_path, name):
    moments, clinical = patients
    fits[name].save(tmp_path / "risk.nc")
    back = mb.load_risk(tmp_path / "risk.nc")
    assert back.spec == fits[name].spec
    assert back.tree.identical(fits[name].tree)
    times = [0.5, 1.0] if name in ("weibull", "piecewise", "m_spline", "competing") else None
    ours, theirs = (own.predict(moments, clinical, times=times).to_frame() for own in (fits[name], back))
    pd.testing.assert_frame_equal(ours, theirs)
    pd.testing.assert_frame_equal(back.effects(), fits[name].effects())


def test_no_identifier_time_or_covariate_of_a_patient_is_in_the_bytes(patients, fits, tmp_path):
    for name in ("weibull", "piecewise", "m_spline", "competing"):
        fits[name].save(tmp_path / "risk.nc")
        content = (tmp_path / "risk.nc").read_bytes()
        assert b"Jane-" not in content
        for value in patients[1][["bmi", "time"]].to_numpy().ravel():
            assert np.float64(value).tobytes() not in content
            assert repr(float(value)).encode() not in content


def test_every_family_that_there_is_is_tried():
    """A new family must be added to the table of values that files know."""
    from mofa_bayes import risk
    from mofa_bayes.risk.response import Family

    classes = {name: getattr(risk, name) for name in risk.__all__ if isinstance(getattr(risk, name), type)}
    public = {name for name, own in classes.items() if hasattr(own, "learn") and hasattr(own, "columns")}
    assert isinstance(FAMILIES["binary"], Family)
    assert public - {type(own).__name__ for own in FAMILIES.values()} == set()


@pytest.mark.parametrize(
    "state",
    [
        "no json", "[]", "{}", json.dumps({"spec": {"kind": "Popen", "args": ["true"]}}),
        json.dumps({"spec": {"kind": "RiskModel", "outcome": 3}}),
    ],
)  # fmt: skip
def test_hostile_descriptions_are_refused(fits, tmp_path, state):
    tree = fits["binary"].tree.copy()
    tree.attrs = {"schema_version": 1, "risk": state}
    tree.to_netcdf(tmp_path / "risk.nc", engine="h5netcdf")
    with pytest.raises(FileError, match="cannot be read"):
        mb.load_risk(tmp_path / "risk.nc")


def test_altered_and_foreign_files_are_refused(fits, post, tmp_path):
    path = tmp_path / "risk.nc"
    fits["binary"].save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match="damaged or altered"):
        mb.load_risk(path)
    post.save(path)
    with pytest.raises(FileError, match="not a risk model"):
        mb.load_risk(path)
    fits["binary"].save(path)
    with pytest.raises(FileError, match="not a posterior"):
        mb.load(path)
    with pytest.raises(FileError, match="nothing there"):
        mb.load_risk(tmp_path / "none.nc")


def test_only_known_values_are_stored():
    with pytest.raises(TypeError, match="object"):
        encode(object())
    for odd in ([], {"kind": "unknown"}, {"list": [{"kind": None}]}):
        with pytest.raises(ValueError, match=r"bare list|unknown kind"):
            decode(odd)
    values = {"a": np.arange(3), "b": (1.5, None, "x"), "c": {"d": True}}
    back = decode(encode(values))
    np.testing.assert_array_equal(back.pop("a"), values["a"])
    assert back == {"b": (1.5, None, "x"), "c": {"d": True}}
