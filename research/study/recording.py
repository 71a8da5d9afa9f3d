"""Recording of members' logits along the right answers, so that a setting costs the fusion only.

A right answer consists of its main-model tokens and the end of text. Before each token every member has read the same
text, so its logits do not depend on the fusion. Greedy decoding gives an answer exactly if each of its tokens is the
likeliest one (except for other tokenizations of the text, which the recipe's models do not produce).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from deepen_llm.demo.measure import conversation
from deepen_llm.demo.settings import BATCH
from deepen_llm.engine.engine import Engine, Forward
from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.given import GivenSequence
from deepen_llm.engine.likelihood import likelihoods
from deepen_llm.engine.lookahead import look_ahead
from deepen_llm.engine.sequence import Request
from deepen_llm.engine.text import TextAssembler
from deepen_llm.fusion import FixedWeights, Fusion, Likelihood
from deepen_llm.fusion.past import Past
from deepen_llm.members.base import Member
from deepen_llm.members.text.encoding import EncodedPrompt
from deepen_llm.requests.prompts import TemplateOptions, encode_continuation, encode_conversation
from research.study.questions import Asked


@dataclass(frozen=True)
class Predictions:
    """One member's predictions along the right answers to Q questions, of P main-model tokens in all.

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
    """The members' predictions along the right answers.

    Attributes:
        said: By each member.
        targets: The main model's right tokens, ``[P]``.
        owners: Which question each belongs to, ``[P]``.
    """

    said: list[Predictions]
    targets: Tensor
    owners: Tensor


class _MainModel(Fusion):
    """The main model's distribution: what is recorded does not depend on how the members are fused."""

    def fuse(
        self,
        logits: Sequence[Tensor],
        weights: Tensor,
        past: Past | None = None,
        parts: list[Tensor] | None = None,
    ) -> Tensor:
        return logits[self.main]

    def _fuse(self, logits: Sequence[Tensor], weights: Tensor) -> Tensor:
        return logits[self.main]


class _RightAnswers(ABC):
    """The right answers to questions, read by an ensemble as given continuations.

    Args:
        ensemble: The ensemble.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble
        self.owners: list[int] = []

    def read(self, asked: Sequence[Asked]) -> tuple[list[EncodedPrompt], list[int]]:
        """Read every right answer; returns the prompts, and the order of the positions that sorts them by answer."""
        conversations = [conversation(one.question) for one in asked]
        prompts = [encode_conversation(self.ensemble, one, TemplateOptions()) for one in conversations]
        answers = [self._answer(prompt, one) for prompt, one in zip(prompts, asked, strict=True)]
        vocabulary = self.ensemble.main_model.vocabulary
        sequences = [GivenSequence(vocabulary, answer) for answer in answers]
        self._index_of = {id(sequence): index for index, sequence in enumerate(sequences)}
        engine = Engine(self.ensemble, BATCH, on_forward=self._on_forward)
        requests = [Request(prompt, [sequence]) for prompt, sequence in zip(prompts, sequences, strict=True)]
        for request in requests:
            engine.add(request)
        try:
            while engine.has_unfinished:
                engine.step()
        finally:
            engine.close()
        if failure := next((request.failure for request in requests if request.failure), None):
            raise failure
        self.targets = torch.tensor([id_ for answer in answers for id_ in answer])
        # A stable sort: the positions of one answer keep their order.
        return prompts, sorted(range(len(self.owners)), key=self.owners.__getitem__)

    def _answer(self, prompt: EncodedPrompt, one: Asked) -> list[int]:
        """The right answer, a space before it as the chat templates have it, and the end of text."""
        tokens = encode_continuation(self.ensemble, prompt, " " + one.question.answer)
        return [*tokens, self.ensemble.main_model.vocabulary.end_of_text[0]]

    def _on_forward(self, forward: Forward) -> None:
        for sequence, draft in zip(forward.sequences, forward.drafts, strict=True):
            self.owners += [self._index_of[id(sequence)]] * (len(draft) + 1)
        self._note(forward)

    @abstractmethod
    def _note(self, forward: Forward) -> None:
        """Keep the logits at the boundaries of a forward."""


class _Judging(_RightAnswers):
    """Keeps the fused logits."""

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__(ensemble)
        self.logits: list[Tensor] = []

    def _note(self, forward: Forward) -> None:
        self.logits += list(forward.fused.logits.clone())


class _Reading(_RightAnswers):
    """Keeps every member's logits.

    Args:
        members: The members.
        main: Index of the main model.
    """

    def __init__(self, members: Sequence[Member], main: int) -> None:
        super().__init__(
            Ensemble(members, main, _MainModel(members, main), FixedWeights.average(len(members)), "fused")
        )
        self.logits: list[list[Tensor]] = [[] for _ in members]
        self.merges: list[list[bool]] = [[] for _ in members]

    def _note(self, forward: Forward) -> None:
        fused, contexts = forward.fused, forward.contexts
        for known, logits in zip(self.logits, fused.report.logits, strict=True):
            known += list(logits.clone() if logits is not None else [])
        pieces = [[token.piece for token in draft] for draft in forward.drafts]
        tokens = fused.logits.argmax(-1).tolist()
        likely = iter(map(self._piece, tokens))
        following = [list(islice(likely, len(draft) + 1)) for draft in forward.drafts]

        def added(drafts: Sequence[Sequence[str]]) -> dict[int, list[list[int] | None]]:
            return {i: context.added(drafts) for i, context in enumerate(contexts.by_member)}

        ahead = look_ahead(tokens, pieces, following, added)
        for i, merges in enumerate(self.merges):
            merges += [one is None for one in ahead.added[i]]

    def _piece(self, token: int) -> str:
        return TextAssembler().feed(self.ensemble.main_model.vocabulary.surfaces[token] or b"")


def followed(ensemble: Ensemble, asked: Sequence[Asked]) -> tuple[Tensor, Tensor, Tensor]:
    """Compute an ensemble's logits along the right answers, of P tokens in all.

    Args:
        ensemble: The ensemble.
        asked: The questions.

    Returns:
        The fused logits ``[P, V_m]``, the right tokens ``[P]``, and which question each belongs to ``[P]``.
    """
    judging = _Judging(ensemble)
    _, order = judging.read(asked)
    owners = torch.tensor([judging.owners[place] for place in order])
    return torch.stack([judging.logits[place] for place in order]), judging.targets, owners


def record(members: Sequence[Member], main: int, asked: Sequence[Asked]) -> Record:
    """Record the members' logits along the right answers.

    Args:
        members: The members.
        main: Index of the main model, whose tokens the answers are made of.
        asked: The questions.
    """
    reading = _Reading(members, main)
    prompts, order = reading.read(asked)
    said = [
        Predictions(
            torch.stack([logits[place] for place in order]),
            torch.tensor([merges[place] for place in order]),
            likelihoods(member, [prompt[i] for prompt in prompts]),
        )
        for i, (member, logits, merges) in enumerate(zip(members, reading.logits, reading.merges, strict=True))
    ]
    return Record(said, reading.targets, torch.tensor([reading.owners[place] for place in order]))


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


def _said(found: dict[str, Tensor]) -> Predictions:
    prompts = [Likelihood(logprob, int(tokens), int(size)) for logprob, tokens, size in found["prompts"].tolist()]
    return Predictions(found["logits"], found["merges"], prompts)
