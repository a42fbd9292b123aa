"""TOML: every model comes back equal; no text, however broken, raises anything but an error of ours."""

import string
from contextlib import suppress

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mofa_bayes as mb
from mofa_bayes.errors import MofaBayesError, SpecError

law = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

positive = st.floats(min_value=5e-324, max_value=1.7e308) | st.integers(1, 2**60)
gammas = st.builds(mb.Gamma, shape=positive, rate=positive)
priors = st.builds(mb.ARD, precision=gammas) | st.builds(
    mb.SpikeSlab, precision=gammas, inclusion_a=positive, inclusion_b=positive
)
scales = st.sampled_from(["feature", "view", "none"])
view_models = st.builds(mb.ViewModel, loadings=st.none() | priors, scale=st.none() | scales)
models = st.builds(
    mb.FactorModel,
    n_factors=st.integers(1, 10**6),
    loadings=priors,
    scale=scales,
    noise=gammas,
    intercept_scale=positive,
    min_variance=st.floats(0, 1, exclude_max=True),
    views=st.dictionaries(st.text(max_size=12), view_models, max_size=4),
)

KNOWN = ["n_factors", "loadings", "scale", "noise", "intercept_scale", "min_variance", "views"]
KNOWN += ["kind", "precision", "shape", "rate", "inclusion_a", "inclusion_b", "ehr"]
names = st.sampled_from(KNOWN) | st.text(max_size=4)
scalars = (
    st.integers()
    | st.integers(-(2**20_000), 2**20_000)
    | st.floats()
    | st.booleans()
    | st.text(max_size=6)
    | st.sampled_from(["ard", "spike_slab", "feature"])
    | st.dates()
    | st.times()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)


def read_or_refuse(source: object) -> None:
    """Read a model; an error of ours is as good as a model, any other error fails the test."""
    with suppress(MofaBayesError):
        model = mb.FactorModel.from_toml(source)
        assert mb.FactorModel.from_toml(model.to_toml()) == model


@given(models)
@law
def test_toml_round_trip_is_equal(model: mb.FactorModel) -> None:
    back = mb.FactorModel.from_toml(model.to_toml())
    assert back == model
    assert hash(back) == hash(model)
    assert back.to_toml() == model.to_toml()


@given(st.text() | st.text(alphabet=string.printable) | st.binary() | st.none() | st.integers())
@law
def test_anything_is_read_or_refused(source: object) -> None:
    read_or_refuse(source)


@given(st.dictionaries(names, values, max_size=5) | values)
@law
def test_any_toml_is_read_or_refused(table: object) -> None:
    text = None
    with suppress(ValueError):  # Python cannot write integers of thousands of digits in decimals
        text = tomli_w.dumps({"model": table})
    read_or_refuse(text)


@given(models, st.data())
@law
def test_a_model_with_a_piece_replaced_is_read_or_refused(model: mb.FactorModel, data: st.DataObject) -> None:
    text = model.to_toml()
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 20)))
    read_or_refuse(text[:start] + data.draw(st.text(max_size=5)) + text[stop:])


@given(st.integers(2**63, 2**20_000), st.sampled_from(KNOWN))
@law
def test_an_integer_of_more_than_64_bits_is_refused(number: int, name: str) -> None:
    read_or_refuse(f"[model.views.ehr]\n{name} = [0x{number:x}]")
    with pytest.raises(SpecError):
        mb.FactorModel.from_toml(f"[model]\n{name} = 0x{number:x}")
