"""Figures look as they did: each is drawn and compared with its stored picture."""

import inspect
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from golden.pictures import FOLDER, PICTURES, Subject, make_subject, render
from matplotlib import pyplot as plt
from matplotlib.testing.compare import compare_images

from mofa_bayes import plot

mpl.use("Agg")

TOLERANCE = 5.0  # root mean square over pixels, of 255
ELSEWHERE = {
    "plot_calibration", "plot_decision", "plot_factor", "plot_pareto_k", "plot_predictive", "plot_risk_distribution",
    "save_figure", "plot_contributions", "plot_effects", "plot_fusion", "plot_survival",
}  # fmt: skip


@pytest.fixture(scope="module")
def subject() -> Subject:
    return make_subject()


@pytest.mark.parametrize("name", PICTURES)
def test_picture_looks_as_it_did(name: str, subject: Subject, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("a figure showed itself"))
    before = plt.get_fignums()
    texts = render(name, subject, tmp_path / "drawn.png")
    assert plt.get_fignums() == before
    assert [text for text in texts for own in subject[0].subjects if own in text] == []
    stored = FOLDER / f"{name}.png"
    assert compare_images(str(stored), str(tmp_path / "drawn.png"), TOLERANCE) is None
    assert stored.stat().st_size < 15_000


def test_pictures_differ_by_more_than_the_tolerance() -> None:
    """Otherwise no comparison could fail: an empty page, or another picture, is told from each of them."""
    pictures = {name: 255 * plt.imread(FOLDER / f"{name}.png")[..., :3].astype(float) for name in PICTURES}
    for name, own in pictures.items():
        others = [np.full_like(own, 255.0), *(other for key, other in pictures.items() if key != name)]
        assert min(np.sqrt(np.mean((own - other) ** 2)) for other in others) > 2 * TOLERANCE


def test_every_figure_has_a_picture_or_a_test_of_its_own() -> None:
    source = (FOLDER.parent / "pictures.py").read_text(encoding="utf-8")
    assert [name for name in plot.__all__ if f"plot.{name}(" not in source and name not in ELSEWHERE] == []


def test_every_figure_takes_axes_and_makes_its_own_without() -> None:
    for name in set(plot.__all__) - {"plot_factor", "plot_fusion", "save_figure"}:
        own = inspect.signature(getattr(plot, name)).parameters["ax"]
        assert (own.kind, own.default) == (own.KEYWORD_ONLY, None)


def test_every_stored_picture_is_drawn() -> None:
    assert {path.stem for path in FOLDER.glob("*.png")} == set(PICTURES)
