"""An ensemble that is loaded on first use: once, shared among equal configurations, and never pickled."""

import copy
import json
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deepen_llm import Bayes, EnsembleLLM, GenerationOptions, LazyEnsemble, specialists
from deepen_llm.engine.ensemble import Ensemble
from deepen_llm.errors import ConfigError, LoadError
from deepen_llm.members.local.member import LocalMember
from tests.models import small

PATHS = specialists.paths()[:2]
PROMPT = "Question: What is the capital of France?"


def fresh(**options: Any) -> LazyEnsemble:
    """An ensemble that no other test has loaded: each has its own batch size."""
    return LazyEnsemble.of(members=PATHS, fusion="bayes", **options)


def test_weights_are_loaded_on_first_use_and_once() -> None:
    lazy, barrier = fresh(batch_size=31), threading.Barrier(8)

    def load(_: int) -> EnsembleLLM:
        barrier.wait()
        return lazy.load()

    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(load, range(8)))
    assert len({id(ensemble) for ensemble in loaded}) == 1
    assert loaded[0].settings == lazy.settings


async def test_loading_on_the_event_loop_gives_the_same_ensemble() -> None:
    lazy = fresh(batch_size=30)
    assert await lazy.aload() is lazy.load() is await lazy.aload()
    assert await lazy.aload("curie") is lazy.load("curie")


def test_equal_configurations_share_one_ensemble_and_others_do_not(tmp_path: Path) -> None:
    lazy = fresh(batch_size=29)
    lazy.config.save(tmp_path / "ensemble.yaml")
    equal = [
        fresh(batch_size=29),
        LazyEnsemble.of(config=tmp_path / "ensemble.yaml"),
        LazyEnsemble.of(config=lazy.config),
        LazyEnsemble.of(members=[str(path) for path in PATHS], fusion=Bayes(), batch_size=29),
        LazyEnsemble.of(**(lazy.described or {})),
        copy.deepcopy(lazy),
        copy.copy(lazy),
        pickle.loads(pickle.dumps(lazy)),  # noqa: S301 - our own
    ]
    assert all(other is lazy for other in equal)
    others = [fresh(batch_size=28), fresh(batch_size=29, generation={"response_format": int})]
    others.append(fresh(batch_size=29, generation={"response_format": {"type": "integer"}}))
    assert len({id(one) for one in (lazy, *others)}) == 4


def test_nothing_is_kept_for_an_ensemble_that_nobody_holds() -> None:
    first = fresh(batch_size=27).identity
    assert fresh(batch_size=27).identity == first
    lazy = fresh(batch_size=27)
    lazy.load()
    del lazy
    assert not fresh(batch_size=27).is_loaded


def test_a_pickle_holds_no_weights_and_answers_alike() -> None:
    lazy = LazyEnsemble.of(ensemble=EnsembleLLM.from_pretrained(PATHS, fusion="bayes", batch_size=26))
    answer = lazy.load().generate(PROMPT, max_new_tokens=6)
    written = pickle.dumps(lazy)
    assert len(written) < 10_000
    again = pickle.loads(written)  # noqa: S301 - our own
    assert again.load() is not lazy.load()
    assert again.load().generate(PROMPT, max_new_tokens=6) == answer
    assert again.identity == lazy.identity


def test_a_live_ensemble_in_memory_is_told_apart_and_not_pickled() -> None:
    pair = small("llama", "byte_level_bpe")
    live = EnsembleLLM([pair])
    lazy, other = LazyEnsemble.of(ensemble=live), LazyEnsemble.of(ensemble=EnsembleLLM([pair]))
    assert lazy.load() is live
    assert copy.deepcopy(lazy) is lazy
    assert lazy.identity == LazyEnsemble.of(ensemble=live).identity != other.identity
    assert lazy.described is None
    with pytest.raises(ConfigError, match="lives in memory only"):
        pickle.dumps(lazy)


def test_what_is_known_before_loading_is_what_the_loaded_ensemble_says() -> None:
    lazy = fresh(batch_size=25, weights=[3, 1], generation={"max_new_tokens": 7})
    window, names = lazy.window(local_files_only=True), lazy.names
    assert not lazy.is_loaded
    ensemble = lazy.load()
    assert (window, names) == (ensemble.context_window, tuple(member.name for member in ensemble.members))
    assert lazy.window() == window
    assert lazy.generation == ensemble.settings.generation == GenerationOptions(max_new_tokens=7)
    assert json.loads(json.dumps(lazy.identity)) == lazy.identity


def test_some_members_answer_as_an_ensemble_of_them() -> None:
    lazy = fresh(batch_size=24)
    assert lazy.load("+".join(lazy.names)) is lazy.load()
    assert lazy.chosen("curie") == ("curie",)
    alone = EnsembleLLM.from_pretrained(PATHS[1:]).generate(PROMPT, max_new_tokens=6)
    assert lazy.load("curie").generate(PROMPT, max_new_tokens=6) == alone
    assert lazy.load("curie").members[0] is lazy.load().members[1]


def test_a_name_may_contain_what_joins_names() -> None:
    kinds = {"c++": ("llama", "byte_level_bpe"), "c": ("gpt_neox", "sentencepiece_bpe"), "+d": ("qwen2", "wordpiece")}
    lazy = LazyEnsemble.of(
        ensemble=EnsembleLLM([LocalMember(*small(*kind), name=name) for name, kind in kinds.items()])
    )
    for names in (("c++",), ("c",), ("c++", "c"), ("c", "c++"), ("c++", "+d"), ("+d", "c", "c++"), tuple(kinds)):
        assert lazy.chosen("+".join(names)) == names
        assert tuple(member.name for member in lazy.load("+".join(names)).members) == names
    for model, unknown in (("c++ d", "c"), ("c+e", "e"), ("c+c", "named twice")):
        with pytest.raises(ConfigError, match=unknown):
            lazy.chosen(model)


MISTAKES: list[tuple[Callable[[], object], str]] = [
    (lambda: LazyEnsemble.of(), "got none"),
    (lambda: LazyEnsemble.of(members=PATHS, config="a.yaml"), "got members and config"),
    (lambda: LazyEnsemble.of(config="a.yaml", fusion="bayes"), "fusion='bayes' beside config="),
    (lambda: LazyEnsemble.of(config="nowhere.yaml"), "cannot be read"),
    (lambda: LazyEnsemble.of(members=[]), "0 members"),
    (lambda: LazyEnsemble.of(members=PATHS, weights=[1]), "1 weights for 2 members"),
    (lambda: fresh(devise="cpu"), "did you mean 'device'"),
    (lambda: LazyEnsemble.of(ensemble="gpt"), "is no EnsembleLLM"),  # type: ignore[arg-type]
    (lambda: fresh().load("nobody"), "'nobody' is no member"),
    (lambda: fresh().load("atlas+atlas"), "'atlas' is named twice"),
]


@pytest.mark.parametrize(("make", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_what_cannot_be_used_is_refused_before_any_weights_are_read(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert caught.value.hint


def test_a_folder_without_a_checkpoint_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="is no checkpoint"):
        LazyEnsemble.of(members=[PATHS[0], tmp_path])


def test_the_engine_of_an_ensemble_is_public() -> None:
    assert isinstance(fresh().load().ensemble, Ensemble)
