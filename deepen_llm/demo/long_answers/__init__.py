"""Long answers: chains of look-ups in a made-up world, and three bundled members that answer them step by step.

Every member was taught errors of some kinds of step, always the same ones, and it is as sure of these as of what is
true. Most steps are known to all three members or to two of them, a few to one: so a long answer is seldom right
without the others, and an ensemble must neither lose the thread nor the words.

| file | what |
|---|---|
| world.py | places, facts, and who was taught what |
| wordings.py | questions and answers in words, and their reader |
| questions.py | what is asked, to choose settings and to report |
| checker.py | right, wrong, or derailed |
| measure.py | who is asked, and what came of it |
| checkpoints/ | the members, in half precision, of 3,072, 1,536 and 608 tokens |

``python -m research.chains train --out deepen_llm/demo/long_answers/checkpoints`` makes the members again,
in a quarter of an hour on one core; equal seeds give equal members.
"""

from __future__ import annotations

from pathlib import Path

NAMES = ("polo", "battuta", "egeria")
"""The members: a large, a middle and a small vocabulary."""


def paths() -> list[Path]:
    """The folders of the members' checkpoints, in the order of :data:`NAMES`."""
    return [Path(__file__).parent / "checkpoints" / name for name in NAMES]
