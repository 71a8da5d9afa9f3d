"""Law 8 for what saves time on a GPU: captured and compiled steps, and drafts."""

import pytest
import torch

from deepen_llm import EnsembleLLM
from deepen_llm.members.local.member import LocalMember
from tests.gpu.ensembles import PROMPTS, ensemble

pytestmark = pytest.mark.gpu


def again(member: LocalMember, *, fixed: bool, compile_: bool = False) -> LocalMember:
    """The same model as a member of its own, with steps of a fixed shape or without."""
    other = LocalMember(member.model, member.tokenizer, compile=compile_)
    other.causal.fixed_steps = fixed
    return other


@pytest.mark.parametrize("which", range(3))
def test_steps_of_a_fixed_shape_give_what_growing_caches_give(which: int, device: str) -> None:
    member = ensemble(device).members[which]
    assert isinstance(member, LocalMember)
    contexts = [again(member, fixed=fixed) for fixed in (False, True)]
    growing, fixed = (one.open([one.encode_prompt(prompt) for prompt in PROMPTS]) for one in contexts)
    chosen = torch.Generator().manual_seed(0)
    for step in range(40):
        torch.testing.assert_close(fixed.logits(), growing.logits(), atol=1e-3, rtol=1e-3)
        tokens = torch.randint(100, 1000, (len(growing.ids),), generator=chosen).tolist()
        for context in (growing, fixed):
            context.append([[token] for token in tokens])
            if step == 20:
                context.select([2, 0])
    assert contexts[1].causal.captures == (device == "cuda")  # False after a capture that failed


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 5}], ids=["greedy", "sampled"])
def test_drafts_change_no_answer(options: dict[str, float], device: str) -> None:
    plain, members = ensemble(device), ensemble(device).members
    drafted = EnsembleLLM(members, fusion="bayes", draft_tokens=4)
    for prompt in PROMPTS:
        assert drafted.generate(prompt, max_new_tokens=24, **options).tokens == (
            plain.generate(prompt, max_new_tokens=24, **options).tokens
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compiling takes a minute and a compiler on a CPU")
def test_compiled_steps_give_what_growing_caches_give(device: str) -> None:
    member = ensemble(device).members[0]
    assert isinstance(member, LocalMember)
    members = (again(member, fixed=False), again(member, fixed=True, compile_=True))
    contexts = [one.open([one.encode_prompt(prompt) for prompt in PROMPTS]) for one in members]
    for token in range(100, 120):
        torch.testing.assert_close(contexts[1].logits(), contexts[0].logits(), atol=1e-3, rtol=1e-3)
        for context in contexts:
            context.append([[token]] * len(PROMPTS))
