"""Laws of feature sets, their statistics, and enrichment over draws and as MOFA has it."""

import numpy as np
import pandas as pd
import pytest
from planted import plant_posterior
from scipy.stats import mannwhitneyu, norm, ttest_ind

import mofa_bayes as mb
from mofa_bayes.errors import DataError, FileError
from mofa_bayes.explain.enrichment import enrichment_draws
from mofa_bayes.explain.genesets import match_sets
from mofa_bayes.explain.multiplicity import adjust
from mofa_bayes.explain.residuals import mean_correlation, residuals
from mofa_bayes.explain.set_statistics import compare_ranks, compare_sets, score_ranks, take_part

N_NULL, SIZE = 50, 12


@pytest.fixture(scope="module")
def pathways():
    """One view of 700 features: 50 sets whose features share noise and nothing else, and one with large loadings."""
    rng = np.random.default_rng(5)
    n, n_features, share = 120, 700, 0.4
    loadings = 0.6 * rng.standard_normal((n_features, 2)) * (rng.random((n_features, 2)) < 0.3)
    loadings[600:620, 0] = 0.6 * rng.choice([-1, 1], 20) + 0.3 * rng.standard_normal(20)
    noise = np.sqrt(1 - share) * rng.standard_normal((n, n_features))
    noise[:, : N_NULL * SIZE] += np.sqrt(share) * np.repeat(rng.standard_normal((n, N_NULL)), SIZE, axis=1)
    values = rng.standard_normal((n, 2)) @ loadings.T + noise
    names = [f"g{d}" for d in range(n_features)]
    frame = pd.DataFrame(values, index=[f"p{i}" for i in range(n)], columns=names)
    views = mb.MultiView.from_frames({"rna": frame})
    post = mb.fit(views, mb.FactorModel(n_factors=2), seed=0, n_draws=200, progress=False)
    sets = {f"null{i}": names[i * SIZE : (i + 1) * SIZE] for i in range(N_NULL)}
    return views, post, sets | {"planted": names[600:620]}


@pytest.mark.parametrize("statistic", ["mean", "rank"])
def test_a_planted_set_is_found_and_sets_with_shared_noise_are_not(pathways, statistic):
    views, post, sets = pathways
    tables = [
        mb.enrichment(post, "rna", sets, views=views, statistic=statistic),
        mb.enrichment_test(post, "rna", sets, views=views, statistic=statistic, method="correlation"),
    ]
    for table in tables:
        assert table["set"].iloc[0] == "planted"
        assert table["fdr"].iloc[0] < 0.05
        null = table[table["set"] != "planted"]
        assert len(null) == 2 * N_NULL
        assert (null["fdr"] < 0.05).sum() == 0
        assert (null["p"] < 0.05).mean() <= 0.05


def test_shared_noise_passes_for_enrichment_where_correlation_is_left_out(pathways):
    views, post, sets = pathways
    rates = {}
    for method in ("parametric", "correlation"):
        table = mb.enrichment_test(post, "rna", sets, method=method, views=views, sign="signed", statistic="rank")
        rates[method] = (table.loc[table["set"] != "planted", "p"] < 0.05).mean()
    assert rates["parametric"] > 0.1 > 0.05 >= rates["correlation"]


def test_correlation_of_residuals_is_that_which_was_planted(pathways):
    views, post, sets = pathways
    table = mb.enrichment(post, "rna", sets, views=views).drop_duplicates("set").set_index("set")
    assert table["correlation"].drop("planted").mean() == pytest.approx(0.4, abs=0.05)
    assert abs(table.loc["planted", "correlation"]) < 0.05


def test_correlated_errors_widen_the_error_of_a_set_by_their_share(pathways):
    """e^2 grows by c v (m - 1) / m, c the residuals' correlation and v the mean variance of the set's loadings."""
    views, post, sets = pathways
    own = {"null7": sets["null7"]}
    plain, wide = (enrichment_draws(post, "rna", own, sign="signed", views=data) for data in (None, views))
    spread = post.loadings("rna").sel(feature_rna=own["null7"]).var(("chain", "draw")).mean("feature_rna")
    added = wide["correlation"].item() * spread * (SIZE - 1) / SIZE
    gained = (wide["error"] ** 2 - plain["error"] ** 2).sel(set="null7")
    np.testing.assert_allclose(gained, added.broadcast_like(gained), rtol=1e-3)
    assert np.isnan(plain["correlation"].item())


def test_p_of_sets_without_enrichment_is_uniform_when_loadings_are_known():
    """Loadings of every feature from one law, draws without spread: P(p < a) = a for random sets."""
    rng = np.random.default_rng(0)
    weights = np.tile(rng.gamma(1.5, 1.0, (600, 1)) * rng.choice([-1, 1], (600, 1)), (2, 1, 1))
    post = plant_posterior(rng.standard_normal((2, 20, 1)), {"rna": weights})
    sets = {f"s{i}": [f"rna_{d}" for d in rng.choice(600, 30, replace=False)] for i in range(800)}
    for table in (mb.enrichment(post, "rna", sets), mb.enrichment_test(post, "rna", sets)):
        for level in (0.05, 0.25, 0.5, 0.75):
            assert (table["p"] < level).mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 800))


def test_probability_of_enrichment_is_the_share_of_the_mixture_above_zero():
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((40, 80, 1)) * 0.3 + np.where(np.arange(80) < 15, 0.25, 0.0)[:, None]
    post = plant_posterior(rng.standard_normal((40, 10, 1)), {"rna": weights}, chains=2)
    sets = {"s": [f"rna_{d}" for d in range(15)]}
    row = mb.enrichment(post, "rna", sets, sign="signed", level=0.9).iloc[0]
    draws = enrichment_draws(post, "rna", sets, sign="signed")
    assert draws["difference"].dims == ("chain", "draw", "factor", "set")
    noise = rng.standard_normal((2, 20, 1, 1, 5000))
    mixture = draws["difference"].values[..., None] + draws["error"].values[..., None] * noise
    assert row["probability"] == pytest.approx((mixture > 0).mean(), abs=0.005)
    assert row["difference"] == pytest.approx(mixture.mean(), abs=0.003)
    assert row["lower"] == pytest.approx(np.quantile(mixture, 0.05), abs=0.01)
    assert row["p"] == pytest.approx(2 * min(row["probability"], 1 - row["probability"]))


def test_many_draws_are_thinned_evenly_over_the_chains():
    rng = np.random.default_rng(8)
    post = plant_posterior(np.zeros((2400, 3, 1)), {"rna": rng.standard_normal((2400, 12, 1))}, chains=2)
    draws = enrichment_draws(post, "rna", {"s": ["rna_0", "rna_1"]}, min_size=2, sign="signed")
    assert draws["draw"].values.tolist() == list(range(0, 1200, 3))
    own = post.loadings("rna").isel(chain=1, draw=6, factor=0).values
    assert draws["difference"].isel(chain=1, draw=2).item() == pytest.approx(own[:2].mean() - own[2:].mean())


def test_uncertain_loadings_make_enrichment_less_sure():
    rng = np.random.default_rng(2)
    mean = np.where(np.arange(200) < 20, 0.5, 0.2)[:, None] + 0.05 * rng.standard_normal((200, 1))
    sets = {"s": [f"rna_{d}" for d in range(20)]}
    sure = []
    for spread in (0.01, 1.5):
        weights = mean + spread * rng.standard_normal((200, 200, 1))
        post = plant_posterior(rng.standard_normal((200, 5, 1)), {"rna": weights})
        sure.append(mb.enrichment(post, "rna", sets)["probability"].iloc[0])
    assert sure[0] > 0.999 > sure[1]


def test_statistics_are_the_classical_ones():
    rng = np.random.default_rng(3)
    values = rng.gamma(1.0, size=(90, 2))
    values[:20] = np.round(values[:20])
    members = np.zeros((1, 90), dtype=bool)
    members[0, 5:30] = True
    found = compare_sets(values, members)
    t = ttest_ind(values[5:30], np.delete(values, np.s_[5:30], axis=0))
    np.testing.assert_allclose((found.difference / found.error())[0], t.statistic)
    z = compare_ranks(values, members, np.zeros(1))[0]
    p = mannwhitneyu(values[5:30], np.delete(values, np.s_[5:30], axis=0), method="asymptotic", use_continuity=False)
    np.testing.assert_allclose(2 * norm.sf(np.abs(z)), p.pvalue, rtol=1e-6)


def test_ranks_of_correlated_features_have_the_variance_that_is_said():
    rng = np.random.default_rng(4)
    size, rest, c = 8, 40, 0.5
    inside = np.sqrt(c) * rng.standard_normal((1, 4000)) + np.sqrt(1 - c) * rng.standard_normal((size, 4000))
    values = np.concatenate([inside, rng.standard_normal((rest, 4000))])
    members = np.arange(size + rest)[None] < size
    assert compare_ranks(values, members, np.array([c])).std() == pytest.approx(1, abs=0.04)
    assert compare_ranks(values, members, np.zeros(1)).std() > 1.5


def test_tests_against_random_sets_and_by_t_agree(pathways):
    _, post, sets = pathways
    few = {name: sets[name] for name in ("null1", "null2", "null3", "planted")}
    for options in ({}, {"statistic": "rank"}, {"sign": "signed"}):
        one, other = (
            mb.enrichment_test(post, "rna", few, method=method, **options).set_index(["factor", "set"])["p"]
            for method in ("parametric", "permutation")
        )
        np.testing.assert_allclose(other.loc[one.index], one, atol=0.06)


@pytest.mark.slow  # decoupler compiles for half a minute
def test_parametric_statistic_is_that_of_decoupler(pathways):
    decoupler = pytest.importorskip("decoupler")
    _, post, sets = pathways
    mean = post.loadings("rna").mean(("chain", "draw")).to_pandas().T.astype(float)
    net = pd.DataFrame([(name, own) for name, members in sets.items() for own in members], columns=["source", "target"])
    score, _ = decoupler.mt.ulm(mean, net.assign(weight=1.0), tmin=5)
    table = mb.enrichment_test(post, "rna", sets, sign="signed").pivot(index="factor", columns="set")["statistic"]
    np.testing.assert_allclose(table, score.loc[table.index, table.columns], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"sign": "positive"}, {"sign": "negative"}])
def test_turning_a_factor_over_exchanges_its_sides(options):
    rng = np.random.default_rng(6)
    weights = rng.standard_normal((5, 60, 1))
    sets = {"a": [f"rna_{d}" for d in range(12)], "b": [f"rna_{d}" for d in range(20, 45)]}
    turned = {"positive": "negative", "negative": "positive"}.get(options.get("sign"), "all")
    one, other = (
        mb.enrichment(plant_posterior(rng.standard_normal((5, 8, 1)), {"rna": w}), "rna", sets, **own)
        for w, own in ((weights, options), (-weights, {"sign": turned}))
    )
    pd.testing.assert_frame_equal(one, other)


def test_parts_of_loadings():
    w = np.array([-2.0, 0.0, 3.0])
    assert [take_part(w, sign).tolist() for sign in ("all", "positive", "negative", "signed")] == [
        [2, 0, 3],
        [0, 0, 3],
        [2, 0, 0],
        [-2, 0, 3],
    ]


def test_normal_scores_are_centred_and_ties_share_theirs():
    scores = score_ranks(np.array([[0.0], [0.0], [5.0], [-1.0]]))[:, 0]
    assert scores[0] == scores[1]
    assert scores[2] == -scores[3] > 0


def test_mean_correlation_is_that_of_the_pairs():
    rng = np.random.default_rng(7)
    left = rng.standard_normal((50, 6)) + rng.standard_normal((50, 1))
    left = (left - left.mean(axis=0)) / left.std(axis=0)
    members = np.array([[1, 1, 1, 0, 0, 1], [0, 1, 0, 1, 1, 0]], dtype=bool)
    for own, found in zip(members, mean_correlation(left, members), strict=True):
        pairs = np.corrcoef(left[:, own].T)[np.triu_indices(own.sum(), 1)]
        assert found == pytest.approx(pairs.mean())
    left[rng.random(left.shape) < 0.3] = np.nan
    np.testing.assert_allclose(mean_correlation(left, members), 0.5, atol=0.2)


def test_residuals_are_in_the_order_of_the_posterior_and_of_other_data_refused(cohort, post):
    left = residuals(post, cohort.views, "ehr")
    assert left.shape == (len(post.subjects), 12)
    np.testing.assert_allclose(np.nanmean(left**2, axis=0), 1)
    assert (np.isnan(left) == np.isnan(cohort.views["ehr"].values)).all()
    with pytest.raises(DataError, match="other data"):
        residuals(post, cohort.views.keep_views(["ehr"]), "ehr")


def test_adjusted_p_values():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.5])
    np.testing.assert_allclose(adjust(p), [0.04, np.nan, 0.16 / 3, 0.16 / 3, 0.5])


def test_gmt_files_are_read(tmp_path):
    path = tmp_path / "sets.gmt"
    path.write_bytes("\ufeffHYPOXIA\tabout\tVEGFA\tCA9\tVEGFA\t\r\n\r\nZWEI\t\t ä \tB\n".encode())
    assert mb.read_gmt(path) == {"HYPOXIA": ("VEGFA", "CA9"), "ZWEI": ("ä", "B")}
    sets = match_sets(path, ("CA9", "VEGFA", "x", "y"), min_size=2)
    assert sets.names == ("HYPOXIA",)
    assert sets.members.tolist() == [[True, True, False, False]]
    assert sets.n_named.tolist() == [2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no set"),
        (b"only one column\n", "line 1"),
        (b"a\tb\n", "line 1"),
        (b"a\tb\tc\n\tb\tc\n", "line 2"),
        (b"a\tb\tc\na\tb\td\n", "second set"),
        (b"a\tb\t\0\n", "line 1"),
        (b"\xff\xfe\x00a\tb\tc", "UnicodeDecodeError"),
        (b"PK\x03\x04" + bytes(range(256)), "UnicodeDecodeError"),
    ],
)
def test_what_is_no_gmt_file_is_refused(tmp_path, content, said):
    path = tmp_path / "bad.gmt"
    path.write_bytes(content)
    with pytest.raises(FileError, match=said):
        mb.read_gmt(path)


def test_absent_and_huge_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(FileError, match="FileNotFoundError"):
        mb.read_gmt(tmp_path / "absent.gmt")
    monkeypatch.setattr("mofa_bayes.explain.genesets._LARGEST", 3)
    (tmp_path / "big.gmt").write_text("a\tb\tc\n")
    with pytest.raises(FileError, match="6 bytes"):
        mb.read_gmt(tmp_path / "big.gmt")


@pytest.mark.parametrize(
    ("sets", "options", "said"),
    [
        ([("a", "b")], {}, "list"),
        ({"a": "rna_1"}, {}, "members of 'a'"),
        ({"a": 3}, {}, "members of 'a'"),
        ({"a": ["TP53", "MYC"]}, {}, "none of 1"),
        ({}, {}, "none of 0"),
        ({"a": ["rna_1"]}, {"min_size": 1}, "min_size"),
        ({"a": ["rna_1"]}, {"max_size": "x"}, "max_size"),
        ({"a": ["rna_1"]}, {"sign": "up"}, "sign"),
        ({"a": ["rna_1"]}, {"statistic": "t"}, "statistic"),
        ({"a": ["rna_1"]}, {"factors": ["F9"]}, "factors"),
        ({"a": ["rna_1"]}, {"factors": []}, "factors"),
    ],
)
def test_unusable_questions_are_refused(post, sets, options, said):
    for ask in (mb.enrichment, mb.enrichment_test):
        with pytest.raises(DataError, match=said):
            ask(post, "rna", sets, **options)


def test_unusable_tests_are_refused(post):
    sets = {"a": [f"rna_{d}" for d in range(12)]}
    for options, said in (
        ({"method": "fisher"}, "method"),
        ({"method": "correlation"}, "views"),
        ({"n_permutations": 0}, "n_permutations"),
    ):
        with pytest.raises(DataError, match=said):
            mb.enrichment_test(post, "rna", sets, **options)
    assert len(mb.enrichment(post, "rna", sets, factors="F1", max_size=20)) == 1
