"""Long answers of settings, without a grammar."""

from __future__ import annotations

from pathlib import Path

from deepen_llm.demo.long_answers.questions import questions
from research.chains.measure import Answers, answered, load
from research.chains.settings import Setting
from research.chains.tables import Row, row

COUNT = 100
"""How many test questions each setting answers."""


class LongLab:
    """Three members and the questions that they answer with several steps.

    Args:
        models: The folder of ``python -m research.chains train``.
        count: The number of test questions.
    """

    def __init__(self, models: Path, count: int = COUNT) -> None:
        self._members, self._chains = load(models), questions("test")[:count]
        self._known: dict[str, Answers] = {}

    def row(self, setting: Setting) -> Row:
        """Make a row of a setting, compared with its main model alone."""
        found = row(self._chains, self._answers(setting), self._answers(Setting(setting.main)))
        return {
            "label": f"{setting.main}: {setting.label}",
            "note": "",
            "right": found["right"],
            **({"right_gain": found["right_gain"]} if "right_gain" in found else {}),
            "lone": [found["right_with_a_step_of_one"], found["right_without"]],
            "derailed": found["derailed"],
            "derailments": found["derailments"],
            "tokens": found["tokens"][1],
            "fused": found["fused"],
            "speed": found["tokens_per_second"],
        }

    def _answers(self, setting: Setting) -> Answers:
        key = repr(setting)
        if key not in self._known:
            self._known[key] = answered(self._members, setting, self._chains)
        return self._known[key]
