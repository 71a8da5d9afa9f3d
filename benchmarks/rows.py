"""The rows of the table: what each measures, its target, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deepen_llm.diagnostics.timing import Ratio


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: The name in ``--rows``.
        what: What the row measures.
        unit: The unit of its value.
        target: The bound; None for information only.
        at_least: Whether the target is a lower bound; else an upper one.
        gpu: Whether it needs a GPU.
    """

    name: str
    what: str
    unit: str = "×"
    target: float | None = None
    at_least: bool = False
    gpu: bool = False

    @property
    def bound(self) -> str:
        """Format the target."""
        return "" if self.target is None else f"{'≥' if self.at_least else '≤'} {shown(self.target, self.unit)}"


@dataclass(frozen=True)
class RowResult:
    """The result of a row.

    Attributes:
        name: The name of the row.
        ratio: The value and its spread; None if it was not measured.
        note: A note on the measurement, or the reason for none.
        raw: The measured values.
        failed: Whether the measurement failed; else it was left out.
    """

    name: str
    ratio: Ratio | None
    note: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict)
    failed: bool = False

    @property
    def row(self) -> Row:
        """The row of this result."""
        return ROWS[self.name]

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, ``info`` or ``not measured``."""
        target = self.row.target
        if self.ratio is None:
            return "not measured"
        if target is None:
            return "info"
        reached = self.ratio.value >= target if self.row.at_least else self.ratio.value <= target
        return "met" if reached else "missed"


def shown(value: float, unit: str) -> str:
    """Format a value with three significant digits."""
    if unit == "%":
        return f"{100 * value:.{0 if value >= 0.1 else 1}f} %"
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


_FUSED = "fused step alone, {} distributions, share of the two members' one-token forwards"
_ALL = (
    Row("plain", "plain decoding, batch 1, time over the floor's", target=1.05),
    Row("drafts", "the same with drafts, scripted agreement of 90 %", target=0.70),
    Row("batch", "a batch of 16, time over the floor's for the same batch", target=1.15),
    Row("reference", "tokens per second over the reference loop's, batch 1, 512 tokens", target=20, at_least=True),
    Row("context", "time per token at the longest context over that at 100, over the same of the floor", target=1.10),
    Row("fused-peaked", _FUSED.format("peaked"), "%", 0.05),
    Row("fused-flat", _FUSED.format("flat"), "%", 0.50),
    Row("fused-broad", _FUSED.format("broad (1,000 tokens)"), "%"),
    Row("fused-peaked-bayes", _FUSED.format("peaked") + ", fusion='bayes'", "%"),
    Row("fused-flat-bayes", _FUSED.format("flat") + ", fusion='bayes'", "%"),
    Row("fused-broad-bayes", _FUSED.format("broad") + ", fusion='bayes'", "%"),
    Row("fused-peaked-surface", _FUSED.format("peaked") + ", fusion='surface'", "%", 0.03),
    Row("fused-flat-surface", _FUSED.format("flat") + ", fusion='surface'", "%"),
    Row("fused-broad-surface", _FUSED.format("broad") + ", fusion='surface'", "%"),
    Row("host", "the host's share of a step, two members that compute nothing, batch 1", "ms", 1.0),
    Row("callers", "32 callers at once, bundled specialists, time over one batch's", target=1.3),
    Row("first-token", "steps until the first token of a request, 16 others beside", "steps", 2),
    Row("second-turn", "tokens read for the second turn of a chat, over its new ones", target=1.5),
    Row("memory", "extra memory, the two largest vocabularies, over the anchors' own embeddings", target=1.5),
    Row("startup-first", "start-up beyond loading, the same, over loading both tokenizers", target=1.0),
    Row("startup-second", "the same, the second time", target=0.1),
    Row("members", "all members, time over the floor's"),
    Row("specialists-plain", "bundled specialists, time over the floor's"),
    Row("specialists-speed", "bundled specialists, tokens per second", "tokens/s"),
    Row("specialists-fused", "bundled specialists, fused step's share of the members' one-token forwards", "%"),
    Row(
        "gpu-bandwidth",
        "two large members in bf16, batch 1, share of the tokens per second that copy bandwidth allows",
        "%",
        0.70,
        at_least=True,
        gpu=True,
    ),
    Row("gpu-small", "the same with members of a billion parameters", "%", 0.45, at_least=True, gpu=True),
    Row(
        "gpu-first",
        "an answer of 16 tokens, its prompt included, over 16 tokens at the steady rate",
        target=1.2,
        gpu=True,
    ),
    Row(
        "gpu-drafts",
        "drafts of 4 tokens, agreement 90 %, tokens per second over plain decoding's",
        target=1.3,
        at_least=True,
        gpu=True,
    ),
    Row("gpu-batch-8", "batch 8, tokens per second over batch 1's", gpu=True),
    Row("gpu-batch", "batch 32, tokens per second over batch 1's", target=20, at_least=True, gpu=True),
    *(
        Row(
            f"gpu-fused-{kind}{suffix}", f"fused step alone on the GPU, {kind} distributions{said}", "ms", 1.0, gpu=True
        )
        for suffix, said in (("", ""), ("-bayes", ", fusion='bayes'"), ("-surface", ", fusion='surface'"))
        for kind in ("peaked", "flat")
    ),
)
ROWS: dict[str, Row] = {row.name: row for row in _ALL}
"""Every row by its name, in the order of the table."""
