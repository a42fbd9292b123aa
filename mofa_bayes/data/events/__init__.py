"""Clinical events into views: MEDS or OMOP tables, a window before each patient's index time, one rule per view."""

from mofa_bayes.data.events.rules import Count, Latest, Mean, Presence
from mofa_bayes.data.events.sources import read_meds, read_omop
from mofa_bayes.data.events.tabulate import tabulate_events

__all__ = ["Count", "Latest", "Mean", "Presence", "read_meds", "read_omop", "tabulate_events"]
