"""A shared cache: the same call hits, and whatever changes the answer never does."""

from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_deepen import ChatDeepen, DeepenLLM
from langchain_script import answers
from langchain_scripted import ensemble

from deepen_llm import EnsembleLLM

CHANGES: list[dict[str, Any]] = [
    {"temperature": 0.5},
    {"seed": 3},
    {"stop": ["lazy"]},
    {"max_tokens": 5},
    {"n": 2},
    {"top_k": 2},
    {"response_format": {"type": "json_object"}},
]


@pytest.fixture(params=[ChatDeepen, DeepenLLM])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_the_same_call_hits_and_another_does_not(kind: Any, live: EnsembleLLM, calls: list[int]) -> None:
    cache = InMemoryCache()
    model = kind(ensemble=live, cache=cache, max_tokens=12)
    first = model.invoke("Hello|")
    assert calls == [1]
    again = [
        model.invoke("Hello|"),
        await model.ainvoke("Hello|"),
        kind(ensemble=live, cache=cache, max_new_tokens=12).invoke("Hello|"),
    ]
    assert calls == [1]
    assert all(getattr(one, "content", one) == getattr(first, "content", first) for one in again)
    for count, change in enumerate(CHANGES, start=2):
        model.invoke("Hello|", **change)
        assert len(calls) == count
        model.bind(**change).invoke("Hello|")
        await model.ainvoke("Hello|", **change)
        kind(ensemble=live, cache=cache, **{"max_tokens": 12, **change}).invoke("Hello|")
        assert len(calls) == count


def test_other_members_or_weights_do_not_hit(kind: Any, live: EnsembleLLM, calls: list[int]) -> None:
    cache = InMemoryCache()
    others = [
        live,
        EnsembleLLM(live.members, weights=[0.9, 0.1]),
        EnsembleLLM(live.members, main_model=1),
        EnsembleLLM(live.members[:1]),
        ensemble(answers),
    ]
    for count, one in enumerate(others, start=1):
        for _ in range(2):
            kind(ensemble=one, cache=cache, max_tokens=8).invoke("Hello|")
        assert len(calls) == count


async def test_a_batch_asks_the_models_only_for_what_is_new(kind: Any, live: EnsembleLLM, calls: list[int]) -> None:
    set_llm_cache(InMemoryCache())
    try:
        model = kind(ensemble=live, max_tokens=8)
        model.batch(["Hello|", "A list|"])
        model.batch(["Hello|", "Hey|", "A list|", "hi|"])
        await model.abatch(["Hello|", "A list|", "hi|"])
        await model.abatch(["Hello|", "x|"])
    finally:
        set_llm_cache(None)
    assert calls == [1] * 5


def test_an_instance_may_keep_out_of_the_cache(kind: Any, live: EnsembleLLM, calls: list[int]) -> None:
    set_llm_cache(InMemoryCache())
    try:
        model = kind(ensemble=live, cache=False, max_tokens=8)
        model.invoke("Hello|"), model.invoke("Hello|")
    finally:
        set_llm_cache(None)
    assert calls == [1, 1]
