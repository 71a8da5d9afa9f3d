"""The seam: one model that takes part, and what it has read so far."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from deepen_llm.fusion.past import Trail
from deepen_llm.fusion.surfaces.expected import Evidence
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.text.encoding import Draft, Prompt
from deepen_llm.tools.definitions import Tool, Toolbox
from deepen_llm.tools.formats import ToolFormat
from deepen_llm.tools.reader import Reader
from deepen_llm.vocabulary import Vocabulary

Message = Mapping[str, Any]
"""A chat message: ``role`` and ``content``, and whatever else the member's template reads."""


_LOGITS_AT_ONCE = 2**24  # of a prompt: 64 MiB
_TOKENS_AT_ONCE = 512


@dataclass(frozen=True)
class Reading:
    """Next-token logits at P places: each row's boundaries one after the other, the rows in turn.

    Attributes:
        logits: fp32 ``[P, V_i]``; padding beyond the tokenizer is ``-inf``.
        lengths: For each row, how many tokens the text has at each boundary.
        trails: What was read last before each place; empty where the context was opened with ``back=0``.
        evidence: What the member expects at each place, once prompts that end inside a token are healed (`Healer`).
    """

    logits: Tensor
    lengths: Sequence[Sequence[int]]
    trails: Sequence[Trail] = ()
    evidence: Sequence[Evidence] = ()


class Context(ABC):
    """What one member has read: B rows of text."""

    @abstractmethod
    def boundaries(self, drafts: Sequence[Draft]) -> list[list[int]]:
        """For each row, the tokens that the text has at each boundary of a draft, as far as one reading can tell them.

        A draft ends before the first step after which the member's tokens would no longer begin with those at the
        boundary before it: what was read of the draft until there would not be what the text is encoded as.

        Args:
            drafts: For each row, what may come next; may be empty.
        """

    @abstractmethod
    def added(self, drafts: Sequence[Draft]) -> list[list[int] | None]:
        """For each row, the tokens that the last step of a draft adds; none for an empty draft.

        None where the tokens after the draft do not begin with those at every boundary before its end. Unlike
        `boundaries`, this tells of the tokenizer alone, not of what the model can read at once.

        Args:
            drafts: For each row, what may come next.
        """

    @abstractmethod
    def read(self, drafts: Sequence[Draft], *, ends_only: bool = False) -> Reading:
        """Next-token logits for the text so far, and at the boundaries of drafts that may follow it.

        The drafts are not kept: what follows is what `append` says. On an accelerator the logits may still be under
        way when this returns.

        Args:
            drafts: For each row, what may come next, no longer than `boundaries` tells.
            ends_only: Tell each row's last boundary only.
        """

    @abstractmethod
    def check(self) -> None:
        """Wait for the last reading.

        Raises:
            LogitsError: A row of it is NaN, ``+inf`` or all ``-inf``.
        """

    @abstractmethod
    def append(self, heard: Sequence[Draft]) -> None:
        """Hear what follows in each row."""

    @abstractmethod
    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row named twice is copied."""

    @abstractmethod
    def join(self, other: Context) -> None:
        """Take over another context's rows, behind the own ones; it was opened by the same member, and is used up."""

    @abstractmethod
    def close(self) -> None:
        """Free what the context holds; it cannot be used afterwards."""

    @abstractmethod
    def reread(self, rows: Sequence[int]) -> None:
        """Read these rows' text as the tokenizer encodes it, in place of the tokens that were heard.

        A row stays as it is where its encoding would be longer, or the text ends inside a character; there one token is
        read in place of several that spell the same, where the context was opened to tell that it is likelier.
        """

    @property
    @abstractmethod
    def ids(self) -> list[list[int]]:
        """Token ids of each row, the prompt's included."""

    def logits(self) -> Tensor:
        """Next-token logits for the text so far, ``[B, V_i]``.

        Raises:
            LogitsError: See `check`.
        """
        logits = self.read([()] * len(self.ids)).logits
        self.check()
        return logits


class Member(ABC):
    """One model that takes part in an ensemble."""

    name: str
    vocabulary: Vocabulary
    embedding: Tensor  # [V_i, D_i], input token embeddings
    context_length: int | None  # tokens that fit, None where the model knows no bound
    weight_bytes: int = 1  # of its weights: about what a one-token forward reads
    bytes_per_token: int = 0  # what a context keeps for each token, 0 where it is not known
    chat_template_kwargs: Mapping[str, Any] = MappingProxyType({})  # variables for its chat template
    source: MemberConfig | None = None  # where it was loaded from, None for one that lives in memory

    @abstractmethod
    def encode_prompt(self, text: str) -> Prompt:
        """Encode a plain prompt; special tokens spelled out in it are recognised, as everywhere in the field."""

    @abstractmethod
    def encode_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        *,
        variables: Mapping[str, Any] | None = None,
        continue_final_message: bool = False,
    ) -> Prompt:
        """Encode a conversation through the member's own chat template, ready for the assistant's answer.

        Args:
            messages: The messages.
            tools: The tools that the assistant may call; where the template knows none, a message describes them.
            variables: Variables for the template, which go before those of ``chat_template_kwargs``.
            continue_final_message: Let the last message go on, in place of a new one.

        Raises:
            PromptError: The member has no template, or its template refuses the messages.
        """

    @abstractmethod
    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        *,
        variables: Mapping[str, Any] | None = None,
        continue_final_message: bool = False,
    ) -> str:
        """The text that `encode_chat` encodes, special tokens spelled out.

        Raises:
            PromptError: See `encode_chat`.
        """

    def reads_variable(self, name: str) -> bool:
        """Whether the member's chat template has a variable of this name."""
        return False

    @property
    @abstractmethod
    def tool_format(self) -> ToolFormat:
        """How the member writes tool calls."""

    @abstractmethod
    def reader(self, prompt: Prompt, toolbox: Toolbox | None, *, structured: bool = False) -> Reader | None:
        """Tells text from all else in the member's answer to a conversation; None where all is text.

        Args:
            prompt: The conversation.
            toolbox: The tools that may be called.
            structured: Whether a structure holds all of the answer, which then has no reasoning before it.
        """

    @abstractmethod
    def encode_continuation(self, prompt: Prompt, text: str) -> list[int]:
        """The member's token ids of ``text`` where it follows the prompt."""

    @abstractmethod
    def first_tokens(self, texts: Sequence[bytes]) -> list[int]:
        """The token with which the member begins each text in the middle of another; -1 where it has none for it."""

    @abstractmethod
    def open(self, prompts: Sequence[Prompt], *, back: int = 0) -> Context:
        """Begin to read: a context with one row for each prompt.

        Args:
            prompts: The prompts.
            back: How many tokens before each boundary to tell the logits before, too (see `Reading`).
        """

    def prompt_logprobs(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        """Log-probabilities of prompts' own tokens, each after those before it; one forward for each prompt, in parts.

        Args:
            prompts: The prompts; each is read alone, so that none depends on the others.

        Returns:
            For each, fp32 ``[tokens - 1]`` on the CPU: the first token has nothing before it.

        Raises:
            LogitsError: Logits are NaN, ``+inf`` or all ``-inf``.
        """
        return [self._own_logprobs(list(prompt.ids)) for prompt in prompts]

    def _own_logprobs(self, ids: list[int]) -> Tensor:
        most = max(1, min(_TOKENS_AT_ONCE, _LOGITS_AT_ONCE // self.vocabulary.size))
        context, read, found = self.open([Prompt(tuple(ids[:1]), 1, "", ("",))]), 1, [torch.empty(0)]
        try:
            while read < len(ids):
                (places,) = context.boundaries([ids[read : min(read + most, len(ids)) - 1]])
                following = ids[read : read + len(places)]
                logits = context.read([following[:-1]]).logits  # [following, V]
                context.check()
                targets = torch.tensor(following, device=logits.device)[:, None]
                found.append(logits.log_softmax(-1).gather(1, targets)[:, 0].cpu())
                context.append([following])
                read += len(following)
        finally:
            context.close()
        return torch.cat(found)
