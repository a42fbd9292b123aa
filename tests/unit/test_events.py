"""Laws of events into views: nothing at or after the index time counts, and a zero is told from an unknown."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb
from mofa_bayes.data.events import Count, Latest, Mean, Presence, read_meds, read_omop, tabulate_events
from mofa_bayes.errors import DataError, FileError, SpecError

INDEX = pd.Timestamp("2024-06-01 12:00")
WHO = [f"p{n}" for n in range(12)]
INDEX_TIMES = pd.Series(INDEX, index=WHO)


def days_before(days):
    return INDEX - dt.timedelta(days=days)


def make_events(rows):
    return pd.DataFrame(rows, columns=["subject_id", "time", "code", "numeric_value"])


@pytest.fixture
def events():
    """Everyone has a visit; half have diabetes; labs rise with time; p11 has nothing at all."""
    rows = []
    for n, who in enumerate(WHO[:11]):
        rows += [(who, days_before(5 + k), "VISIT//out", np.nan) for k in range(n % 3 + 1)]
        rows += [(who, days_before(30), "LAB//crea", 1.0 + n), (who, days_before(3), "LAB//crea", 2.0 + n)]
        if n % 2:
            rows.append((who, days_before(20), "DX//E11", np.nan))
    rows.append(("p0", days_before(9), "DX//rare", np.nan))
    return make_events(rows)


def test_flags_are_zero_for_whom_was_seen_and_missing_for_whom_was_not(events):
    views = tabulate_events(events, INDEX_TIMES, {"dx": Presence("DX//*", min_subjects=5)})
    found = views["dx"].to_pandas()["DX//E11"]
    assert found["p1"] == 1
    assert found["p0"] == 0  # seen, without the code
    assert np.isnan(found.get("p11", np.nan))  # never seen
    assert set(views.likelihoods("dx").values) == {"bernoulli"}


def test_counts_are_counted_and_values_are_the_last_or_the_mean(events):
    rules = {"n": Count("VISIT//*"), "last": Latest("LAB//*"), "mean": Mean("LAB//*")}
    views = tabulate_events(events, INDEX_TIMES, rules)
    assert views["n"].sel(subject="p2").item() == 3
    assert views["last"].sel(subject="p4").item() == 6.0
    assert views["mean"].sel(subject="p4").item() == 5.5
    assert set(views.likelihoods("n").values) == {"negative_binomial"}


def test_window_and_gap_bound_what_counts(events):
    rules = {"recent": Mean("LAB//*", within="10D"), "older": Mean("LAB//*", gap="10D")}
    views = tabulate_events(events, INDEX_TIMES, rules)
    assert views["recent"].sel(subject="p3").item() == 5.0
    assert views["older"].sel(subject="p3").item() == 4.0


@pytest.mark.parametrize("later", [dt.timedelta(0), dt.timedelta(microseconds=1), dt.timedelta(days=900)])
def test_nothing_at_or_after_the_index_time_is_looked_at(events, later):
    rules = {"dx": Presence("DX//*", min_subjects=5), "n": Count("VISIT//*"), "lab": Latest("LAB//*")}
    future = [(who, INDEX + later, code, 99.0) for who in WHO[:11] for code in ("DX//E11", "VISIT//out", "LAB//crea")]
    alone = tabulate_events(events, INDEX_TIMES, rules)
    together = tabulate_events(pd.concat([events, make_events(future)]), INDEX_TIMES, rules)
    assert together.fingerprint == alone.fingerprint


def test_codes_of_few_patients_are_left_out(events):
    views = tabulate_events(events, INDEX_TIMES, {"dx": Presence("DX//*", min_subjects=5)})
    assert views.features("dx") == ("DX//E11",)
    with pytest.raises(SpecError, match="5 or more"):
        Presence("DX//*", min_subjects=1)


def test_new_patients_get_the_codes_of_the_fit(events):
    rules = {"dx": Presence("DX//*", min_subjects=5)}
    fitted = tabulate_events(events, INDEX_TIMES, rules)
    new = tabulate_events(events, INDEX_TIMES.loc[["p0", "p1"]], rules, features={"dx": fitted.features("dx")})
    assert new.features("dx") == fitted.features("dx")
    assert new["dx"].values.ravel().tolist() == [0.0, 1.0]


def test_counts_are_exposed_for_as_long_as_events_would_have_been_recorded(events):
    follow_up = pd.DataFrame({"subject_id": WHO, "start": days_before(73.05), "end": days_before(-100)})
    follow_up.loc[3, "start"] = INDEX  # observed from the index time only: no exposure
    rule = {"n": Count("VISIT//*", within="365D")}
    views = tabulate_events(events, INDEX_TIMES, rule, follow_up=follow_up)
    assert views.exposure("n").sel(subject="p1").item() == pytest.approx(0.2)
    assert np.isnan(views["n"].sel(subject="p3").item())


def test_a_person_may_have_several_index_times(events):
    index = pd.DataFrame(
        {"subject_id": [*WHO[:11], "p1"], "time": [*[INDEX] * 11, days_before(25)]}, index=[*WHO[:11], "p1 earlier"]
    )
    views = tabulate_events(events, index, {"dx": Presence("DX//*", min_subjects=5)})
    assert views["dx"].sel(subject="p1").item() == 1
    assert views["dx"].sel(subject="p1 earlier").item() == 0


def test_time_zones_do_not_move_events(events):
    abroad = events.assign(time=events["time"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    rules = {"lab": Latest("LAB//*")}
    assert (
        tabulate_events(abroad, INDEX_TIMES, rules).fingerprint
        == tabulate_events(events, INDEX_TIMES, rules).fingerprint
    )


def write_omop(folder):
    people = range(1, 9)
    conditions = pd.DataFrame(
        {
            "person_id": people,
            "condition_concept_id": 201826,
            "condition_start_date": "2024-05-01",
            "condition_start_datetime": "2024-05-01 00:00:00",
        }
    )
    conditions.to_csv(folder / "condition_occurrence.csv", index=False)
    measurements = pd.DataFrame(
        {
            "person_id": [*people, *people],
            "measurement_concept_id": 3016723,
            "measurement_date": "2024-05-02",
            "measurement_datetime": "2024-05-02 08:30:00",
            "value_as_number": np.arange(16.0),
            "unit_concept_id": [8840] * 8 + [8749] * 8,
        }
    )
    measurements.to_parquet(folder / "measurement.parquet")
    pd.DataFrame({"concept_id": [201826], "concept_name": ["Type 2 diabetes mellitus"]}).to_csv(
        folder / "concept.csv", index=False
    )


def test_omop_tables_become_events_with_named_codes_and_units_apart(tmp_path):
    write_omop(tmp_path)
    events = read_omop(tmp_path)
    codes = set(events["code"])
    assert "CONDITION//201826 Type 2 diabetes mellitus" in codes
    assert {"MEASUREMENT//3016723//8840", "MEASUREMENT//3016723//8749"} <= codes


def test_an_omop_date_counts_from_the_end_of_its_day(tmp_path):
    write_omop(tmp_path)
    events = read_omop(tmp_path)
    noon = pd.Series(pd.Timestamp("2024-05-01 12:00"), index=[str(n) for n in range(1, 9)])
    with pytest.raises(DataError, match="none before the index times"):
        tabulate_events(events, noon, {"dx": Presence("CONDITION//*", min_subjects=5)})
    next_day = tabulate_events(
        events, noon + dt.timedelta(days=1), {"dx": Presence("CONDITION//*", min_subjects=5)}, features={"dx": ["x"]}
    )
    assert next_day.n_subjects == 8


def test_meds_folders_are_read_without_their_metadata(events, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "metadata").mkdir()
    events.iloc[:10].to_parquet(tmp_path / "data" / "0.parquet")
    events.iloc[10:].to_parquet(tmp_path / "data" / "1.parquet")
    pd.DataFrame({"code": ["x"]}).to_parquet(tmp_path / "metadata" / "codes.parquet")
    assert len(read_meds(tmp_path)) == len(events)


@pytest.mark.parametrize(
    ("ask", "error", "said"),
    [
        (lambda events: tabulate_events(None, INDEX_TIMES, {"x": Presence()}), DataError, "NoneType"),
        (
            lambda events: tabulate_events(events.drop(columns="code"), INDEX_TIMES, {"x": Presence()}),
            DataError,
            "code",
        ),
        (
            lambda events: tabulate_events(events.assign(time="soon"), INDEX_TIMES, {"x": Presence()}),
            DataError,
            "timestamps",
        ),
        (
            lambda events: tabulate_events(events.assign(subject_id=None), INDEX_TIMES, {"x": Presence()}),
            DataError,
            "without",
        ),
        (lambda events: tabulate_events(events, [1], {"x": Presence()}), DataError, "index times"),
        (lambda events: tabulate_events(events, INDEX_TIMES.iloc[:0], {"x": Presence()}), DataError, "index times"),
        (lambda events: tabulate_events(events, INDEX_TIMES, {}), DataError, "rules"),
        (lambda events: tabulate_events(events, INDEX_TIMES, {"x": "DX//*"}), DataError, "rules"),
        (lambda events: tabulate_events(events, INDEX_TIMES, {"x": Presence("NO//*")}), DataError, "no code"),
        (lambda events: tabulate_events(events, INDEX_TIMES, {"x": Count()}, follow_up=events), DataError, "follow_up"),
        (lambda events: Presence(within="a while"), SpecError, "duration"),
        (lambda events: Presence(within="1D", gap="2D"), SpecError, "longer than the gap"),
        (lambda events: Presence([]), SpecError, "codes"),
        (lambda events: Presence(min_subjects=True), SpecError, "min_subjects"),
        (lambda events: read_meds("nowhere"), FileError, "nowhere"),
        (lambda events: read_omop("nowhere"), FileError, "nowhere"),
        (lambda events: read_omop(".", tables=["note"]), DataError, "note"),
    ],
)
def test_bad_input_is_named(events, ask, error, said):
    with pytest.raises(error, match=said):
        ask(events)


def test_the_mimic_and_omop_extracts_become_views_and_fit(shared_data):
    events = read_meds(shared_data / "mimic3_demo" / "events_meds.parquet")
    clinical = pd.read_parquet(shared_data / "mimic3_demo" / "clinical.parquet")
    admitted = clinical["admit_time"] + dt.timedelta(hours=48)
    index = pd.DataFrame({"subject_id": clinical["subject"].astype(str), "time": admitted})
    rules = {
        "labs": Latest("LAB//*", within="48h", min_subjects=60),
        "drugs": Presence("MEDICATION//START//*", within="48h", min_subjects=15),
    }
    views = tabulate_events(events, index, rules)
    post = mb.fit(views, mb.FactorModel(n_factors=3), n_draws=10, progress=False)
    assert post.n_subjects == len(clinical)
    omop = read_omop(shared_data / "synthea27nj_omop")
    periods = pd.read_parquet(shared_data / "synthea27nj_omop" / "observation_period.parquet")
    ends = periods.set_index("person_id")["observation_period_end_date"]
    assert tabulate_events(omop, ends, {"dx": Presence("CONDITION//*")}).n_subjects == 28
