"""Law 8 for one-token steps of a fixed shape, as they are captured on a GPU: they give what growing caches give."""

import pytest
import torch

from deepen_llm import EnsembleLLM
from deepen_llm.members.local.member import LocalMember
from tests.models import small

PROMPTS = ["The quick brown fox", "She sells sea shells by the", "1, 2, 3,"]
LONG = {PROMPTS[0]: 26, PROMPTS[1]: 16, PROMPTS[2]: 33}  # times, for about 200 to 240 tokens
ARCHITECTURES = ["llama", "gpt_neox", "gemma", "qwen2"]


def member_with(architecture: str, kind: str, *, fixed: bool) -> LocalMember:
    member = LocalMember(*small(architecture, kind))
    member.causal.fixed_steps = fixed
    return member


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_these_families_can_be_fixed(architecture: str) -> None:
    assert LocalMember(*small(architecture, "byte_level_bpe")).causal.traits.fixed_steps


@pytest.mark.filterwarnings("ignore:.*no cache that can be rolled back")
@pytest.mark.parametrize("architecture", ["sliding", "mpt", "mamba", "dynamic_rope"])
def test_these_cannot(architecture: str) -> None:
    assert not LocalMember(*small(architecture, "byte_level_bpe")).causal.traits.fixed_steps


# drafts are read several tokens at a time, in steps that are not fixed, so two architectures are enough for them
@pytest.mark.parametrize(
    ("architecture", "draft_tokens"), [*((one, 0) for one in ARCHITECTURES), ("llama", 3), ("gpt_neox", 3)]
)
def test_answers_are_those_of_growing_caches(architecture: str, draft_tokens: int) -> None:
    outs = []
    for fixed in (False, True):
        members = [member_with(architecture, kind, fixed=fixed) for kind in ("byte_level_bpe", "sentencepiece_bpe")]
        llm = EnsembleLLM(members, fusion="bayes", batch_size=2, draft_tokens=draft_tokens)
        outs.append(llm.generate(PROMPTS, max_new_tokens=16, temperature=0.7, seed=3))
    assert outs[0] == outs[1]


def test_logits_are_those_of_growing_caches_across_buffers() -> None:
    generator = torch.Generator().manual_seed(0)
    contexts = []
    for fixed in (False, True):
        member = member_with("llama", "byte_level_bpe", fixed=fixed)
        prompts = [prompt * times for prompt, times in LONG.items()]
        contexts.append(member.open([member.encode_prompt(prompt) for prompt in prompts]))
        contexts[-1].logits()
    for step in range(90):  # the first buffer has 256 slots
        tokens = torch.randint(3, 300, (3,), generator=generator).tolist()
        heard = [[token] if step % 7 or row else [] for row, token in enumerate(tokens)]
        for context in contexts:
            context.append(heard)
        torch.testing.assert_close(contexts[1].logits(), contexts[0].logits(), atol=2e-4, rtol=1e-4)
        if step in (10, 70):
            for context in contexts:
                context.select([2, 0, 1])
