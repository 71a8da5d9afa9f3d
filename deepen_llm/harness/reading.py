"""The prompts of requests: the main model's tokens are those of ``hf``, the other members read the same text."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from lm_eval.models.utils import has_bos_prefix, resolve_max_length

from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.engine.scoring import Continuation
from deepen_llm.errors import ConfigError, ContextLengthError, PromptError
from deepen_llm.harness.conversation import as_read
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.text.encoding import EncodedPrompt, Prompt

_MARGIN = 8  # tokens by which a text may be encoded longer once its beginning is cut off


class Reading:
    """Encodes the harness's requests for all members.

    Args:
        ensemble: The ensemble.
        max_length: The most tokens that any member reads; None for each one's own window.

    Attributes:
        members: All members.
        main: The main model.
        max_length: Tokens that the main model reads.

    Raises:
        ConfigError: A member is not local.
    """

    def __init__(self, ensemble: Ensemble, max_length: int | None) -> None:
        if ensemble.fusion.has_own_vocabulary:
            raise ConfigError(
                "expected a fusion method that chooses the main model's tokens, which tasks are scored in, got one "
                "with a vocabulary of its own",
                hint="score it with EnsembleLLM.score",
            )
        self.members = [_local(member) for member in ensemble.members]
        self._main_index, self.main = ensemble.main, self.members[ensemble.main]
        windows = [max_length or member.context_length for member in self.members]
        self._windows = [
            window and min(window, member.context_length or window)
            for window, member in zip(windows, self.members, strict=True)
        ]
        self.max_length: int = max_length or resolve_max_length(self.main.model.config, self.main.tokenizer)
        chosen_from = ensemble.vocabulary.fingerprint
        self._takes_tokens = [member.vocabulary.fingerprint == chosen_from for member in self.members]

    @property
    def prefix_token_id(self) -> int:
        """The token before a text without a context."""
        return opening(self.main)

    def encode(self, string: str, add_special_tokens: bool | None = None) -> list[int]:
        """The main model's token ids, as ``hf`` encodes them."""
        return _encode(self.main, string, add_special_tokens)

    def as_main(self, string: str) -> str:
        """The text that the main model reads of one of the harness's strings."""
        return as_read(self.main, string)

    def continuations(self, pairs: Sequence[tuple[str, Sequence[int], Sequence[int]]]) -> list[Continuation]:
        """Encode continuations to score; those of one context share their prompt.

        Args:
            pairs: For each, the context as the harness gives it (may be empty), its main-model token ids, and the
                continuation's.

        Raises:
            PromptError: A continuation adds no token to its context.
            ContextLengthError: A continuation alone is longer than a member reads.
        """
        prompts: dict[tuple[Prompt, ...], EncodedPrompt] = {}
        continuations = []
        for context, ids, tokens in pairs:
            self._check(context, tokens)
            kept = tuple(ids)[-(self.max_length + 1 - len(tokens)) :]
            text = b"".join(self.main.vocabulary.surfaces[token] or b"" for token in tokens).decode(errors="replace")
            read = tuple(self._scored(i, context, kept, tokens, text) for i in range(len(self.members)))
            continuations.append(Continuation(prompts.setdefault(read, read), tokens))
        return continuations

    def window(self, ids: Sequence[int], tokens: Sequence[int]) -> Continuation | None:
        """Encode a window of a longer text; None where it does not fit into another member's context window.

        Args:
            ids: The main-model token ids before what is scored.
            tokens: Those that are scored.
        """
        surfaces, utf8 = self.main.vocabulary.surfaces, codecs.getincrementaldecoder("utf-8")("ignore")
        before = utf8.decode(b"".join(surfaces[token] or b"" for token in ids))
        text = b"".join(surfaces[token] or b"" for token in tokens).decode(errors="replace")
        prompts: list[Prompt] = []
        for i, member in enumerate(self.members):
            prompt = _closed(ids) if self._takes_tokens[i] else _prompt(member, before)
            window = self._windows[i]
            if not self._takes_tokens[i] and window and len(prompt.ids) + _tokens(member, prompt, text) > window:
                return None
            prompts.append(prompt)
        return Continuation(prompts, tokens, utf8.getstate()[0])

    def prompt(self, context: str, max_new_tokens: int) -> EncodedPrompt:
        """Encode a context to generate from; the beginning of one that is too long is cut off.

        Raises:
            ConfigError: A member's window holds no more than the answer.
        """
        prompts = []
        for i, member in enumerate(self.members):
            text = as_read(member, context)
            prompt = _closed(_encode(member, text)) if self._takes_tokens[i] else _prompt(member, text)
            window = self.max_length if i == self._main_index else self._windows[i]
            if window and window <= max_new_tokens:
                raise ConfigError(
                    f"max_gen_toks={max_new_tokens} leaves no room for a context: member {member.name} reads {window}",
                    hint="give fewer with --gen_kwargs max_gen_toks=... or in model_args",
                )
            prompts.append(member.last_tokens(prompt, window - max_new_tokens) if window else prompt)
        return prompts

    def _check(self, context: str, tokens: Sequence[int]) -> None:
        if not tokens:
            raise PromptError(
                f"a continuation adds no token to its context {context[-40:]!r}",
                hint="give the task's target_delimiter or its choices a character that the main model's tokenizer sees",
            )
        if len(tokens) > self.max_length:
            raise _too_long(self.main, len(tokens), self.max_length)

    def _scored(self, i: int, context: str, ids: tuple[int, ...], tokens: Sequence[int], text: str) -> Prompt:
        """The prompt of one member before a continuation, whose last token is scored and not read."""
        if i == self._main_index:
            return _closed(ids)
        member, window = self.members[i], self._windows[i]
        given = as_read(member, context).rstrip()  # the harness counts spaces at the end to the continuation
        if self._takes_tokens[i]:
            prompt, count = _closed(_encode(member, given) if given else [opening(member)]), len(tokens) - 1
        else:
            prompt = _prompt(member, given)
            count = _tokens(member, prompt, text) + _MARGIN if window and _near(prompt, text, window) else 0
        if not window or len(prompt.ids) + count <= window:
            return prompt
        if count >= window:
            raise _too_long(member, count, window)
        return member.last_tokens(prompt, window - count)


def opening(member: LocalMember) -> int:
    """The token before a text without a context.

    Raises:
        PromptError: The member's tokenizer has none.
    """
    tokenizer = member.tokenizer
    id_ = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if id_ is None:
        raise PromptError(
            f"the tokenizer of member {member.name} has no token that begins or ends a text",
            hint="set its bos_token or eos_token",
        )
    return int(id_)


def _encode(member: LocalMember, string: str, add_special_tokens: bool | None = None) -> list[int]:
    options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
    if add_special_tokens is None and has_bos_prefix(string, member.tokenizer.decode(opening(member))):
        options = {"add_special_tokens": False}
    return list(member.tokenizer.encode(string, **options))


def _prompt(member: LocalMember, text: str) -> Prompt:
    prompt = member.encode_prompt(text)
    return prompt if prompt.ids else _closed([opening(member)])


def _closed(ids: Sequence[int]) -> Prompt:
    """A prompt for a member with the main model's vocabulary, which reads tokens."""
    return Prompt(tuple(ids), len(ids), "", ("\n",))


def _near(prompt: Prompt, text: str, window: int) -> bool:
    """Whether the window might not hold both, as every token has at least one byte."""
    return len(prompt.ids) + len(text.encode()) + _MARGIN > window


def _tokens(member: LocalMember, prompt: Prompt, text: str) -> int:
    return len(member.encode_continuation(prompt, text)) if text else 0


def _too_long(member: LocalMember, tokens: int, window: int) -> ContextLengthError:
    return ContextLengthError(
        f"a continuation takes {tokens} tokens in member {member.name}, which reads {window}",
        hint="choose a member with a larger window, or raise max_length",
    )


def _local(member: object) -> LocalMember:
    if isinstance(member, LocalMember):
        return member
    raise ConfigError(f"{member!r:.80} is no local member", hint="evaluate members loaded with from_pretrained")
