"""Pictures of a tuning: the paper's figures for a user's own members."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from deepen_llm.diagnostics.pictures.style import COLOURS, MUTED, Picture, drawing, label, save
from deepen_llm.errors import ConfigError
from deepen_llm.tuning.intervals import score_interval
from deepen_llm.tuning.result import Point, Tuning
from deepen_llm.tuning.sweeps import swept

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_BINS = 8


def draw(found: Tuning, folder: Path) -> Iterator[Path]:
    """Write every picture that a tuning has the data for, as PNG; yields the files.

    Raises:
        ConfigError: The folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error}", hint="give a folder to draw into") from error
    pictures: dict[str, Callable[[], Picture]] = {"members": lambda: members(found)}
    if sweeps := found.sweeps:
        pictures["options"] = lambda: options(found)
        pictures["reliability"] = lambda: reliability(sweeps.confidence, sweeps.right)
    for name, make in pictures.items():
        save(make(), folder / f"{name}.png")
        yield folder / f"{name}.png"


@drawing
def members(found: Tuning) -> Picture:
    """Score over the number of members, best first, beside every member alone."""
    picture = Picture(7, 4)
    axes, best = picture.add_subplot(), found.best
    order = sorted(range(len(found.alone)), key=lambda i: -found.alone[i])
    grown = {order.index(one.candidate.members[-1]) + 1: 100 * one.score for one in found.growth}
    axes.plot(list(grown), list(grown.values()), "o-", color=COLOURS[0], label="with those that helped before")
    axes.axhline(100 * best.score, color=COLOURS[1], ls=":", label=f"best of {len(found.trials)} settings")
    places = range(1, len(order) + 1)
    axes.scatter(places, [100 * found.alone[i] for i in order], color=MUTED, label="that member alone")
    axes.set_xticks(places, [("+ " if place else "") + found.names[i] for place, i in enumerate(order)])
    label(axes, f"Members added best first, on {found.chosen_on} examples", "members", f"{found.metric}, %")
    axes.set_ylim(0, 103)
    picture.legend(loc="outside lower center", ncols=3)
    return picture


@drawing
def options(found: Tuning) -> Picture:
    """Score over each option around the best ensemble, a panel each; loss beside it where it is known."""
    scored, known = found.sweeps.options if found.sweeps else {}, swept()
    rows = (len(scored) + 1) // 2
    picture = Picture(8.4, 0.9 + 3.1 * rows)
    drawn: dict[str, Artist] = {}
    for place, (name, points) in enumerate(scored.items(), 1):
        axes = picture.add_subplot(rows, 2, place)
        values = [point.value for point in points]
        (drawn["score"],) = axes.plot(values, [100 * point.score for point in points], "o-", color=COLOURS[0])
        drawn[f"{found.names[found.single]} alone"] = axes.axhline(
            100 * found.alone[found.single], color=MUTED, ls="--"
        )
        label(axes, "", known[name].label, f"{found.metric}, %")
        if (sweep := known[name].sweep) and sweep.tokens:
            axes.set_xscale("log", base=2)
            axes.set_xticks(values, [f"{value:.0f}" for value in values])
        axes.set_ylim(0, 103)
        drawn |= _loss(axes, points)
    picture.suptitle(f"One option at a time, all else as in the best ensemble that has it ({found.chosen_on} examples)")
    picture.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=len(drawn))
    return picture


@drawing
def reliability(confidence: Sequence[float], right: Sequence[float]) -> Picture:
    """How often answers of a given fused probability are right: bins of equal numbers of examples.

    Args:
        confidence: The fused probability of each answer.
        right: Each answer's score, from 0 to 1.
    """
    picture = Picture(5, 4.6)
    axes = picture.add_subplot()
    axes.plot([0, 1], [0, 1], color=MUTED, ls="--", label="as sure as right")
    for place, chosen in enumerate(_bins(confidence)):
        interval = score_interval([right[i] for i in chosen])
        across = sum(confidence[i] for i in chosen) / len(chosen)
        reach = [[interval.value - interval.low], [interval.high - interval.value]]
        name = "answers, with 95 % intervals" if place == 0 else None
        axes.errorbar([across], [interval.value], yerr=reach, fmt="o", color=COLOURS[0], capsize=3, label=name)
    label(axes, f"Reliability, {len(right)} held-out examples", "fused probability of the answer", "share right")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.legend(loc="lower right")
    return picture


def _bins(confidence: Sequence[float]) -> list[list[int]]:
    """Examples in order of confidence, in groups of about equal size, ten at least."""
    order = sorted(range(len(confidence)), key=confidence.__getitem__)
    count = max(1, min(_BINS, len(order) // 10))
    edges = [round(place * len(order) / count) for place in range(count + 1)]
    return [order[low:high] for low, high in pairwise(edges)]


def _loss(axes: Axes, points: Sequence[Point]) -> dict[str, Artist]:
    """Draw the loss beside the score, where it is known; what a legend names."""
    known = [(point.value, point.loss) for point in points if point.loss is not None]
    if not known:
        return {}
    beside = axes.twinx()
    (line,) = beside.plot(*zip(*known, strict=True), "s:", color=COLOURS[1])
    beside.set_ylabel("loss, nats", color=COLOURS[1])
    beside.grid(visible=False)
    return {"loss of a right answer": line}
