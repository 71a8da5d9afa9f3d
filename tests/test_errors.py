"""Bad input ends in one clear error, before any generation."""

import functools
import itertools
import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5ForConditionalGeneration

from deepen_llm import Bayes, Deepen, EnsembleConfig, EnsembleLLM, GenerationOptions, MemberConfig, specialists, tune
from deepen_llm.errors import (
    ConfigError,
    ContextLengthError,
    DeepenError,
    LoadError,
    LogitsError,
    PromptError,
    VocabularyError,
)
from deepen_llm.testing import scripted
from tests.models import random_model, small
from tests.tokenizers import byte_level_bpe, sentencepiece_bpe

ONE, OTHER = ("llama", "byte_level_bpe"), ("gpt_neox", "sentencepiece_bpe")


def pair(**options: Any) -> EnsembleLLM:
    return EnsembleLLM([small(*ONE), small(*OTHER)], **options)


@functools.cache
def chatting() -> EnsembleLLM:
    return EnsembleLLM.from_pretrained(specialists.paths()[:2])


SETTINGS: list[tuple[str, Callable[[], object], str]] = [
    ("no member", lambda: EnsembleLLM([]), "0 members"),
    ("no path", lambda: EnsembleLLM.from_pretrained([]), "0 members"),
    ("main model", lambda: pair(main_model=2), "main_model=2 names no member of 2"),
    ("number of weights", lambda: pair(weights=[1, 2, 3]), "3 weights for 2 members"),
    ("negative weight", lambda: pair(weights=[1, -1]), "none negative"),
    ("zero weights", lambda: pair(weights=[0, 0]), "one above zero"),
    ("no number", lambda: pair(weights=[math.nan, 1]), "finite"),
    ("fusion without a method", lambda: pair(fusion={"rounds": 1}), "names no method"),
    ("fusion methods", lambda: pair(fusion={"method": ["surface"]}), "did you mean 'surface'"),
    ("fusion method", lambda: pair(fusion="deepend"), "unknown fusion method 'deepend', did you mean 'deepen'"),
    ("fusion option", lambda: Deepen(relrr=1), "unknown option 'relrr', did you mean 'relr'"),  # type: ignore[call-arg]
    ("nested option", lambda: pair(fusion={"method": "bayes", "relr": 1}), "Bayes: unknown option 'relr'"),
    ("two temperatures", lambda: Bayes(temperature=100), "exactly one of temperature and self_mass"),
    ("ensemble option", lambda: EnsembleConfig(members=["a"], wieghts=[1]), "did you mean 'weights'"),  # type: ignore
    ("generation option", lambda: GenerationOptions(temprature=1), "did you mean 'temperature'"),  # type: ignore
    ("eos policy", lambda: pair(eos_policy="never"), "eos_policy='never'"),
    ("a path in memory", lambda: EnsembleLLM(["a", "b"]), "'a' is no member"),  # type: ignore[list-item]
    ("a swapped pair", lambda: EnsembleLLM([small(*ONE)[::-1]]), "is no member"),
    ("nothing", lambda: EnsembleLLM.from_pretrained(None), "0 members"),  # type: ignore[arg-type]
    (
        "a file and more",
        lambda: EnsembleLLM.from_pretrained("a.yaml", main_model=1),
        "options beside the configuration",
    ),
    ("a file and a dtype", lambda: EnsembleLLM.from_pretrained("a.yaml", dtype="bfloat16"), "options beside"),
    ("a file and compile", lambda: EnsembleLLM.from_pretrained("a.yaml", compile=True), "options beside"),
    ("a file and a draft model", lambda: EnsembleLLM.from_pretrained("a.yaml", draft_model="b"), "options beside"),
    ("no drafts", lambda: EnsembleLLM.from_pretrained(["a"], draft_model="b"), "draft no token"),
    ("nobody's home", lambda: MemberConfig(path="~nobodyhere/x"), "home directory"),
    ("devices", lambda: EnsembleLLM.from_pretrained(["a", "b"], device=["cpu"]), "1 devices for 2 members"),
]


@pytest.mark.parametrize(("call", "says"), [pytest.param(*rest, id=name) for name, *rest in SETTINGS])
def test_a_setting_that_cannot_be_used(call: Callable[[], object], says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("(", r"\(")) as caught:
        call()
    assert caught.value.hint


ARGUMENTS: dict[str, Callable[[EnsembleLLM, Any], object]] = {
    "EnsembleLLM": lambda _, wrong: EnsembleLLM(wrong),
    "from_pretrained": lambda _, wrong: EnsembleLLM.from_pretrained(wrong),
    "a member": lambda _, wrong: EnsembleLLM.from_pretrained([wrong]),
    "from_config": lambda _, wrong: EnsembleLLM.from_config(wrong),
    "save": lambda _, wrong: EnsembleConfig(members=["a"]).save(wrong),
    "subset": lambda llm, wrong: llm.subset(wrong),
    "generate": lambda llm, wrong: llm.generate(wrong),
    "one of several": lambda llm, wrong: llm.generate(["a", wrong]),
    "stream": lambda llm, wrong: llm.stream(wrong),
    "chat": lambda llm, wrong: llm.chat(wrong),
    "stream_chat": lambda llm, wrong: llm.stream_chat(wrong),
    "score": lambda llm, wrong: llm.score(wrong, "a"),
    "continuation": lambda llm, wrong: llm.score("a", wrong),
    "score_chat": lambda llm, wrong: llm.score_chat(wrong, "a"),
    "answer": lambda llm, wrong: llm.score_chat([{"role": "user", "content": "a"}], wrong),
    "render": lambda llm, wrong: llm.render(wrong),
    "tune": lambda llm, wrong: tune(llm, wrong),
}


@pytest.mark.parametrize("wrong", [3, 0.5, object()], ids=lambda wrong: type(wrong).__name__)
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_a_wrong_type_is_an_error_that_shows_it(argument: str, wrong: object) -> None:
    with pytest.raises(DeepenError, match=f"{re.escape(repr(wrong)[:20])}|{type(wrong).__name__}") as caught:
        ARGUMENTS[argument](chatting(), wrong)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temprature": 1}, "did you mean 'temperature'"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"temperature": -1}, "temperature=-1"),
        ({"temperature": math.nan}, "temperature=nan"),
        ({"top_p": 0}, "top_p=0"),
        ({"stop": [""]}, "must not be empty"),
        ({"n": 0}, "n=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_a_generation_option_that_cannot_be_used(options: dict[str, Any], says: str) -> None:
    llm = pair()
    for call in (llm.generate, llm.stream):
        with pytest.raises(ConfigError, match=says):
            call("The", **options)


@pytest.mark.parametrize(
    ("prompt", "says"),
    [("", "empty"), (["The", ""], "empty"), (7, "type int"), ([None], "type NoneType"), ("a\ud800", "lone surrogate")],
)
def test_a_prompt_that_is_none(prompt: Any, says: str) -> None:
    with pytest.raises(PromptError, match=says):
        pair().generate(prompt)


def test_a_continuation_that_is_none() -> None:
    with pytest.raises(PromptError, match="continuation is empty"):
        pair().score("The", "")


@pytest.mark.parametrize(
    "messages",
    [[], "hello", [{"content": "no role"}], [{"role": "user"}], ["hello"], [[]], [{"role": 3, "content": "a"}]],
)
def test_messages_that_are_no_conversation(messages: Any) -> None:
    with pytest.raises(PromptError):
        pair().chat(messages)


def test_a_chat_without_a_template_names_the_member() -> None:
    model, tokenizer = small(*OTHER)
    bare = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token="</s>", unk_token="<unk>")
    llm = EnsembleLLM([small(*ONE), (model, bare)])
    with pytest.raises(PromptError, match="member GPTNeoXForCausalLM has no chat template"):
        llm.chat([{"role": "user", "content": "a"}])
    assert llm.generate("The", max_new_tokens=1).tokens


def test_a_prompt_that_leaves_no_room_says_which_member_how_long_and_how_much_room() -> None:
    short = scripted(sentencepiece_bpe(), "a", "b", limit=40)
    llm = EnsembleLLM([small(*ONE), short], fusion="deepen")  # which leaves the end of text to the main model here
    with pytest.raises(ContextLengthError) as caught:
        llm.generate("The quick brown fox jumps over the lazy dog. " * 5)
    assert "ScriptedLlama, whose context window holds 40" in caught.value.message
    assert "shorten the prompt by at least" in caught.value.hint
    out = llm.generate("The quick brown fox", max_new_tokens=200)
    assert out.finish_reason == "length"
    assert len(llm.members[1].encode_prompt("The quick brown fox" + out.text).ids) >= 40


def test_a_member_of_no_weight_has_no_say_about_the_room() -> None:
    short = scripted(sentencepiece_bpe(), "a", "b", limit=8)
    llm = EnsembleLLM([small(*ONE), short], weights=[1, 0])
    assert len(llm.generate("The quick brown fox", max_new_tokens=20).tokens) == 20


def test_an_answer_that_fills_the_window_can_be_scored_and_a_longer_one_not() -> None:
    answer = " jumps over the lazy dog" * 9
    llm = EnsembleLLM([scripted(byte_level_bpe(), "The quick", answer, limit=20)])
    out = llm.generate("The quick", max_new_tokens=100)
    assert out.finish_reason == "length"
    assert [one.token for one in llm.score("The quick", out.text).tokens] == list(out.tokens)
    with pytest.raises(ContextLengthError, match="prompt and continuation take"):
        llm.score("The quick", answer)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_distribution_name_the_member_and_the_token(bad: float) -> None:
    model, tokenizer = scripted(sentencepiece_bpe(), "a", "b")
    model.script = None
    model.lm_head.register_forward_hook(lambda *given: given[2] * 0 + bad)
    llm = EnsembleLLM([small(*ONE), (model, tokenizer)])
    with pytest.raises(LogitsError, match=r"ScriptedLlama .* after token \d+ of sequence 0"):
        llm.generate("The quick", max_new_tokens=2)


@pytest.mark.parametrize("fusion", ["deepen", "bayes"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_go_wrong_later_are_told_as_well(bad: float, fusion: str) -> None:
    model, tokenizer = scripted(sentencepiece_bpe(), "a", "b" * 40)
    calls = itertools.count()
    model.lm_head.register_forward_hook(lambda *given: given[2] * 0 + bad if next(calls) > 2 else None)
    method = {"method": fusion, "memory_budget": 0}  # rows as large vocabularies have them
    for order in ([small(*ONE), (model, tokenizer)], [(model, tokenizer), small(*ONE)]):
        calls = itertools.count()
        with pytest.raises(LogitsError, match=r"ScriptedLlama .* after token \d+ of sequence 0"):
            EnsembleLLM(order, fusion=method).generate("The quick brown fox", max_new_tokens=12)


def test_members_that_share_too_few_anchors() -> None:
    with pytest.raises(VocabularyError, match="at least 5000 shared anchors"):
        pair(fusion=Deepen(min_anchors=5000))


def test_a_tokenizer_that_does_not_fit_its_model() -> None:
    with pytest.raises(VocabularyError, match="got 300 logits"):
        EnsembleLLM([(random_model("llama", 300, 0), byte_level_bpe())])


def test_an_encoder_decoder_model_is_refused() -> None:
    config = T5Config(vocab_size=600, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    with pytest.raises(LoadError, match="no causal language model"):
        EnsembleLLM([(T5ForConditionalGeneration(config), byte_level_bpe())])


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    for path, says in [(tmp_path, "has no config.json"), (tmp_path / "nowhere", "is no folder")]:
        with pytest.raises(LoadError, match=says):
            EnsembleLLM.from_pretrained([path])
    (tmp_path / "config.json").write_text("{broken")
    with pytest.raises(LoadError, match="no tokenizer files"):
        EnsembleLLM.from_pretrained([tmp_path])
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(LoadError, match="cannot be loaded"):
        EnsembleLLM.from_pretrained([tmp_path])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A whole checkpoint, to be broken."""
    for part in small(*ONE):
        part.save_pretrained(tmp_path)
    return tmp_path


def test_a_checkpoint_that_lacks_weights_is_refused(checkpoint: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    save_file(
        {name: weights[name] for name in sorted(weights)[::2]}, checkpoint / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(LoadError, match=r"is not whole: \d+ of its weights are missing"):
        EnsembleLLM.from_pretrained([checkpoint])


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\n", None])
def test_weights_that_are_cut_short_are_refused(checkpoint: Path, content: bytes | None) -> None:
    file = checkpoint / "model.safetensors"
    file.write_bytes(content or file.read_bytes()[:-100])
    with pytest.raises(LoadError, match="cannot be loaded") as caught:
        EnsembleLLM.from_pretrained([checkpoint])
    assert "git-lfs" in caught.value.hint


def test_every_path_is_checked_before_the_first_is_loaded(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"")
    with pytest.raises(LoadError, match="nowhere is no checkpoint"):
        EnsembleLLM.from_pretrained([checkpoint, checkpoint / "nowhere"])


def test_a_hub_id_without_a_network() -> None:
    with pytest.raises(LoadError, match="member someone/some-model cannot be loaded") as caught:
        EnsembleLLM.from_pretrained(["someone/some-model"])
    assert "network" in caught.value.hint


def test_pickled_weights_are_refused_unless_asked_for(tmp_path: Path) -> None:
    model, tokenizer = small(*ONE)
    model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(LoadError, match="cannot be loaded") as caught:
        EnsembleLLM.from_pretrained([tmp_path])
    assert "safetensors_only=False" in caught.value.hint
    loaded = EnsembleLLM.from_pretrained([MemberConfig(path=str(tmp_path), safetensors_only=False)])
    assert (
        loaded.generate("The", max_new_tokens=3).tokens
        == EnsembleLLM([(model, tokenizer)]).generate("The", max_new_tokens=3).tokens
    )


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"dtype": "float3"}, "no floating torch dtype"),
        ({"device": "tpu:9"}, "cannot be used"),
        ({"device": "meta"}, "cannot be used"),
    ],
)
def test_a_dtype_or_device_that_is_not_there(tmp_path: Path, option: dict[str, str], says: str) -> None:
    model, tokenizer = small(*ONE)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=says):
        EnsembleLLM.from_pretrained([tmp_path], **option)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["members: [", "- a", "members: []", "members: [a]\nmian_model: 1", "1: 2", "members: [{1: 2}]"]
)
def test_a_configuration_that_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ensemble.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        EnsembleLLM.from_config(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        EnsembleLLM.from_pretrained(tmp_path / "missing.yaml")


def test_errors_are_one_family_and_survive_pickling() -> None:
    error = PromptError("it is empty", hint="give some")
    assert isinstance(error, DeepenError)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(again), str(again), again.hint) == (PromptError, "it is empty\nHint: give some", "give some")
