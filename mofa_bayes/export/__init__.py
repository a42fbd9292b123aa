"""Where results go: tables, the files and objects of neighbours, and the report."""

from mofa_bayes.export.mofa import export_mofa
from mofa_bayes.export.mofa_reading import read_mofa
from mofa_bayes.export.report import write_report
from mofa_bayes.export.scverse import to_anndata, to_mudata
from mofa_bayes.export.tables import tabulate_moments, write_csv, write_parquet, write_table

__all__ = [
    "export_mofa",
    "read_mofa",
    "tabulate_moments",
    "to_anndata",
    "to_mudata",
    "write_csv",
    "write_parquet",
    "write_report",
    "write_table",
]
