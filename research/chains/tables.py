"""Results as JSON and as a table in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from deepen_llm.demo.long_answers.checker import DERAILMENTS
from deepen_llm.demo.long_answers.questions import Chain
from deepen_llm.demo.long_answers.world import KINDS
from deepen_llm.tuning.intervals import Interval, gain_interval, score_interval
from research.chains.measure import Answers

KNOWN = {3: "all members", 2: "two members", 1: "one member"}
"""How many members were taught the truth of a step, in words."""

Row = dict[str, Any]
"""The results of a setting, as JSON holds them. All shares are in percent; one with its 95 % interval is a list."""


def row(chains: Sequence[Chain], answers: Answers, alone: Answers) -> Row:
    """Summarize a setting's answers as a row of the table.

    Args:
        chains: The questions.
        answers: Its answers.
        alone: The answers of its main model alone, the baseline.
    """
    verdicts, length = answers.verdicts, sum(answers.tokens)
    right, derailed = [one.right for one in verdicts], [one.derailed for one in verdicts]
    counts = Counter(one.outcome for one in verdicts)
    kept = [chain.only is not None for chain in chains]
    made: Row = {
        "main": answers.setting.main,
        "setting": answers.setting.label,
        "questions": len(chains),
        "right": _percent(score_interval(right)),
        "right_with_a_step_of_one": _share(right, kept),
        "right_without": _share(right, [not one for one in kept]),
        "derailed": _percent(score_interval(derailed)),
        "derailments": {kind: round(100 * counts[kind] / len(chains), 1) for kind in DERAILMENTS},
        "false_steps": _false(chains, answers),
        "tokens": [min(answers.tokens), round(length / len(chains), 1), max(answers.tokens)],
        "fused": round(100 * sum(answers.fused) / length, 1),
        "tokens_per_second": round(length / answers.seconds, 1),
        "outcomes": [one.outcome for one in verdicts],
    }
    if answers is not alone:
        made["right_gain"] = _percent(gain_interval(right, [one.right for one in alone.verdicts]))
        made["derailed_gain"] = _percent(gain_interval(derailed, [one.derailed for one in alone.verdicts]))
    return made


def markdown(rows: Sequence[Row]) -> str:
    """Format rows as a table; a gain whose interval excludes zero is bold."""
    heads = ["main model", "setting", "right, %", "gain, points", "right with / without a step of one member, %"]
    heads += ["derailed, %", *(f"{kind}, %" for kind in DERAILMENTS), *(f"false, {who}, %" for who in KNOWN.values())]
    heads += ["tokens", "fused, %", "tokens a second"]
    lines = [heads, ["---"] * len(heads), *map(_cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(one: Row) -> list[str]:
    gain = one.get("right_gain")
    sure = gain and (gain[1] > 0 or gain[2] < 0)
    mean = f"{gain[0]:+.0f}" if gain else ""
    low, length, high = one["tokens"]
    return [
        one["main"],
        one["setting"],
        _shown(one["right"]),
        f"{f'**{mean}**' if sure else mean} ({gain[1]:+.0f} to {gain[2]:+.0f})" if gain else "",
        f"{_whole(one['right_with_a_step_of_one'])} / {_whole(one['right_without'])}",
        _shown(one["derailed"]),
        *(f"{one['derailments'][kind]:.0f}" for kind in DERAILMENTS),
        *(_whole(one["false_steps"][who]) for who in KNOWN.values()),
        f"{length:.0f} ({low} to {high})",
        f"{one['fused']:.0f}",
        f"{one['tokens_per_second']:.0f}",
    ]


def _false(chains: Sequence[Chain], answers: Answers) -> dict[str, float | None]:
    """The share of false look-ups among well-formed steps, by the number of members trained on the facts."""
    taken, false = Counter[int](), Counter[int]()
    for chain, verdict in zip(chains, answers.verdicts, strict=True):
        known = [KINDS[kind].known for kind in chain.kinds]
        taken.update(known[: verdict.steps])
        false.update(known[place] for place in verdict.false)
    return {who: round(100 * false[n] / taken[n], 1) if taken[n] else None for n, who in KNOWN.items()}


def _share(values: Sequence[bool], kept: Sequence[bool]) -> float | None:
    chosen = [value for value, keep in zip(values, kept, strict=True) if keep]
    return round(100 * sum(chosen) / len(chosen), 1) if chosen else None


def _percent(given: Interval) -> list[float]:
    return [round(100 * one, 1) for one in (given.value, given.low, given.high)]


def _shown(given: Sequence[float]) -> str:
    mean, low, high = given
    return f"{mean:.0f} ({low:.0f} to {high:.0f})"


def _whole(given: float | None) -> str:
    return "" if given is None else f"{given:.0f}"
