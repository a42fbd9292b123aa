"""Drug responses of real cell lines: a panel predicts held-out lines better than the mean of each drug does."""

import numpy as np
import pandas as pd
import pytest

import mofa_bayes as mb

N_DRUGS, N_HELD_OUT = 10, 150


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mofa_bayes.errors.ConvergenceWarning")
def test_held_out_responses_are_predicted_better_than_by_their_mean(shared_data):
    expression, response = (
        pd.read_parquet(shared_data / "gdsc_ccle" / f"{name}.parquet")
        for name in ("expression", "drug_response_lnIC50")
    )
    drugs = list(response.notna().sum().nlargest(N_DRUGS).index)
    order = np.random.default_rng(0).permutation(response.index)
    held_out, used = order[:N_HELD_OUT], order[N_HELD_OUT:]
    views = mb.MultiView.from_frames({"expression": expression.loc[used]})
    post = mb.fit(views, mb.FactorModel(n_factors=8), engine="spectral", seed=0)
    outcome = mb.MultiContinuous(drugs)
    fitted = mb.RiskModel(outcome).fit(post, response, seed=0, n_draws=200, n_tune=300, n_chains=2)
    new = post.project(mb.MultiView.from_frames({"expression": expression.loc[held_out]}, uninformative="keep"))
    table = mb.evaluate(fitted.predict(new), response, outcome, seed=0, n_bootstrap=20).table
    by_metric = table.groupby("metric")["estimate"].mean()
    assert by_metric["r_squared"] > 0.1
    assert 0.9 < by_metric["coverage"] < 0.98
