"""One palette that people with any colour vision can tell apart, and text that is drawn as it stands."""

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mofa_bayes.plot.axes import BLUE, GREY, PALETTE, RED, add_legend, color_of, draw_tiles, plain

mpl.use("Agg")

# Machado, Oliveira and Fernandes 2009 (IEEE Trans Vis Comput Graph 15:1291), full deficiency, on linear RGB.
VISION = {
    "full": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def see(color: str, vision: str) -> np.ndarray:
    """CIELAB coordinates of a colour as somebody sees it."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.asarray(VISION[vision]) @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_colours_of_the_palette_are_told_apart_by_everyone(vision: str) -> None:
    """2.3 is a just noticeable difference; red and green of equal lightness would come out below 10."""
    seen = [see(color, vision) for color in (*PALETTE, GREY)]
    assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) > 10
    assert np.linalg.norm(see(BLUE, vision) - see(RED, vision)) > 50


def test_colours_come_round_again() -> None:
    assert color_of(len(PALETTE) + 1) == PALETTE[1]


def test_tiles_say_what_is_missing_and_what_is_weak() -> None:
    ax = Figure().add_subplot()
    values = np.array([[1.0, np.nan], [-2.0, 0.5]])
    pale = np.array([[False, False], [False, True]])
    tiles = draw_tiles(
        ax, values, rows=["a", "b"], columns=["c", "d"], signed=True, pale=pale, texts=values.astype(str)
    )
    assert tiles.get_clim() == (-2.0, 2.0)
    assert tiles.get_cmap()(np.nan)[:3] == pytest.approx(to_rgb("#D9D9D9"))
    np.testing.assert_allclose(tiles.get_alpha(), [[1, 1], [1, 0.3]])
    shades = {text.get_text(): text.get_color() for text in ax.texts}
    assert shades["-2.0"] == "white"
    assert shades["0.5"] == shades["nan"] == "black"


def test_tiles_of_nothing_are_drawn() -> None:
    ax = Figure().add_subplot()
    draw_tiles(ax, np.full((1, 2), np.nan), rows=["a"], columns=["b", "c"])
    assert ax.images[0].get_clim() == (0, 1)


@pytest.mark.parametrize(("name", "shown"), [("a$b$", "a\\$b\\$"), ("x" * 50, "x" * 35 + "…"), (7, "7")])
def test_a_name_is_drawn_as_it_stands(name: object, shown: str) -> None:
    assert plain(name) == shown


def test_a_legend_of_nothing_is_left_out() -> None:
    ax = Figure().add_subplot()
    add_legend(ax)
    assert ax.get_legend() is None
