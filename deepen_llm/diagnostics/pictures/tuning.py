"""Pictures of a tuning: the paper's figures for a user's members."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from deepen_llm.diagnostics.pictures.style import COLORS, MUTED, Picture, drawing, label, save
from deepen_llm.errors import ConfigError
from deepen_llm.tuning.intervals import score_interval
from deepen_llm.tuning.result import Point, Tuning
from deepen_llm.tuning.sweeps import swept

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_BINS = 8


def draw(tuning: Tuning, folder: Path) -> Iterator[Path]:
    """Write every picture that a tuning has data for, as PNG; yield the files.

    Raises:
        ConfigError: The folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error}", hint="give a folder to draw into") from error
    pictures: dict[str, Callable[[], Picture]] = {"members": lambda: members(tuning)}
    if sweeps := tuning.sweeps:
        pictures["options"] = lambda: options(tuning)
        pictures["reliability"] = lambda: reliability(sweeps.confidence, sweeps.right)
    for name, make in pictures.items():
        save(make(), folder / f"{name}.png")
        yield folder / f"{name}.png"


@drawing
def members(tuning: Tuning) -> Picture:
    """Draw the score over the number of members, added best first, and the score of every member alone."""
    picture = Picture(7, 4)
    axes, best = picture.add_subplot(), tuning.best
    order = sorted(range(len(tuning.alone)), key=lambda i: -tuning.alone[i])
    grown = {order.index(scored.candidate.members[-1]) + 1: 100 * scored.score for scored in tuning.growth}
    axes.plot(list(grown), list(grown.values()), "o-", color=COLORS[0], label="with those that helped before")
    axes.axhline(100 * best.score, color=COLORS[1], ls=":", label=f"best of {len(tuning.trials)} settings")
    places = range(1, len(order) + 1)
    axes.scatter(places, [100 * tuning.alone[i] for i in order], color=MUTED, label="that member alone")
    axes.set_xticks(places, [("+ " if index else "") + tuning.names[i] for index, i in enumerate(order)])
    label(axes, f"Members added best first, on {tuning.chosen_on} examples", "members", f"{tuning.metric}, %")
    axes.set_ylim(0, 103)
    picture.legend(loc="outside lower center", ncols=3)
    return picture


@drawing
def options(tuning: Tuning) -> Picture:
    """Draw the score, and the loss if known, over each option around the best ensemble, one panel per option."""
    scored, known = tuning.sweeps.options if tuning.sweeps else {}, swept()
    rows = (len(scored) + 1) // 2
    picture = Picture(8.4, 0.9 + 3.1 * rows)
    drawn: dict[str, Artist] = {}
    for position, (name, points) in enumerate(scored.items(), 1):
        axes = picture.add_subplot(rows, 2, position)
        values = [point.value for point in points]
        (drawn["score"],) = axes.plot(values, [100 * point.score for point in points], "o-", color=COLORS[0])
        drawn[f"{tuning.names[tuning.single]} alone"] = axes.axhline(
            100 * tuning.alone[tuning.single], color=MUTED, ls="--"
        )
        label(axes, "", known[name].label, f"{tuning.metric}, %")
        if (sweep := known[name].sweep) and sweep.tokens:
            axes.set_xscale("log", base=2)
            axes.set_xticks(values, [f"{value:.0f}" for value in values])
        axes.set_ylim(0, 103)
        drawn |= _loss(axes, points)
    picture.suptitle(
        f"One option at a time, all else as in the best ensemble that has it ({tuning.chosen_on} examples)"
    )
    picture.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=len(drawn))
    return picture


@drawing
def reliability(confidence: Sequence[float], right: Sequence[float]) -> Picture:
    """Draw the share of right answers over their fused probability, in bins of equal numbers of examples.

    Args:
        confidence: The fused probability of each answer.
        right: Each answer's score, from 0 to 1.
    """
    picture = Picture(5, 4.6)
    axes = picture.add_subplot()
    axes.plot([0, 1], [0, 1], color=MUTED, ls="--", label="as sure as right")
    for index, chosen in enumerate(_bins(confidence)):
        interval = score_interval([right[i] for i in chosen])
        across = sum(confidence[i] for i in chosen) / len(chosen)
        reach = [[interval.value - interval.low], [interval.high - interval.value]]
        name = "answers, with 95 % intervals" if index == 0 else None
        axes.errorbar([across], [interval.value], yerr=reach, fmt="o", color=COLORS[0], capsize=3, label=name)
    label(axes, f"Reliability, {len(right)} held-out examples", "fused probability of the answer", "share right")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.legend(loc="lower right")
    return picture


def _bins(confidence: Sequence[float]) -> list[list[int]]:
    """Group examples by confidence, in groups of about equal size with at least ten examples."""
    order = sorted(range(len(confidence)), key=confidence.__getitem__)
    count = max(1, min(_BINS, len(order) // 10))
    edges = [round(index * len(order) / count) for index in range(count + 1)]
    return [order[low:high] for low, high in pairwise(edges)]


def _loss(axes: Axes, points: Sequence[Point]) -> dict[str, Artist]:
    """Draw the loss on a second axis, if it is known; return the legend's entries."""
    known = [(point.value, point.loss) for point in points if point.loss is not None]
    if not known:
        return {}
    beside = axes.twinx()
    (line,) = beside.plot(*zip(*known, strict=True), "s:", color=COLORS[1])
    beside.set_ylabel("loss, nats", color=COLORS[1])
    beside.grid(visible=False)
    return {"loss of a right answer": line}
