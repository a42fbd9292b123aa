"""The report: one offline HTML file that says what was fitted, whether to believe it, and what follows."""

from mofa_bayes.export.report.write import write_report

__all__ = ["write_report"]
