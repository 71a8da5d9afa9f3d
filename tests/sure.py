"""Members that are sure of a text as their own tokenizer writes it, and of nonsense wherever else they are put."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from deepen_llm.members.base import Context
from deepen_llm.members.local.cached_context import AfreshContext
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.text.encoding import Prompt
from tests.models import random_model
from tests.tokenizers import Builder

Says = Callable[[Sequence[int]], Tensor]


class _Told(AfreshContext):
    says: Says

    def _forward(self, places: list[tuple[int, int]]) -> Tensor:
        return torch.stack([self.says(self.sequences[row].reading[:length]) for row, length in places])


class SureMember(LocalMember):
    """A member with a tokenizer, and a table in place of a model.

    Args:
        tokenizer: Builds its tokenizer.
        name: Its name.
        strength: Of its opinion, in nats.
    """

    def __init__(self, tokenizer: Builder, name: str, strength: float = 30.0) -> None:
        built = tokenizer()
        super().__init__(random_model("llama", len(built), built.eos_token_id), built, name)
        self.scripts: list[list[int]] = []
        self.strength = strength

    def say(self, prompt: str, answer: str) -> list[int]:
        """Be sure that a prompt goes on so, and then ends; tells the tokens of both together."""
        start = self.encode_prompt(prompt)
        context = LocalMember.open(self, [start])
        context.append([[answer]])
        (ids,) = context.ids
        self.scripts = [[*ids, self.vocabulary.end_of_text[0]]]
        return ids

    def logits_after(self, ids: Sequence[int]) -> Tensor:
        """Logits ``[V]``: the script's next token; where there is no script, another one at random."""
        made = torch.Generator().manual_seed(hash(tuple(ids)) % 2**60)
        logits = torch.randn(self.vocabulary.size, generator=made)
        if self.strength:
            script = next((one for one in self.scripts if one[: len(ids)] == list(ids) and len(one) > len(ids)), None)
            wanted = script[len(ids)] if script else int(torch.randint(self.vocabulary.size, (), generator=made))
            logits[wanted] += self.strength
        return logits

    def open(self, prompts: Sequence[Prompt], *, back: int = 0) -> Context:
        told = _Told(self.name, self.causal, self.vocabulary, self.encoder, prompts, back, None)
        told.says = self.logits_after
        return told
