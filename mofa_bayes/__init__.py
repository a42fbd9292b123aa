"""Bayesian multi-view latent factor models for medicine.

The tree tells the story, and data flow one way through it:

    data/        what was seen        MultiView, readers, events, preparation, outcomes, example cohorts
    spec/        what we believe      priors and FactorModel, as values that travel through TOML
    graph/       how data arise       spec and data to a PyMC model: the reference meaning
    engines/     how we learn         vi, spectral, gibbs, nuts
    posterior/   what we learned      Posterior: draws, moments, provenance; align, diagnose, project, impute
    explain/     what it means        variance, sharing, biomarkers, enrichment, association, information, subgroups
    risk/        what to expect       outcome families, the marginal likelihood, RiskModel, scores, metrics
    checking/    is it calibrated     simulation-based calibration and coverage, for any model and engine
    validation/  does it predict      cross-validation and strategies of fusion, on held-out patients
    export/      where it goes        tables, MOFA's files, MuData, the HTML report
    plot/        one function per question
    commands/    the same on files    views, fit, project, risk, score

    import mofa_bayes as mb
    views = mb.MultiView.from_frames({"rna": df_rna, "ehr": df_ehr})
    post = mb.fit(views, mb.FactorModel(n_factors=10), seed=0)
    mb.biomarkers(post, "rna", fdr=0.05)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mofa_bayes.checking import Sizes, check_calibration
    from mofa_bayes.choosing import Choice, choose_n_factors
    from mofa_bayes.cross_fitting import cross_fit
    from mofa_bayes.data import events, steps
    from mofa_bayes.data.annotated import read_mudata
    from mofa_bayes.data.cohorts import load_transbig
    from mofa_bayes.data.imaging import read_image_features, read_volumes, to_volume
    from mofa_bayes.data.long import read_long
    from mofa_bayes.data.multiview import MultiView
    from mofa_bayes.data.readers import read_clinical, read_views
    from mofa_bayes.data.simulate import Design, simulate_cohort
    from mofa_bayes.data.steps import Preparation, prepare
    from mofa_bayes.engines.sampling import Sampling
    from mofa_bayes.engines.vi.settings import Ascent
    from mofa_bayes.explain import (
        Subgroups,
        associate,
        association_draws,
        biomarkers,
        contrast,
        contrast_groups,
        correlate_factors,
        enrichment,
        enrichment_test,
        feature_profile,
        feature_response,
        find_subgroups,
        information,
        information_about,
        match_factors,
        partial_information,
        read_gmt,
        sharing,
        variance_by_group,
        variance_explained,
    )
    from mofa_bayes.export import export_mofa, read_mofa, to_anndata, to_mudata, write_report
    from mofa_bayes.fitting import fit
    from mofa_bayes.graph import graph
    from mofa_bayes.posterior import Posterior, load
    from mofa_bayes.posterior.align import align
    from mofa_bayes.posterior.diagnose import diagnose
    from mofa_bayes.risk import (
        Binary,
        CompetingRisks,
        Compiled,
        Continuous,
        Count,
        Evaluation,
        MultiContinuous,
        Ordinal,
        RiskModel,
        Risks,
        Survival,
        evaluate,
        load_risk,
    )
    from mofa_bayes.spec import (
        ARD,
        ARDFactors,
        FactorModel,
        Gamma,
        Horseshoe,
        Laplace,
        Normal,
        SpikeSlab,
        SpikeSlabFactors,
        StandardFactors,
        ViewModel,
    )
    from mofa_bayes.validation import CrossValidation, Fusion, compare_fusion, cross_validate
    from mofa_bayes.zoo import list_models, load_model

_MODULES = {"events": "data.events", "steps": "data.steps"}
_HOMES = {
    "ARD": "spec",
    "ARDFactors": "spec",
    "Ascent": "engines.vi.settings",
    "Binary": "risk",
    "Choice": "choosing",
    "CompetingRisks": "risk",
    "Compiled": "risk",
    "Continuous": "risk",
    "Count": "risk",
    "CrossValidation": "validation",
    "Design": "data.simulate",
    "Evaluation": "risk",
    "FactorModel": "spec",
    "Fusion": "validation",
    "Gamma": "spec",
    "Horseshoe": "spec",
    "Laplace": "spec",
    "MultiContinuous": "risk",
    "MultiView": "data.multiview",
    "Normal": "spec",
    "Ordinal": "risk",
    "Posterior": "posterior",
    "Preparation": "data.steps",
    "RiskModel": "risk",
    "Risks": "risk",
    "Sampling": "engines.sampling",
    "Sizes": "checking",
    "SpikeSlab": "spec",
    "SpikeSlabFactors": "spec",
    "StandardFactors": "spec",
    "Subgroups": "explain",
    "Survival": "risk",
    "ViewModel": "spec",
    "align": "posterior.align",
    "associate": "explain",
    "association_draws": "explain",
    "biomarkers": "explain",
    "check_calibration": "checking",
    "choose_n_factors": "choosing",
    "compare_fusion": "validation",
    "contrast": "explain",
    "contrast_groups": "explain",
    "correlate_factors": "explain",
    "cross_fit": "cross_fitting",
    "cross_validate": "validation",
    "diagnose": "posterior.diagnose",
    "enrichment": "explain",
    "enrichment_test": "explain",
    "evaluate": "risk",
    "export_mofa": "export",
    "feature_profile": "explain",
    "feature_response": "explain",
    "find_subgroups": "explain",
    "fit": "fitting",
    "graph": "graph",
    "information": "explain",
    "information_about": "explain",
    "list_models": "zoo",
    "load": "posterior",
    "load_model": "zoo",
    "load_risk": "risk",
    "load_transbig": "data.cohorts",
    "match_factors": "explain",
    "partial_information": "explain",
    "prepare": "data.steps",
    "read_clinical": "data.readers",
    "read_gmt": "explain",
    "read_image_features": "data.imaging",
    "read_long": "data.long",
    "read_mofa": "export",
    "read_mudata": "data.annotated",
    "read_views": "data.readers",
    "read_volumes": "data.imaging",
    "sharing": "explain",
    "simulate_cohort": "data.simulate",
    "to_anndata": "export",
    "to_mudata": "export",
    "to_volume": "data.imaging",
    "variance_by_group": "explain",
    "variance_explained": "explain",
    "write_report": "export",
}

__all__ = [
    "ARD",
    "ARDFactors",
    "Ascent",
    "Binary",
    "Choice",
    "CompetingRisks",
    "Compiled",
    "Continuous",
    "Count",
    "CrossValidation",
    "Design",
    "Evaluation",
    "FactorModel",
    "Fusion",
    "Gamma",
    "Horseshoe",
    "Laplace",
    "MultiContinuous",
    "MultiView",
    "Normal",
    "Ordinal",
    "Posterior",
    "Preparation",
    "RiskModel",
    "Risks",
    "Sampling",
    "Sizes",
    "SpikeSlab",
    "SpikeSlabFactors",
    "StandardFactors",
    "Subgroups",
    "Survival",
    "ViewModel",
    "align",
    "associate",
    "association_draws",
    "biomarkers",
    "check_calibration",
    "choose_n_factors",
    "compare_fusion",
    "contrast",
    "contrast_groups",
    "correlate_factors",
    "cross_fit",
    "cross_validate",
    "diagnose",
    "enrichment",
    "enrichment_test",
    "evaluate",
    "events",
    "export_mofa",
    "feature_profile",
    "feature_response",
    "find_subgroups",
    "fit",
    "graph",
    "information",
    "information_about",
    "list_models",
    "load",
    "load_model",
    "load_risk",
    "load_transbig",
    "match_factors",
    "partial_information",
    "prepare",
    "read_clinical",
    "read_gmt",
    "read_image_features",
    "read_long",
    "read_mofa",
    "read_mudata",
    "read_views",
    "read_volumes",
    "sharing",
    "simulate_cohort",
    "steps",
    "to_anndata",
    "to_mudata",
    "to_volume",
    "variance_by_group",
    "variance_explained",
    "write_report",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that importing the package costs nothing."""
    if name in _MODULES:
        return import_module(f"{__name__}.{_MODULES[name]}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
