"""Generation arguments of tasks mean what they mean to `transformers`, change nothing, or are refused by name."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval.api.instance import Instance

from deepen_llm import EnsembleLLM, specialists
from deepen_llm.errors import ConfigError
from deepen_llm.harness import DeepenLM
from deepen_llm.harness.options import TaskOptions, read_options

END = "<end>"


class _Loader(yaml.SafeLoader):
    """Reads the harness's own tags as nothing."""


_Loader.add_multi_constructor("!", lambda *_: None)


def asked(**given: Any) -> TaskOptions:
    return read_options(given, 256, END)


def bundled() -> dict[str, dict[str, Any]]:
    """The generation arguments of every file of the harness's own tasks, by the file."""
    (folder,) = find_spec("lm_eval.tasks").submodule_search_locations  # type: ignore[union-attr,misc]
    found = {}
    for file in Path(folder).rglob("*"):
        if file.is_file() and file.suffix in {"", ".yaml", ".yml"}:
            text = file.read_text(encoding="utf-8", errors="ignore")
            if "\ngeneration_kwargs:" in text:
                lines = text[text.index("\ngeneration_kwargs:") + 1 :].split("\n")
                own = next((i for i, line in enumerate(lines[1:], 1) if line and line[0] not in " -#"), len(lines))
                block = yaml.load("\n".join(lines[:own]), _Loader)  # noqa: S506 - a safe loader
                found[str(file.relative_to(folder))] = block["generation_kwargs"] or {}
    return found


def test_every_bundled_task_is_understood_or_refused_for_its_beams() -> None:
    tasks, refused = bundled(), []
    assert len(tasks) > 300
    for file, given in tasks.items():
        try:
            found = asked(**given)
        except ConfigError as error:
            refused.append((file, error.message))
            continue
        sampled = given.get("do_sample", float(given.get("temperature", 0)) > 0)
        assert found.options.temperature == (float(given.get("temperature", 0)) if sampled else 0), file
        assert found.options.top_p == (given.get("top_p", 1) if sampled else 1), file
        lengths = [given[name] for name in ("max_gen_toks", "max_new_tokens") if name in given]
        assert found.options.max_new_tokens == (lengths or [256])[0], file
        assert found.until == (*filter(None, given.get("until") or []), END), file
    assert [file for file, _ in refused] == ["code_x_glue/code-text/_default_template_yaml"]
    assert refused[0][1] == "generation argument num_beams=10 asks for what is not done here; only 1 can be given"


@pytest.mark.parametrize(
    "given",
    [
        {"num_beams": 1, "use_cache": True, "do_sample": False},
        {"num_return_sequences": 1, "early_stopping": True, "length_penalty": 0.5, "pad_token_id": 0},
        {"top_k": None, "temperature": None, "seed": None, "do_sample": None, "until": None, "max_gen_toks": None},
        {"do_sample": False, "temperature": 0.7, "top_p": 0.0, "top_k": 50, "typical_p": 0.5, "seed": 3},
        {"min_length": 0, "no_repeat_ngram_size": 0, "output_scores": False, "repetition_penalty": 1.0},
        {"use_cache": False, "top_h": None, "skip_special_tokens": True, "num_beams": None},
    ],
)
def test_what_changes_nothing_is_accepted(given: dict[str, Any]) -> None:
    assert asked(**given) == asked()


def test_what_means_the_same_arrives() -> None:
    found = asked(do_sample=True, temperature=0.7, top_p=0.9, top_k=-1, min_p=0.1, repetition_penalty=1.2, seed=5)
    sampled = found.options
    assert (sampled.temperature, sampled.top_p, sampled.top_k, sampled.min_p) == (0.7, 0.9, 0, 0.1)
    assert (sampled.repetition_penalty, found.seed) == (1.2, 5)
    assert asked(temperature=0.5).options.temperature == 0.5  # which samples where do_sample is not given
    for name in ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"):
        assert asked(**{name: 7}).options.max_new_tokens == 7
    assert asked(until=["a"], stop="b", stop_strings=["c", "c"]).until == ("a", "b", "c", "c", END)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"num_beams": 4}, r"num_beams=4 asks for what is not done here; only 1 can be given"),
        ({"num_return_sequences": 2}, r"num_return_sequences=2"),
        ({"penalty_alpha": 0.6}, r"penalty_alpha=0\.6"),
        ({"no_repeat_ngram_size": 3}, r"no_repeat_ngram_size=3"),
        ({"min_new_tokens": 5}, r"min_new_tokens=5"),
        ({"eos_token_id": 2}, r"eos_token_id=2"),
        ({"token_healing": True}, r"token_healing=True asks for what is not done here; only False can be given"),
        ({"typical_p": 0.9, "temperature": 1}, r"typical_p=0\.9"),
        ({"max_length": 99}, r"max_length=99 counts the context too.*\n.*give max_gen_toks"),
        ({"num_beans": 1}, r"unknown generation argument 'num_beans', did you mean 'num_beams'"),
        ({"response_format": {"type": "object"}}, r"unknown generation argument 'response_format'"),
        ({"temperature": "hot"}, r"'hot'"),
        ({"max_gen_toks": "many"}, r"'many'"),
        ({"do_sample": True, "temperature": 1, "top_p": 2}, r"top_p=2"),
        ({"repetition_penalty": 0}, r"repetition_penalty=0"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        asked(**given)
    assert caught.value.hint


@pytest.fixture(scope="module")
def lm() -> DeepenLM:
    return DeepenLM(EnsembleLLM.from_pretrained([specialists.path("atlas")]), batch_size=4)


def requests(*arguments: tuple[str, dict[str, Any]]) -> list[Instance]:
    return [Instance("generate_until", {}, one, i) for i, one in enumerate(arguments)]


def test_a_request_that_cannot_be_done_stops_the_run_before_anything_is_decoded(lm: DeepenLM) -> None:
    seen: list[int] = []
    handle = lm.ensemble.members[0].model.register_forward_hook(lambda *_: seen.append(1))  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="num_beams=2"):
        lm.generate_until(requests(("The", {"max_gen_toks": 2}), ("The", {"num_beams": 2})))
    handle.remove()
    assert not seen


def test_a_seed_repeats_and_gives_each_repeat_of_a_request_an_answer_of_its_own(lm: DeepenLM) -> None:
    sampled = {"do_sample": True, "temperature": 2.0, "max_gen_toks": 8, "until": [], "seed": 1}
    first, second = (lm.generate_until(requests(*[("The", sampled)] * 6)) for _ in range(2))
    assert first == second
    assert len(set(first)) > 1


def test_an_answer_is_decoded_no_further_than_to_its_end(lm: DeepenLM) -> None:
    context, seen = "The capital of France is", list[int]()
    handle = lm.ensemble.members[0].model.register_forward_hook(lambda *_: seen.append(1))  # type: ignore[attr-defined]

    def asked(**given: Any) -> tuple[str, int]:
        seen.clear()
        (answer,) = lm.generate_until(requests((context, {"temperature": 3.0, "seed": 1, "max_gen_toks": 40, **given})))
        return answer, len(seen)

    whole, most = asked(until=[])
    word = whole.split()[2]
    cut, fewer = asked(until=[word])
    assert cut == whole[: whole.index(word)]
    assert fewer < most
    ids = lm.ensemble.generate(context, temperature=3.0, seed=1, max_new_tokens=40).tokens
    short, few = asked(until=[], stop_token_ids=[ids[6]])
    assert whole == lm.tokenizer.decode(ids, skip_special_tokens=True)
    assert short == lm.tokenizer.decode(ids[: ids.index(ids[6])])
    assert few < most
    handle.remove()
