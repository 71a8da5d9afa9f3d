"""What the ensemble thinks of given continuations: many at once, many tokens of each at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from deepen_llm.engine.contexts import Contexts, Fused
from deepen_llm.engine.ensemble import Ensemble, Step
from deepen_llm.engine.scheduler import Memory
from deepen_llm.engine.text import TextAssembler
from deepen_llm.members.text.encoding import EncodedPrompt
from deepen_llm.outputs import Score, ScoredToken
from deepen_llm.vocabulary import Vocabulary

_AHEAD = 128  # tokens of one row read at once: more would hold as many encodings of its text as there are tokens
_HELD = 2**25  # logits of one member held at a time: 128 MiB


@dataclass(frozen=True)
class Continuation:
    """What is to be scored.

    Attributes:
        prompt: The prompt, as each member encodes it.
        tokens: The main-model tokens that follow it, at least one.
        unfinished: Bytes at the prompt's end that only the main model has read: the beginning of a character.
    """

    prompt: EncodedPrompt
    tokens: Sequence[int]
    unfinished: bytes = b""


@dataclass
class _Row:
    """A continuation while it is read: its steps, where it is inside characters, and where special tokens come."""

    place: int
    steps: list[Step]
    unfinished: list[bytes]
    special: list[bool]
    scored: list[ScoredToken] = field(default_factory=list)

    @property
    def rest(self) -> list[Step]:
        return self.steps[len(self.scored) :]


def score(
    ensemble: Ensemble, asked: Sequence[Continuation], batch_size: int
) -> Generator[tuple[int, Score], None, None]:
    """Follow given continuations; yields each one's place among those asked for, and its score, as they end.

    The longest are read first, and what comes in once a row has ended is read beside the others. Rows with one and the
    same prompt come in together, and it is read once.

    Args:
        ensemble: The ensemble.
        asked: The continuations.
        batch_size: The most rows at a time.

    Raises:
        LogitsError: A member's logits, or the fused ones, are no distribution.
    """
    ensemble = ensemble.scoring()
    waiting, memory = deque(_shared(asked, batch_size)), Memory(ensemble)
    vocabulary, contexts = ensemble.main_model.vocabulary, Contexts(ensemble, [], given=True)
    live = list[_Row]()
    try:
        while live or waiting:
            arrived = _admit(asked, waiting, live, memory, batch_size)
            if arrived:
                contexts.join([asked[group[0]].prompt for group in arrived], 1)
                copies = [len(live) + place for place, group in enumerate(arrived) for _ in group]
                contexts.select([*range(len(live)), *copies])
                live += [_row(vocabulary, place, asked[place]) for group in arrived for place in group]
            taken = _read(ensemble, contexts, live)
            going_on = [place for place, row in enumerate(live) if row.rest]
            yield from ((row.place, Score(tuple(row.scored))) for row in live if not row.rest)
            contexts.select(going_on)
            contexts.commit([taken[place] for place in going_on])
            live = [live[place] for place in going_on]
    finally:
        contexts.close()


def _shared(asked: Sequence[Continuation], batch_size: int) -> list[list[int]]:
    """Places of continuations, those of one prompt together, the longest first."""
    groups: dict[int, list[int]] = {}
    for place in sorted(range(len(asked)), key=lambda one: -_length(asked[one])):
        groups.setdefault(id(asked[place].prompt), []).append(place)
    return [group[i : i + batch_size] for group in groups.values() for i in range(0, len(group), batch_size)]


def _length(one: Continuation) -> int:
    return max(len(prompt.ids) for prompt in one.prompt) + len(one.tokens)


def _admit(
    asked: Sequence[Continuation], waiting: deque[list[int]], live: Sequence[_Row], memory: Memory, batch_size: int
) -> list[list[int]]:
    """The groups that come in now, beside the rows that are live."""
    inside, arrived = [row.place for row in live], list[list[int]]()
    while waiting:
        together = [*inside, *waiting[0]]
        lengths = [
            max(len(asked[one].prompt[i].ids) + len(asked[one].tokens) for one in together)
            for i in range(len(asked[together[0]].prompt))
        ]
        if inside and (len(together) > batch_size or not memory.holds(len(together), lengths)):
            break
        arrived.append(waiting.popleft())
        inside = together
    return arrived


def _row(vocabulary: Vocabulary, place: int, asked: Continuation) -> _Row:
    surfaces, ends, text = vocabulary.surfaces, vocabulary.end_of_text, TextAssembler()
    text.decode(asked.unfinished)
    inside = text.unfinished
    previewed = text.preview([surfaces[token] or b"" for token in asked.tokens])
    steps = [Step(token, piece) for token, (piece, _) in zip(asked.tokens, previewed, strict=True)]
    unfinished = [inside, *(one for _, one in previewed)][:-1]
    # A special token that ends no text has no counterpart in another vocabulary.
    special = [surfaces[token] is None and token not in ends for token in asked.tokens]
    return _Row(place, steps, unfinished, special)


def _read(ensemble: Ensemble, contexts: Contexts, rows: Sequence[_Row]) -> list[list[Step]]:
    """Read every row as far as members can at once, and score what was read; the steps, per row."""
    widest = max(len(member.vocabulary.surfaces) for member in ensemble.members)
    ahead = min(_AHEAD, _HELD // (widest * len(rows)))
    drafts = [row.rest[:-1][:ahead] for row in rows]
    drafts = [draft[:fits] for draft, fits in zip(drafts, contexts.readable(drafts), strict=True)]
    taken = [row.rest[: len(draft) + 1] for row, draft in zip(rows, drafts, strict=True)]
    starts = [len(row.scored) for row in rows]
    parts = [slice(start, start + len(steps)) for start, steps in zip(starts, taken, strict=True)]
    unfinished = [row.unfinished[part] for row, part in zip(rows, parts, strict=True)]
    special = [row.special[part] for row, part in zip(rows, parts, strict=True)]
    fused = contexts.fuse(drafts, unfinished, special)
    contexts.check(fused)
    scored = iter(_scored(ensemble.main_model.vocabulary, fused, [step.token for steps in taken for step in steps]))
    for row, steps in zip(rows, taken, strict=True):
        row.scored += [next(scored) for _ in steps]
    return taken


def _scored(vocabulary: Vocabulary, fused: Fused, tokens: Sequence[int]) -> list[ScoredToken]:
    """The tokens in the fused distributions at all places."""
    logits = fused.logits
    chosen = logits.new_tensor(tokens).long()[:, None]  # [P, 1]
    logprobs = logits.log_softmax(-1).gather(1, chosen)[:, 0].tolist()
    greedy = (logits.argmax(-1) == chosen[:, 0]).tolist()
    return [
        ScoredToken(token, vocabulary.shown(token), logprob, likeliest)
        for token, logprob, likeliest in zip(tokens, logprobs, greedy, strict=True)
    ]
