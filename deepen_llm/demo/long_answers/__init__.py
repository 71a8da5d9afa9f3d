"""Long answers: chains of look-ups in an invented world, and three bundled members that answer them step by step.

Every member was trained on fixed errors in some kinds of step, to which it gives the same probability as to true
facts. Most steps are known to all three members or to two of them, a few to one. So a single member seldom answers a
whole chain correctly, and an ensemble must combine the members at every step of one text.

| file | what |
|---|---|
| world.py | places, facts, and the knowledge of each member |
| wordings.py | wordings of questions and answers, and their parser |
| questions.py | the development and test questions |
| checker.py | right, wrong, or derailed |
| measure.py | the systems and their results |
| checkpoints/ | the members, in half precision, of 3,072, 1,536 and 608 tokens |

``python -m research.chains train --out deepen_llm/demo/long_answers/checkpoints`` trains the members,
in a quarter of an hour on one core; equal seeds give equal members.
"""

from __future__ import annotations

from pathlib import Path

NAMES = ("polo", "battuta", "egeria")
"""The members: a large, a middle and a small vocabulary."""


def paths() -> list[Path]:
    """The folders of the members' checkpoints, in the order of `NAMES`."""
    return [Path(__file__).parent / "checkpoints" / name for name in NAMES]
