"""Figures look as they did: each is drawn and compared with its stored picture."""

import inspect
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import matplotlib as mpl
import numpy as np
import pytest
from golden.pictures import FOLDER, PANELS, PICTURES, Subject, make_subject, render
from matplotlib import pyplot as plt
from matplotlib.testing.compare import compare_images

from mofa_bayes import plot

mpl.use("Agg")

TOLERANCE = 5.0  # root mean square over pixels, of 255
FIGURES = set(plot.__all__) - {"save_figure"}


@pytest.fixture(scope="module")
def subject() -> Subject:
    return make_subject()


@pytest.mark.parametrize("name", [*PICTURES, *PANELS])
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
    pictures = {name: 255 * plt.imread(FOLDER / f"{name}.png")[..., :3].astype(float) for name in (*PICTURES, *PANELS)}
    for name, own in pictures.items():
        others = [np.full_like(own, 255.0), *(each for key, each in pictures.items() if key != name)]
        alike = [other for other in others if other.shape == own.shape]
        assert min(np.sqrt(np.mean((own - other) ** 2)) for other in alike) > 2 * TOLERANCE


def test_every_figure_has_a_picture(subject: Subject, monkeypatch) -> None:
    drawn = set()
    for name in FIGURES:
        monkeypatch.setattr(plot, name, lambda *given, name=name, **more: drawn.add(name))
    for draw in PICTURES.values():
        draw(*subject, None)
    for draw in PANELS.values():
        draw(subject[0])
    assert drawn == FIGURES


def test_every_figure_is_public() -> None:
    modules = [import_module(f"{plot.__name__}.{found.name}") for found in iter_modules(plot.__path__)]
    assert {name for own in modules for name in vars(own) if name.startswith("plot_")} == FIGURES


def test_every_figure_takes_axes_and_makes_its_own_without() -> None:
    for name in FIGURES - {f"plot_{panels}" for panels in PANELS}:
        own = inspect.signature(getattr(plot, name)).parameters["ax"]
        assert (own.kind, own.default) == (own.KEYWORD_ONLY, None)


def test_every_stored_picture_is_drawn() -> None:
    assert {path.stem for path in FOLDER.glob("*.png")} == {*PICTURES, *PANELS}
