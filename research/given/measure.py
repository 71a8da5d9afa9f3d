"""Held-out pieces scored by each ensemble and by its main model alone."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepen_llm.errors import ConfigError
from deepen_llm.members.local.member import LocalMember
from deepen_llm.outputs import Score
from research.chains.measure import load
from research.chains.settings import Setting, crossed
from research.given.members import MEMBERS
from research.given.tables import Row, markdown, row
from research.given.texts import Part, Texts, part

ENSEMBLES = ("A+B", "B+A", "A+C", "C+A", "D+A", "D+ABC", "A+D", "A+BC")
"""Ensembles, the main model first."""

BATCH = 16
"""How many pieces are scored together; no score depends on it."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """The scores of a setting.

    Attributes:
        ensemble: Names of its members, the main model first.
        setting: Its setting.
        pieces: The score of each piece.
        seconds: The duration of all.
    """

    ensemble: str
    setting: Setting
    pieces: tuple[Score, ...]
    seconds: float


def measure(
    models: Path,
    out: Path,
    texts: Texts,
    ensembles: Sequence[str],
    fusions: Sequence[str],
    weights: Sequence[str],
    *,
    which: Part = "development",
    count: int = 100,
) -> None:
    """Measure settings, and write the results as JSON and, beside it, as a table in Markdown, after each setting.

    Args:
        models: The folder of the trained members.
        out: The file of JSON lines; the table has the same name, with ``.md``.
        texts: All pieces.
        ensembles: Names of members, the main model first: ``A+BC``. Every main model is measured alone, too.
        fusions: Fusion methods, see `crossed`.
        weights: Aggregation weights, see `crossed`.
        which: The pieces; settings are chosen on ``development`` only.
        count: The most pieces of each field.
    """
    asked = [(field, piece) for field, pieces in texts.items() for piece in part(pieces, which)[:count]]
    members = dict(zip(MEMBERS, load(models, MEMBERS), strict=True))
    alone, rows = dict[str, Scores](), list[Row]()
    out.parent.mkdir(parents=True, exist_ok=True)
    for ensemble in ensembles:
        for setting in crossed([ensemble[0]], fusions, ["always"], weights):
            if setting.fusion is None and setting.main in alone:
                continue
            found = scored(members, ensemble, setting, [piece for _, piece in asked])
            first = alone.setdefault(setting.main, found)
            rows.append({"part": which, **row([field for field, _ in asked], found, first)})
            out.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
            out.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")


def scored(members: dict[str, LocalMember], ensemble: str, setting: Setting, pieces: Sequence[str]) -> Scores:
    """Score whole pieces, of which the first word is the prompt.

    Args:
        members: All members by name.
        ensemble: The names of the ensemble's members, the main model first.
        setting: The setting.
        pieces: The pieces.

    Raises:
        ConfigError: A member is unknown.
    """
    names = list(ensemble.replace("+", ""))
    if unknown := set(names) - members.keys():
        raise ConfigError(f"no member {sorted(unknown)[0]!r}", hint=f"there are {', '.join(members)}")
    llm = setting.ensemble([members[name] for name in names], BATCH)
    cut = [piece.partition(" ") for piece in pieces]
    started = time.perf_counter()
    found = llm.score([first for first, _, _ in cut], [f" {rest}" for _, _, rest in cut])
    seconds = time.perf_counter() - started
    _LOG.info("%s, %s: %.0f s", ensemble, setting.label, seconds)
    return Scores(ensemble, setting, tuple(found), seconds)
