"""Every architecture decodes on a cache, and what this package reads of `transformers` fails loudly once it is gone."""

from typing import Any

import pytest
import torch
import transformers
from transformers import DynamicCache, LlamaForCausalLM, PreTrainedModel, cache_utils

from deepen_llm import EnsembleLLM
from deepen_llm.errors import LoadError, LogitsError
from deepen_llm.members.local.member import LocalMember
from deepen_llm.members.local.traits import CacheSupport
from deepen_llm.members.transformers_api import Arguments, cache_of
from tests.models import CONFIGS, RECURRENT, TYPES, small
from tests.tokenizers import SMALL

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # in 5.0
KIND = "byte_level_bpe"
ATTENTION = [name for name in (*CONFIGS, *TYPES) if name not in RECURRENT]
UNEVEN = {"deepseek_v32"}  # transformers itself gives other logits with a cache than without
PROMPTS = ["The quick brown fox", "1, 2, 3,"]


def support_of(architecture: str) -> CacheSupport:
    return LocalMember(*small(architecture, KIND)).causal.traits.cache_support


@pytest.mark.parametrize("architecture", ATTENTION)
def test_every_attention_architecture_decodes_on_a_cache(architecture: str) -> None:
    assert support_of(architecture) is not CacheSupport.NONE


@pytest.mark.filterwarnings("ignore:.*no cache that can be rolled back")
@pytest.mark.parametrize("architecture", sorted(RECURRENT))
def test_only_recurrent_ones_read_afresh(architecture: str) -> None:
    assert support_of(architecture) is CacheSupport.NONE


@pytest.mark.parametrize("architecture", sorted(TYPES.keys() - RECURRENT))
def test_one_member_of_any_family_is_that_model(architecture: str) -> None:
    model, tokenizer = small(architecture, KIND)
    ids = torch.tensor([tokenizer.encode(PROMPTS[0])])
    own = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, pad_token_id=0)
    out = EnsembleLLM([(model, tokenizer)]).generate(PROMPTS[0], max_new_tokens=12)
    assert list(out.tokens) == own[0, ids.shape[1] :].tolist()


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("architecture", sorted(TYPES.keys() - RECURRENT - UNEVEN))
def test_rows_of_any_family_have_the_logits_of_their_whole_text(architecture: str, rows: int) -> None:
    member = LocalMember(*small(architecture, KIND))
    context = member.open([member.encode_prompt(prompt) for prompt in PROMPTS[:rows]])
    for step in range(9):
        context.append([[5 + step] if step % 3 else [" and"], [] if step % 4 == 1 else [40 + step]][:rows])
        if step % 2:
            whole = [member.model(input_ids=torch.tensor([ids])).logits[0, -1] for ids in context.ids]
            torch.testing.assert_close(context.logits(), torch.stack(whole), atol=2e-4, rtol=1e-4)


def test_a_model_that_leaves_its_cache_empty_is_an_error() -> None:
    llm = EnsembleLLM([(as_class(Forgetful), SMALL[KIND]())])
    with pytest.raises(LogitsError, match=r"member Forgetful added 0 of \d+ tokens to its cache"):
        llm.generate(PROMPTS[0], max_new_tokens=2)


class Renamed(LlamaForCausalLM):  # type: ignore[misc]
    """A forward whose cache has a name that no version has used yet."""

    def forward(self, input_ids: Any = None, use_cache: bool = False, remembered: Any = None) -> Any:
        return super().forward(input_ids, use_cache=use_cache)


class Unreadable(LlamaForCausalLM):  # type: ignore[misc]
    """A forward that does not tell what it takes."""

    def forward(self, *args: Any) -> Any:
        return super().forward(*args)


class Forgetful(LlamaForCausalLM):  # type: ignore[misc]
    """A forward that takes a cache and uses none."""

    def forward(self, input_ids: Any = None, past_key_values: Any = None, use_cache: bool = True, **_: Any) -> Any:
        return super().forward(input_ids=input_ids, use_cache=False)


class PassesOn(LlamaForCausalLM):  # type: ignore[misc]
    """A forward that names some of what it takes, and passes on the rest."""

    def forward(self, input_ids: Any = None, **given: Any) -> Any:
        return super().forward(input_ids=input_ids, **given)


class Old(LlamaForCausalLM):  # type: ignore[misc]
    """A forward written for transformers before 5.24."""

    def forward(self, input_ids: Any = None, past_key_values: Any = None, use_cache: bool = True, **given: Any) -> Any:
        if past_key_values is not None:
            given[Arguments.of(LlamaForCausalLM).cache or ""] = past_key_values
        return super().forward(input_ids=input_ids, use_cache=use_cache, **given)


def as_class(kind: type[LlamaForCausalLM]) -> PreTrainedModel:
    original, _ = small("llama", KIND)
    model = kind(original.config).eval()
    model.load_state_dict(original.state_dict())
    return model


@pytest.mark.parametrize(
    ("kind", "what"),
    [(Renamed, r"names the cache of Renamed\.forward in no known way"), (Unreadable, r"no signature of Unreadable")],
)
def test_a_forward_that_cannot_be_read_is_refused(kind: Any, what: str) -> None:
    with pytest.raises(LoadError, match=f"transformers {transformers.__version__} .*{what}") as caught:
        LocalMember(as_class(kind), SMALL[KIND]())
    assert "deepen-llm is tested with transformers 5.0 to " in caught.value.hint


@pytest.mark.parametrize("kind", [PassesOn, Old])
def test_overrides_decode_on_the_cache_by_the_name_that_they_take(kind: Any) -> None:
    model = as_class(kind)
    expected = EnsembleLLM([small("llama", KIND)]).generate(PROMPTS[0], max_new_tokens=8)
    assert EnsembleLLM([(model, SMALL[KIND]())]).generate(PROMPTS[0], max_new_tokens=8).tokens == expected.tokens
    own = Arguments.of(LlamaForCausalLM).cache
    assert Arguments.of(model).cache == ("past_key_values" if kind is Old else own)


def test_an_output_tells_its_cache_by_either_name() -> None:
    model, _ = small("llama", KIND)
    assert isinstance(cache_of(model(torch.tensor([[1, 2]]), use_cache=True)), DynamicCache)
    assert cache_of(model(torch.tensor([[1, 2]]), use_cache=False)) is None
    with pytest.raises(LoadError, match="names the cache of a object in no known way"):
        cache_of(object())


@pytest.mark.parametrize("name", ["_is_stateful", "_can_compile_fullgraph"])
def test_a_private_attribute_that_is_gone_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = small("qwen2", KIND)
    for kind in type(model).__mro__:
        if name in vars(kind):
            monkeypatch.delattr(kind, name)
    with pytest.raises(LoadError, match=rf"transformers {transformers.__version__} no longer has .*\.{name}"):
        LocalMember(model, tokenizer)


def test_a_cache_layer_of_an_unknown_kind_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Compressing(cache_utils.DynamicLayer):  # type: ignore[misc]
        pass

    monkeypatch.setattr(
        "deepen_llm.members.transformers_api.DynamicCache", lambda **_: cache_utils.Cache(layers=[Compressing()])
    )
    with pytest.raises(LoadError, match=r"kind of cache layer that deepen-llm does not know, Compressing"):
        support_of("llama")
