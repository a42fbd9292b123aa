"""MultiView and preprocessing under any order of rows, columns and views, and any pattern of missing entries."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing

law = settings(max_examples=30, deadline=None, derandomize=True)

labels = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5)
numbers = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, np.nan])
view_names = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True).filter(
    lambda name: name not in {"con", "prn", "aux", "nul"}
)


@st.composite
def tables(draw: st.DrawFn, ids: list[str]) -> pd.DataFrame:
    """A view of some of the subjects, always the first one, with unique text labels and holes."""
    rows = ids[:1] + draw(st.lists(st.sampled_from(ids[1:]), unique=True)) if len(ids) > 1 else ids
    columns = draw(st.lists(labels, min_size=1, max_size=4, unique=True))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    values = draw(hnp.arrays("float64", (len(rows), len(columns)), elements=numbers))
    return pd.DataFrame(values.astype(dtype), index=rows, columns=columns)


@st.composite
def cohorts(draw: st.DrawFn) -> dict[str, pd.DataFrame]:
    ids = draw(st.lists(labels, min_size=1, max_size=8, unique=True))
    names = draw(st.lists(view_names, min_size=1, max_size=3, unique=True))
    return {name: draw(tables(ids)) for name in names}


def read(frames: dict[str, pd.DataFrame]) -> mb.MultiView:
    return mb.MultiView.from_frames(frames, uninformative="keep")


def by_label(views: mb.MultiView, view: str) -> pd.DataFrame:
    return pd.DataFrame(views[view].values, index=list(views.subjects), columns=list(views.features(view)))


@given(cohorts(), st.randoms(use_true_random=False))
@law
def test_order_of_subjects_columns_and_views_does_not_matter(frames: dict[str, pd.DataFrame], random: object) -> None:
    def shuffled(things: object) -> list:
        return random.sample(list(things), len(things))

    views = read(frames)
    other = read(
        {
            name: frames[name].loc[shuffled(frames[name].index), shuffled(frames[name].columns)]
            for name in shuffled(frames)
        }
    )
    assert set(other.names) == set(views.names)
    assert set(other.subjects) == set(views.subjects)
    assert other.fingerprint == views.fingerprint
    for name in views.names:
        expected = by_label(views, name)
        pd.testing.assert_frame_equal(by_label(other, name).loc[expected.index, expected.columns], expected)
        assert other.likelihoods(name).to_series().to_dict() == views.likelihoods(name).to_series().to_dict()


@given(cohorts())
@law
def test_every_value_is_found_at_its_label_and_nothing_is_added(frames: dict[str, pd.DataFrame]) -> None:
    views = read(frames)
    for name, table in frames.items():
        found = by_label(views, name)
        pd.testing.assert_frame_equal(found.loc[table.index, table.columns], table)
        assert found.drop(index=table.index).isna().all(axis=None)


@given(cohorts(), st.data())
@law
def test_selecting_subjects_is_selecting_rows(frames: dict[str, pd.DataFrame], data: st.DataObject) -> None:
    views = read(frames)
    wanted = data.draw(st.lists(st.sampled_from(views.subjects), min_size=1, unique=True))
    chosen = views.sel(wanted)
    assert chosen.subjects == tuple(wanted)
    for name in views.names:
        pd.testing.assert_frame_equal(by_label(chosen, name), by_label(views, name).loc[wanted])


@given(cohorts(), st.data())
@law
def test_the_fingerprint_sees_any_value_that_changes(frames: dict[str, pd.DataFrame], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(frames)))
    row = data.draw(st.integers(0, frames[name].shape[0] - 1))
    column = data.draw(st.integers(0, frames[name].shape[1] - 1))
    table = frames[name].copy()
    before = table.iloc[row, column]
    table.iloc[row, column] = 7.0 if np.isnan(before) else before / 2 + 5
    if table.iloc[row, column] == before:
        table.iloc[row, column] = np.nan
    assert read(frames | {name: table}).fingerprint != read(frames).fingerprint


@pytest.mark.parametrize("scale", ["feature", "view", "none"])
@given(frames=cohorts())
@law
def test_preprocessing_is_undone_and_keeps_what_is_missing(scale: str, frames: dict[str, pd.DataFrame]) -> None:
    views = read(frames)
    own = fit_preprocessing(views, dict.fromkeys(views.names, scale))
    for name in views.names:
        values = views[name].values
        scaled = own.apply(name, values)
        assert scaled.dtype == values.dtype
        np.testing.assert_array_equal(np.isnan(scaled), np.isnan(values))
        assert not np.isinf(scaled).any()
        largest = np.nanmax(np.abs(values), initial=1.0)
        tolerance = 16 * np.finfo(values.dtype).eps * largest
        np.testing.assert_allclose(own.invert(name, scaled), values, rtol=0, atol=tolerance)


@given(cohorts(), st.randoms(use_true_random=False))
@law
def test_preprocessing_does_not_depend_on_the_order_of_subjects(
    frames: dict[str, pd.DataFrame], random: object
) -> None:
    views = read(frames)
    other = views.sel(random.sample(views.subjects, len(views.subjects)))
    scales = dict.fromkeys(views.names, "feature")
    one, two = fit_preprocessing(views, scales).dataset, fit_preprocessing(other, scales).dataset
    assert two.identical(one)
