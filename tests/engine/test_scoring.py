"""Scores of given continuations: many together are each one alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from deepen_llm import EnsembleLLM
from deepen_llm.engine.scoring import Continuation, score
from deepen_llm.engine.shared import SharedEngine
from deepen_llm.errors import ContextLengthError, PromptError
from deepen_llm.fusion import METHODS
from deepen_llm.members.local.member import LocalMember
from deepen_llm.requests.prompts import encode_text
from tests.laws.test_decoding import PROMPTS
from tests.models import small

ONE, OTHER, THIRD = ("llama", "byte_level_bpe"), ("gpt_neox", "sentencepiece_bpe"), ("qwen2", "sentencepiece_unigram")
CHOICES = [" Paris.", " Rome", " the capital, said the guide: 1, 2, 3 and 42! " * 2, "y", " 😀 naïve 你好"]


def _logprobs(llm: EnsembleLLM, prompt: str, continuation: str) -> list[float]:
    return [one.logprob for one in llm.score(prompt, continuation).tokens]


@pytest.mark.parametrize("fusion", METHODS)
@pytest.mark.parametrize("kinds", [(ONE, OTHER), (OTHER, THIRD, ONE)], ids=len)
def test_many_continuations_score_as_each_alone(kinds: tuple[tuple[str, str], ...], fusion: str) -> None:
    prompts = [prompt for prompt in PROMPTS[:3] for _ in CHOICES]
    alone = EnsembleLLM([small(*kind) for kind in kinds], fusion=fusion, batch_size=1)
    wanted = [alone.score(*pair) for pair in zip(prompts, CHOICES * 3, strict=True)]
    together = EnsembleLLM([small(*kind) for kind in kinds], fusion=fusion, batch_size=4)
    for found, one in zip(together.score(prompts, CHOICES * 3), wanted, strict=True):
        assert [token.token for token in found.tokens] == [token.token for token in one.tokens]
        assert found.total == pytest.approx(one.total, abs=1e-3)
        assert found.is_greedy == one.is_greedy


@pytest.mark.parametrize("kind", [ONE, OTHER, THIRD, ("sliding", "byte_level_bpe"), ("mamba", "byte_level_bpe")])
@pytest.mark.filterwarnings("ignore:.*no cache that can be rolled back")
def test_one_member_scores_as_its_model_does(kind: tuple[str, str]) -> None:
    model, tokenizer = small(*kind)
    llm = EnsembleLLM([(model, tokenizer)])
    for choice, found in zip(CHOICES, llm.score(PROMPTS[0], CHOICES), strict=True):
        prompt, tokens = llm.main_model.encode_prompt(PROMPTS[0]).ids, [one.token for one in found.tokens]
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1, : len(tokenizer)]
        wanted = logits.float().log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])[:, 0]
        assert [one.logprob for one in found.tokens] == pytest.approx(wanted.tolist(), abs=1e-4), choice
        assert [one.greedy for one in found.tokens] == (logits.argmax(-1) == torch.tensor(tokens)).tolist()


@pytest.mark.parametrize("fusion", METHODS)
def test_what_greedy_decoding_gives_is_greedy(fusion: str) -> None:
    llm = EnsembleLLM([small(*ONE), small(*OTHER)], fusion=fusion)
    outputs, encoded = llm.generate(PROMPTS, max_new_tokens=6), [encode_text(llm.ensemble, one) for one in PROMPTS]
    asked = [Continuation(prompt, out.tokens) for prompt, out in zip(encoded, outputs, strict=True)]
    scores = dict(score(SharedEngine(llm.ensemble, batch_size=3), asked))
    assert all(scores[place].is_greedy for place in range(len(PROMPTS)))
    other = Continuation(encoded[0], [*outputs[0].tokens[:-1], outputs[0].tokens[-1] ^ 1])
    ((_, score_of_other),) = score(SharedEngine(llm.ensemble, batch_size=1), [other])
    assert [one.greedy for one in score_of_other.tokens] == [True] * (len(other.tokens) - 1) + [False]


def test_choices_of_one_prompt_are_read_in_two_forwards_and_the_prompt_once() -> None:
    model, tokenizer = small(*ONE)
    llm, read = EnsembleLLM([(model, tokenizer)]), list[torch.Size]()
    handle = model.register_forward_pre_hook(
        lambda _, __, given: read.append(given["input_ids"].shape), with_kwargs=True
    )
    llm.score(PROMPTS[0], [" Paris.", " Rome, said the guide", "y"])
    handle.remove()
    assert [shape[0] for shape in read] == [1, 3]
    assert read[0][1] == len(llm.main_model.encode_prompt(PROMPTS[0]).ids)


def test_a_string_goes_with_each_of_a_list() -> None:
    llm = EnsembleLLM([small(*ONE)])
    assert [one.total for one in llm.score(["The", "A"], " fox")] == pytest.approx(
        [llm.score("The", " fox").total, llm.score("A", " fox").total], abs=1e-4
    )
    assert llm.score([], []) == []
    with pytest.raises(PromptError, match="2 prompts and 1 continuations"):
        llm.score(["The", "A"], [" fox"])
    with pytest.raises(PromptError, match="continuation is empty"):
        llm.score("The", [" fox", ""])


@pytest.mark.parametrize(("text", "fits"), [(" the capital of France", True), (" dog and the fox are here", False)])
def test_a_continuation_whose_parts_exceed_a_window_is_refused(text: str, fits: bool) -> None:
    """WordPiece writes a whole word as one token, and its beginning as several, which a member reads on the way."""
    main, other = LocalMember(*small(*ONE)), LocalMember(*small("gpt2", "wordpiece", seed=1))
    encoded = other.encode_prompt("What is")
    other.context_length = len(encoded.ids) + len(other.encode_continuation(encoded, text))
    llm = EnsembleLLM([main, other])
    with positions_read(other) as read:
        if fits:
            llm.score("What is", text)
        else:
            with pytest.raises(ContextLengthError, match="a part of the continuation take 10 tokens"):
                llm.score("What is", text)
    assert max(read, default=0) < other.context_length


@contextmanager
def positions_read(member: LocalMember) -> Iterator[list[int]]:
    """The positions that a member's model is given, while this is entered."""
    positions = list[int]()

    def note(_: object, __: object, given: dict[str, Any]) -> None:
        positions.extend(given["position_ids"].flatten().tolist())

    hook = member.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield positions
    finally:
        hook.remove()
