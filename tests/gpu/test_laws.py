"""The laws of CONTRIBUTING.md, on the device."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from deepen_llm import Bayes, Deepen, EnsembleLLM, Exact, FusionMethod, Surface
from deepen_llm.fusion import METHODS
from deepen_llm.fusion.past import Past, Trail
from deepen_llm.fusion.relative.selection import chosen_anchors
from deepen_llm.members.base import Member
from deepen_llm.vocabulary import shared_anchors
from tests.fusion.operators import Operators
from tests.gpu.ensembles import PROMPTS, ensemble

pytestmark = pytest.mark.gpu
UNFINISHED = [b"", b"", b"\xc3", b""]
SAMPLED = {"max_new_tokens": 8, "temperature": 1.0, "top_p": 0.95, "seed": 3}


@pytest.mark.parametrize("which", range(3))
def test_law_1_one_member_is_that_model(which: int, device: str) -> None:
    member: Any = ensemble(device).members[which]
    llm = EnsembleLLM([member])
    for prompt, penalty in zip(PROMPTS, (1.0, 1.0, 1.3, 1.3), strict=True):
        ids = torch.tensor([member.tokenizer.encode(prompt)], device=device)
        given = {"do_sample": False, "max_new_tokens": 24, "pad_token_id": 0, "repetition_penalty": penalty}
        expected = member.model.generate(ids, attention_mask=torch.ones_like(ids), **given)
        out = llm.generate(prompt, max_new_tokens=24, repetition_penalty=penalty)
        assert list(out.tokens) == expected[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("fusion", METHODS)
def test_law_2_the_same_model_twice_or_no_weight_is_one(fusion: str, device: str) -> None:
    one, *others = ensemble(device).members
    alone = [out.tokens for out in EnsembleLLM([one]).generate(PROMPTS, max_new_tokens=16)]
    for members, weights in (([one, one], None), ([one, *others], [1, 0, 0])):
        llm = EnsembleLLM(members, weights=weights, fusion=fusion)
        assert [out.tokens for out in llm.generate(PROMPTS, max_new_tokens=16)] == alone


@pytest.mark.parametrize("fusion", METHODS)
@pytest.mark.parametrize("options", [{"max_new_tokens": 8}, {**SAMPLED, "n": 2}], ids=["greedy", "sampled"])
def test_law_6_a_batch_is_its_prompts_one_by_one(fusion: str, options: dict[str, Any], device: str) -> None:
    llm = ensemble(device, fusion)
    batch = llm.generate(PROMPTS, **options)
    for prompt, out in zip(PROMPTS, batch, strict=True):
        alone = llm.generate(prompt, **options)
        assert [one.tokens for one in alone.samples] == [one.tokens for one in out.samples]


def test_law_6_a_seed_repeats_and_another_does_not(device: str) -> None:
    llm = ensemble(device)
    first, again = (llm.generate(PROMPTS[2], **{**SAMPLED, "n": 4}) for _ in range(2))
    assert first == again
    assert first != llm.generate(PROMPTS[2], **{**SAMPLED, "n": 4, "seed": 4})


def test_law_6_a_streams_pieces_join_to_the_whole(device: str) -> None:
    llm = ensemble(device)
    stream = llm.stream(PROMPTS[0], **SAMPLED)
    assert "".join(stream) == llm.generate(PROMPTS[0], **SAMPLED).text


@pytest.mark.parametrize("fusion", METHODS)
def test_law_8_answers_are_those_of_the_cpu(fusion: str, device: str) -> None:
    here, there = ensemble(device, fusion), ensemble("cpu", fusion)
    out = [llm.generate(PROMPTS, max_new_tokens=12, logprobs=3) for llm in (here, there)]
    assert [one.tokens for one in out[0]] == [one.tokens for one in out[1]]
    scores = [torch.tensor([one.logprob for one in llm.score(PROMPTS[0], " Paris.").tokens]) for llm in (here, there)]
    torch.testing.assert_close(*scores, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "method", [Deepen(), Deepen(relr=0.3), Bayes(), Bayes(max_rows=64), Exact(), Exact(mean="geometric")], ids=str
)
def test_law_8_a_fused_step_is_that_of_the_cpu(method: FusionMethod, device: str) -> None:
    logits, weights = random_logits(ensemble("cpu").members), torch.tensor([[0.2, 0.5, 0.3]] * 3 + [[1.0, 0, 0]])
    there = method.prepare(ensemble("cpu").members, 0).fuse(logits, weights)
    here = method.prepare(ensemble(device).members, 0).fuse([one.to(device) for one in logits], weights)
    assert here.device.type == device
    torch.testing.assert_close(here.cpu(), there, atol=2e-3, rtol=1e-4)
    torch.testing.assert_close(here.softmax(-1).cpu(), there.softmax(-1), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("options", [{}, {"straddle": 0}, {"rounds": 1, "abstain": False}], ids=str)
def test_law_8_a_fused_step_behind_a_text_is_that_of_the_cpu(options: dict[str, Any], device: str) -> None:
    method, weights = Surface(**options), torch.tensor([[0.2, 0.5, 0.3]] * 3 + [[1.0, 0, 0]])
    there, here = (method.prepare(ensemble(where).members, 0) for where in ("cpu", device))
    contexts = [
        member.open([member.encode_prompt(prompt) for prompt in PROMPTS], back=there.back if i else 0)
        for i, member in enumerate(ensemble("cpu").members)
    ]
    straddling = 0
    for piece in ("", " P", "ar", "is", " 1", "2", ".", " \n"):
        for context in contexts:
            context.append([[piece]] * len(PROMPTS))
        readings = [context.read([()] * len(PROMPTS)) for context in contexts]
        logits, trails = [one.logits for one in readings], [one.trails for one in readings]
        pasts = [Past(trails, UNFINISHED), Past([[moved(one, device) for one in row] for row in trails], UNFINISHED)]
        expected = there.fuse(logits, weights, pasts[0])
        with Operators() as operators:
            found = here.fuse([one.to(device) for one in logits], weights.to(device), pasts[1])
        assert found.device.type == device
        assert operators.waits == (device != "cpu")
        torch.testing.assert_close(found.softmax(-1).cpu(), expected.softmax(-1), atol=1e-5, rtol=1e-3)
        straddling += sum(len(one.straddlers) for told in pasts[1].evidence.values() for one in told)
    assert straddling > 0


def moved(trail: Trail, device: str) -> Trail:
    """A trail on a device."""
    return replace(
        trail, logits=[one.to(device) for one in trail.logits], norms=[one.to(device) for one in trail.norms]
    )


@pytest.mark.parametrize("choice", ["random", "consistent", "spread"])
def test_law_8_anchors_are_chosen_as_on_the_cpu(choice: str, device: str) -> None:
    options = Bayes(anchor_choice=choice, anchor_count=300)
    chosen = []
    for members in (ensemble(device).members, ensemble("cpu").members):
        ids = shared_anchors([member.vocabulary for member in members])
        chosen.append(set(chosen_anchors(members, ids, 0, options, options)[0].tolist()))
    assert len(chosen[0] & chosen[1]) >= 290  # rounding may turn a tie


def random_logits(members: tuple[Member, ...]) -> list[torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    return [4 * torch.randn(4, member.vocabulary.size, generator=made) for member in members]
