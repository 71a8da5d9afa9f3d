"""Pictures show the data that they are given, in one style, and leave the user's own settings alone."""

import runpy
import sys
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import Rectangle
from numpy.testing import assert_allclose
from torch import Tensor

from deepen_llm.diagnostics import pictures
from deepen_llm.diagnostics.agreement import CALIBRATED, PAPER, agreement, self_masses
from deepen_llm.diagnostics.anchor_comparison import compare_anchors
from deepen_llm.diagnostics.comparison import Comparison
from deepen_llm.diagnostics.pictures import style
from deepen_llm.diagnostics.pictures.projection import Projection
from deepen_llm.diagnostics.pictures.style import COLORS, drawable
from deepen_llm.errors import ConfigError
from deepen_llm.testing import random_member
from deepen_llm.tuning.answered import MemberAnswers
from deepen_llm.tuning.overlap import Overlap

THREE = [random_member(seed, 160, 120, 24, end_of_text=1) for seed in (1, 2, 3)]


@cache
def masses() -> dict[str, Tensor]:
    return {name: self_masses(THREE, space) for name, space in (("paper", PAPER), ("calibrated", CALIBRATED))}


@cache
def projected() -> Projection:
    return pictures.project(THREE, sample=100, clusters=4)


def test_the_same_tokens_of_alike_members_lie_in_the_same_places() -> None:
    found = projected()
    assert found.points.shape == (3, 100, 2)
    assert [len(texts) for texts in found.examples] == [4] * 4
    same, chance = found.kept(1)
    assert same > chance + 0.3
    assert found.kept(0)[0] == 1


def test_members_that_have_nothing_in_common_lie_elsewhere() -> None:
    stranger = random_member(9, 160, 120, 24)
    stranger.embedding = torch.randn(160, 24, generator=torch.Generator().manual_seed(5))
    same, chance = pictures.project([THREE[0], stranger], sample=100, clusters=4).kept(1)
    assert same < chance + 0.15


def test_clusters_are_drawn_where_their_tokens_are() -> None:
    found = projected()
    picture = pictures.draw_representations(found)
    assert [axes.get_title(loc="left").splitlines()[0] for axes in picture.axes] == ["member 1", "member 2", "member 3"]
    for member, axes in enumerate(picture.axes):
        groups = [one for one in axes.collections if isinstance(one, PathCollection)]
        for cluster, group in enumerate(groups):
            assert_allclose(np.asarray(group.get_offsets()), found.points[member][found.clusters[0] == cluster])
            assert mpl.colors.to_hex(tuple(np.asarray(group.get_facecolor())[0])) == COLORS[cluster].lower()
        assert axes.get_xlim() == picture.axes[0].get_xlim()
        assert axes.get_xlabel()


def test_histograms_hold_every_anchor_once() -> None:
    comparisons = compare_anchors(THREE)
    panels = [axes for axes in pictures.draw_consistency(comparisons).axes if axes.get_visible()]
    assert len(panels) == 4
    for axes, one in zip(panels, comparisons, strict=True):
        heights = np.array(
            [patch.get_height() for patch in axes.patches if isinstance(patch, Rectangle)]
        )  # chance first
        assert heights.sum() == pytest.approx(2)
        counts, _ = np.histogram(one.consistency.values.numpy(), np.linspace(0, 1, 41))
        assert_allclose(heights[40:] * one.anchors, counts, atol=1.01)  # an anchor on a bin's very edge
        means = [float(np.asarray(line.get_xdata())[0]) for line in axes.lines]
        assert means == pytest.approx([one.consistency.chance, one.consistency.mean])


def test_gains_are_drawn_with_their_intervals_by_verdict() -> None:
    half, other = ((True,) * 20 + (False,) * 20), ((False,) * 20 + (True,) * 20)
    sure = [MemberAnswers(rights, tuple(-0.1 if one else -2.0 for one in rights)) for rights in (half, other)]
    pairs = [
        Comparison(names, 10, 0.5, (1.0, 1.0), Overlap.of(said))
        for names, said in ((("a", "b"), sure), (("a", "a"), sure[:1] * 2))
    ]
    axes = pictures.draw_gains(pairs).axes[0]
    names = [one.get_text() for one in axes.get_yticklabels()]
    assert names == ["a and a: use one alone", "a and b: worth trying"]
    twin, gaining = (bars.lines[0] for bars in axes.containers if isinstance(bars, ErrorbarContainer))
    assert np.asarray(twin.get_xdata()).tolist() == [0]
    assert np.asarray(gaining.get_xdata()).tolist() == [50]
    assert twin.get_color() != gaining.get_color()


def test_self_masses_are_those_of_agreement_and_are_drawn_one_line_each() -> None:
    for space, options in (("paper", PAPER), ("calibrated", CALIBRATED)):
        assert masses()[space].mean(1).tolist() == pytest.approx(agreement(THREE, options).self_mass)
    picture = pictures.draw_self_mass(masses(), [one.name for one in THREE])
    for axes, found in zip(picture.axes, masses().values(), strict=True):
        for line, values in zip(axes.lines, found, strict=True):
            across, up = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
            assert_allclose(across[1:], values.sort().values.numpy())
            assert up[-1] == 1


def test_one_page_holds_all_panels_and_shows_itself() -> None:
    page = pictures.draw_overview(projected(), compare_anchors(THREE), masses())
    assert len([axes for axes in page.axes if axes.get_visible()]) == 3 + 4 + 2
    assert page._repr_png_()[:4] == b"\x89PNG"


def test_a_users_own_settings_neither_change_a_picture_nor_are_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = pictures.draw_self_mass(masses(), ["a", "b", "c"])._repr_png_()
    with mpl.rc_context({"font.size": 30, "figure.facecolor": "black", "axes.grid": False}):
        before = dict(mpl.rcParams)
        assert pictures.draw_self_mass(masses(), ["a", "b", "c"])._repr_png_() == plain
        assert dict(mpl.rcParams) == before


def test_names_and_tokens_of_any_kind_are_drawn() -> None:
    assert drawable("déjà\n$x$ \x07語") == "déjà\n$x$ \\x07\\u8a9e"
    names = ["$\\frac", "語", "<b>&"]
    picture = pictures.draw_self_mass(masses(), names)
    assert picture._repr_png_()  # warnings are errors
    assert "\\u8a9e" in picture.axes[0].get_legend_handles_labels()[1][1]


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_files_are_the_same_every_time(ending: str, tmp_path: Path) -> None:
    files = [tmp_path / "new folder" / f"{number}{ending}" for number in (1, 2)]
    for file in files:
        pictures.save(pictures.draw_self_mass(masses(), ["a", "b", "c"]), file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_files_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    picture = pictures.draw_self_mass(masses(), ["a", "b", "c"])
    with pytest.raises(ConfigError, match=r"expected a file name in \.png, \.svg or \.pdf, got a"):
        pictures.save(picture, tmp_path / "a.txt")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        pictures.save(picture, tmp_path / "file" / "a.png")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(ConfigError, match="expected the package sklearn") as caught:
        pictures.project(THREE)
    assert "deepen-llm[plot]" in caught.value.hint
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="need matplotlib") as caught:
        runpy.run_path(style.__file__)
    assert "deepen-llm[plot]" in caught.value.hint
