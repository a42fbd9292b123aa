"""Example cohorts that ship inside other packages."""

import pandas as pd

from mofa_bayes.data.extras import import_extra
from mofa_bayes.data.multiview import MultiView

_DAYS_PER_YEAR = 365.25


def load_transbig() -> tuple[MultiView, pd.DataFrame]:
    """Load the TRANSBIG breast-cancer cohort (Desmedt et al. 2007, Clin Cancer Res 13:3207; GEO GSE7390).

    198 node-negative patients who had no systemic treatment. It ships inside scikit-survival, which is GPL and
    therefore an extra of this package.

    Returns
    -------
    views
        `rna`, 76 probes of the signature (log2 expression); `ehr`, age (years), tumour size (cm), and as 0/1: oestrogen
        receptor, poorly and well differentiated (NaN where the grade is unknown).
    clinical
        By patient: `years` to distant metastasis or last contact, and `metastasis`, 1 where it was seen.

    Raises
    ------
    MissingExtraError
        scikit-survival is not installed.
    """
    datasets = import_extra("sksurv.datasets", "demo", "the TRANSBIG cohort")
    table, outcome = datasets.load_breast_cancer()
    table.index = pd.Index([f"patient_{n + 1:03d}" for n in range(len(table))], name="subject")
    grade = table["grade"].astype(str)
    known = ~grade.str.startswith("unk")
    ehr = pd.DataFrame(
        {
            "age": table["age"],
            "tumour_size": table["size"],
            "er_positive": (table["er"] == "positive").astype(float),
            "grade_poor": (grade == "poorly differentiated").astype(float).where(known),
            "grade_well": (grade == "well differentiated").astype(float).where(known),
        }
    )
    rna = table[[column for column in table.columns if str(column).startswith("X")]]
    rna.columns = [str(column).removeprefix("X") for column in rna.columns]
    clinical = pd.DataFrame(
        {"years": outcome["t.tdm"] / _DAYS_PER_YEAR, "metastasis": outcome["e.tdm"].astype(int)}, index=table.index
    )
    return MultiView.from_frames({"rna": rna, "ehr": ehr}), clinical
