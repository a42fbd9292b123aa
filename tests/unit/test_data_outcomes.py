"""Outcomes: rows by label in the order asked for, whatever their types; nobody else's rows matter."""

import numpy as np
import pandas as pd
import pytest

from mofa_bayes.data.outcomes import read_binary, read_times

IDS = ["p1", "p2", "p3", "p4"]
CLINICAL = pd.DataFrame({"months": [3, 8, 21, 5], "dead": [1, 0, 0, 1], "age": [50.5, 61, 70, 44]}, index=IDS)


def test_order_of_subjects_is_the_callers() -> None:
    times = read_times(CLINICAL.sample(frac=1, random_state=2), "months", "dead", ["p4", "p1", "p3"])
    assert times.time.tolist() == [5.0, 3.0, 21.0]
    assert times.event.tolist() == [1.0, 1.0, 0.0]
    assert read_binary(CLINICAL[::-1], "dead", ["p2", "p1"]).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("dtype", ["bool", "boolean", "int8", "Int64", "float32", "Float64"])
def test_events_of_any_type_become_zeros_and_ones(dtype: str) -> None:
    table = CLINICAL.assign(dead=CLINICAL["dead"].astype(dtype))
    for event in (read_times(table, "months", "dead", IDS).event, read_binary(table, "dead", IDS)):
        assert event.dtype == np.float64
        assert event.tolist() == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("dtype", ["int32", "Int64", "float32", "Float64"])
def test_times_of_any_type_become_64_bit(dtype: str) -> None:
    times = read_times(CLINICAL.astype({"months": dtype}), "months", "dead", IDS)
    assert times.time.dtype == np.float64
    assert times.time.tolist() == [3.0, 8.0, 21.0, 5.0]


def test_an_integer_index_meets_subjects_as_text() -> None:
    assert read_binary(CLINICAL.set_axis([1, 2, 3, 4], axis=0), "dead", ["4", "2"]).tolist() == [1.0, 0.0]


def test_patients_who_are_not_asked_for_do_not_matter() -> None:
    wrong = pd.DataFrame({"months": [-1.0, np.nan], "dead": [2.0, np.nan], "age": [0.0, 0.0]}, index=["q1", "q2"])
    times = read_times(pd.concat([wrong, CLINICAL]), "months", "dead", IDS)
    assert times.time.tolist() == [3.0, 8.0, 21.0, 5.0]


def test_other_columns_do_not_matter() -> None:
    table = CLINICAL.assign(note="text", seen=pd.Timestamp(0))
    assert read_binary(table, "dead", IDS).tolist() == [1.0, 0.0, 0.0, 1.0]


def test_everybody_may_have_the_event() -> None:
    assert read_times(CLINICAL.assign(dead=1), "months", "dead", IDS).event.all()


def test_the_users_table_is_never_changed() -> None:
    table = CLINICAL.copy(deep=True)
    times = read_times(table, "months", "dead", IDS)
    times.time[:] = -1
    read_binary(table, "dead", IDS)[:] = -1
    pd.testing.assert_frame_equal(table, CLINICAL)
