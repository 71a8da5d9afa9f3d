"""What members say along the right answers, computed once: every setting is then a matter of fusion alone.

A right answer is its main-model tokens and the end of text. Before each of them every member has read the same text,
so that its logits do not depend on what is fused how. An answer is what greedy decoding gives exactly when each of its
tokens is the likeliest one there (but for other spellings of the same text, which the recipe's models do not use).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from deepen_llm.contexts import Contexts, Ensemble, Step
from deepen_llm.demo.measure import conversation
from deepen_llm.demo.settings import BATCH
from deepen_llm.fusion import FixedWeights, Fusion, Likelihood
from deepen_llm.fusion.past import Past
from deepen_llm.gate import Gate, reasons_against
from deepen_llm.members.base import Context, Member
from deepen_llm.members.likelihood import likelihoods
from deepen_llm.outputs import Score
from deepen_llm.prompts import Chatting, EncodedPrompt, encode_continuation, encode_conversation
from deepen_llm.scoring import Continuation, score
from deepen_llm.study.questions import Asked
from deepen_llm.text import TextAssembler


@dataclass(frozen=True)
class Said:
    """What one member says along the right answers to Q questions, of P main-model tokens in all.

    Attributes:
        logits: Its logits before each token, fp32 ``[P, V_i]``.
        merges: Whether it would merge the main model's most likely token into those before it, ``[P]``.
        prompts: How likely it finds each prompt, ``[Q]``.
    """

    logits: Tensor
    merges: Tensor
    prompts: list[Likelihood]


@dataclass(frozen=True)
class Record:
    """What members say along the right answers.

    Attributes:
        said: By each member.
        targets: The main model's right tokens, ``[P]``.
        owners: Which question each belongs to, ``[P]``.
    """

    said: list[Said]
    targets: Tensor
    owners: Tensor


class _Recorder(Fusion):
    """Passes the main model's logits on and remembers everyone's."""

    def __init__(self, members: Sequence[Member], main: int) -> None:
        super().__init__(members, main)
        self.heard: list[Tensor] = []

    def fuse(
        self,
        logits: Sequence[Tensor],
        weights: Tensor,
        past: Past | None = None,
        parts: list[Tensor] | None = None,
    ) -> Tensor:
        self.heard = list(logits)
        return logits[self.main]

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        return logits[self.main]


class _Reading:
    """Some answers, followed together.

    Args:
        members: The members.
        main: Index of the main model.
    """

    def __init__(self, members: Sequence[Member], main: int) -> None:
        self._recorder = _Recorder(members, main)
        self.ensemble = Ensemble(members, main, self._recorder, FixedWeights.average(len(members)), "fused")
        self.logits: list[list[Tensor]] = [[] for _ in members]
        self.merges: list[list[bool]] = [[] for _ in members]
        self.owners: list[int] = []

    def answer(self, prompt: EncodedPrompt, one: Asked) -> list[Step]:
        """The right answer, a space before it as the chat templates have it, and the end of text."""
        vocabulary = self.ensemble.main_model.vocabulary
        tokens = _answer(self.ensemble, prompt, one)[:-1]
        previewed = TextAssembler().preview([vocabulary.surfaces[token] or b"" for token in tokens])
        steps = [Step(token, piece) for token, (piece, _) in zip(tokens, previewed, strict=True)]
        return [*steps, Step(vocabulary.end_of_text[0], "")]

    def follow(self, prompts: Sequence[EncodedPrompt], answers: Sequence[Sequence[Step]], first: int) -> None:
        """Follow answers to the end, as many tokens at once as every member can read; ``first`` owns the first."""
        contexts, live, done = Contexts(self.ensemble, []), list(range(len(prompts))), [0] * len(prompts)
        try:
            contexts.join(prompts, 1)
            while live:
                drafts = [list(answers[row][done[row] : -1]) for row in live]
                drafts = [draft[:most] for draft, most in zip(drafts, contexts.readable(drafts), strict=True)]
                self._read(contexts, drafts, [first + row for row in live])
                taken = [answers[row][done[row] :][: len(draft) + 1] for row, draft in zip(live, drafts, strict=True)]
                for row, steps in zip(live, taken, strict=True):
                    done[row] += len(steps)
                contexts.commit(taken)
                going_on = [place for place, row in enumerate(live) if done[row] < len(answers[row])]
                contexts.select(going_on)
                live = [live[place] for place in going_on]
        finally:
            contexts.close()

    def _read(self, contexts: Contexts, drafts: Sequence[Sequence[Step]], owners: Sequence[int]) -> None:
        fused = contexts.fuse(drafts, [[b""] * (len(draft) + 1) for draft in drafts])
        contexts.check(fused)
        for known, logits in zip(self.logits, self._recorder.heard, strict=True):
            known += list(logits.clone())
        pieces = [[step.piece for step in draft] for draft in drafts]
        for merges, context in zip(self.merges, contexts.each, strict=True):

            def extended(heard: Sequence[Sequence[str]], context: Context = context) -> list[tuple[str, list[bool]]]:
                return [("it", context.extended(heard))]

            against = reasons_against(Gate(when="boundary"), fused.logits, pieces, self._piece, extended)
            merges += map(bool, against)
        self.owners += [owner for draft, owner in zip(drafts, owners, strict=True) for _ in range(len(draft) + 1)]

    def _piece(self, token: int) -> str:
        return TextAssembler().feed(self.ensemble.main_model.vocabulary.surfaces[token] or b"")


def scored(ensemble: Ensemble, asked: Sequence[Asked]) -> list[Score]:
    """What an ensemble thinks of the right answers, their ends included.

    Args:
        ensemble: The ensemble.
        asked: The questions.
    """
    prompts = [encode_conversation(ensemble, conversation(one.question), Chatting()) for one in asked]
    answers = [_answer(ensemble, prompt, one) for prompt, one in zip(prompts, asked, strict=True)]
    found = score(ensemble, list(map(Continuation, prompts, answers)), BATCH)
    return [one for _, one in sorted(found, key=lambda told: told[0])]


def _answer(ensemble: Ensemble, prompt: EncodedPrompt, one: Asked) -> list[int]:
    """The main model's tokens of the right answer, a space before it as the chat templates have it, and its end."""
    tokens = encode_continuation(ensemble, prompt, " " + one.question.answer)
    return [*tokens, ensemble.main_model.vocabulary.end_of_text[0]]


def record(members: Sequence[Member], main: int, asked: Sequence[Asked]) -> Record:
    """Let members read the questions and their right answers.

    Args:
        members: The members.
        main: Index of the main model, whose tokens the answers are made of.
        asked: The questions.
    """
    reading = _Reading(members, main)
    prompts = [encode_conversation(reading.ensemble, conversation(one.question), Chatting()) for one in asked]
    answers = [reading.answer(prompt, one) for prompt, one in zip(prompts, asked, strict=True)]
    for first in range(0, len(asked), BATCH):
        reading.follow(prompts[first : first + BATCH], answers[first : first + BATCH], first)
    order = sorted(range(len(reading.owners)), key=reading.owners.__getitem__)  # stable: each answer's own stays
    said = [
        Said(
            torch.stack([logits[place] for place in order]),
            torch.tensor([merges[place] for place in order]),
            likelihoods(member, [prompt[i] for prompt in prompts]),
        )
        for i, (member, logits, merges) in enumerate(zip(members, reading.logits, reading.merges, strict=True))
    ]
    targets = [step.token for answer in answers for step in answer]
    return Record(said, torch.tensor(targets), torch.tensor([reading.owners[place] for place in order]))


def kept_record(folder: Path, members: Sequence[Member], main: int, asked: Sequence[Asked], split: str) -> Record:
    """`record`, from files where members have read these questions before.

    Args:
        folder: Where a file for each main model, member and set of questions lies; to be emptied when they change.
        members: The members; their names are those of the files.
        main: Index of the main model.
        asked: The questions.
        split: What the set of questions is called.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{members[main].name}-{member.name}-{split}.safetensors" for member in members]
    missing = [i for i, file in enumerate(files) if not file.exists()]
    if missing:
        reading = [main, *[i for i in missing if i != main]]
        made = record([members[i] for i in reading], 0, asked)
        for i, said in zip(reading, made.said, strict=True):
            common = {"targets": made.targets, "owners": made.owners}
            prompts = torch.tensor(said.prompts, dtype=torch.float64)
            save_file({"logits": said.logits, "merges": said.merges, "prompts": prompts, **common}, files[i])
    found = [load_file(file) for file in files]
    return Record([_said(one) for one in found], found[main]["targets"], found[main]["owners"])


def _said(found: dict[str, Tensor]) -> Said:
    prompts = [Likelihood(logprob, int(tokens), int(size)) for logprob, tokens, size in found["prompts"].tolist()]
    return Said(found["logits"], found["merges"], prompts)
