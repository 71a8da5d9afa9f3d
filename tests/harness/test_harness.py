"""lm-evaluation-harness over ensembles: one member gives the numbers of the harness's own ``hf`` model."""

import json
import logging
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import make_table
from typer.testing import CliRunner

from deepen_llm import EnsembleLLM, specialists
from deepen_llm.cli import app
from deepen_llm.errors import ConfigError, ContextLengthError, PromptError
from deepen_llm.harness import DeepenLM
from deepen_llm.harness.conversation import as_read
from tests.models import small

pytestmark = [
    # datasets opens its files, and lm_eval its databases, without closing them
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TASKS = Path(__file__).parent / "tasks"
CHOICES, ANSWERS, TEXTS = "deepen_choices", "deepen_answers", "deepen_texts"
PLAIN = [
    ("What is the capital of France? ", "Paris"),
    ("The quick brown fox", " jumps over the lazy dog"),
    ("", "She sells sea shells."),
    ("Zwölf Boxkämpfer jagen Viktor\n", "quer über 👩‍💻"),
    ("The quick brown fox", " sleeps"),
]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL):
        yield


def hf(name: str, **options: Any) -> HFLM:
    """In single precision: the harness sums half-precision log-probabilities in half precision."""
    return HFLM(pretrained=str(specialists.path(name)), device="cpu", dtype="float32", **options)


def random_hf(kind: tuple[str, str], **options: Any) -> HFLM:
    model, tokenizer = small(*kind)
    return HFLM(pretrained=model, tokenizer=tokenizer, **options)


@cache
def one(name: str) -> EnsembleLLM:
    return EnsembleLLM.from_pretrained([specialists.path(name)])


@cache
def pair(fusion: str = "bayes") -> EnsembleLLM:
    return EnsembleLLM.from_pretrained(specialists.paths()[:2], fusion=fusion)


def evaluated(model: Any, tasks: list[str], **options: Any) -> dict[str, Any]:
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    return dict(lm_eval.simple_evaluate(model, tasks=tasks, task_manager=manager, bootstrap_iters=0, **options))


def asked(kind: str, *arguments: Any) -> list[Instance]:
    return [Instance(kind, {}, given, i) for i, given in enumerate(arguments)]


def said(results: dict[str, Any], task: str) -> list[Any]:
    return [sample["resps"] for sample in results["samples"][task]]


@pytest.mark.parametrize("name", specialists.NAMES)
def test_one_member_gives_the_numbers_of_hf(name: str) -> None:
    tasks = [CHOICES, ANSWERS, TEXTS]
    wanted = evaluated(hf(name, batch_size=2), tasks, limit=2)
    found = evaluated(DeepenLM(one(name), batch_size=2), tasks, limit=2)
    for task in (CHOICES, ANSWERS):
        assert make_table({**found, "results": {task: found["results"][task]}}) == make_table(
            {**wanted, "results": {task: wanted["results"][task]}}
        )
    assert said(found, ANSWERS) == said(wanted, ANSWERS)
    numbers = {key: value for key, value in wanted["results"][TEXTS].items() if isinstance(value, float)}
    assert {key: found["results"][TEXTS][key] for key in numbers} == pytest.approx(numbers, rel=2e-6)


@pytest.mark.parametrize("name", specialists.NAMES)
def test_conversations_go_through_the_same_template(name: str) -> None:
    options: dict[str, Any] = {"apply_chat_template": True, "fewshot_as_multiturn": True, "num_fewshot": 1, "limit": 2}
    if name != "webster":
        options["system_instruction"] = "Answer with one word."
    theirs, ours = hf(name, batch_size=2), DeepenLM(one(name), batch_size=2)
    wanted = evaluated(theirs, [CHOICES, ANSWERS], **options)
    found = evaluated(ours, [CHOICES, ANSWERS], **options)
    assert said(found, ANSWERS) == said(wanted, ANSWERS)
    assert found["results"][CHOICES]["acc,none"] == wanted["results"][CHOICES]["acc,none"]
    assert ours.chat_template(True) == theirs.chat_template(True)


@pytest.mark.parametrize("kind", [("gpt2", "byte_level_bpe"), ("gemma", "unigram_byte_fallback")], ids="-".join)
@pytest.mark.parametrize("max_length", [None, 12])
def test_any_model_encodes_truncates_and_ends_as_hf_does(kind: tuple[str, str], max_length: int | None) -> None:
    theirs = random_hf(kind, batch_size=1, max_length=max_length)
    ours = DeepenLM(EnsembleLLM([small(*kind)]), batch_size=3, max_length=max_length)
    pairs = [(context, said[:8]) for context, said in PLAIN] if max_length else PLAIN
    for found, wanted in zip(
        ours.loglikelihood(asked("loglikelihood", *pairs)),
        theirs.loglikelihood(asked("loglikelihood", *pairs)),
        strict=True,
    ):
        assert found == pytest.approx(wanted, rel=1e-5)
    rolled = asked("loglikelihood_rolling", *[(context + more,) for context, more in PLAIN])
    assert ours.loglikelihood_rolling(rolled) == pytest.approx(theirs.loglikelihood_rolling(rolled), rel=1e-5)
    ways = [{"until": ["e", "\n"], "max_gen_toks": 6}, {"until": [], "max_gen_toks": 4, "repetition_penalty": 1.5}]
    answers = asked("generate_until", *[(context, way) for context, _ in PLAIN if context for way in ways])
    assert ours.generate_until(answers) == theirs.generate_until(answers)


@pytest.mark.parametrize("fusion", ["deepen", "bayes"])
def test_a_batch_of_two_members_is_each_request_alone_and_the_ensembles_own_score(fusion: str) -> None:
    llm, pairs = pair(fusion), [*PLAIN[:2], PLAIN[4]]
    together = DeepenLM(llm, batch_size=8).loglikelihood(asked("loglikelihood", *pairs))
    alone = [
        answer for one in pairs for answer in DeepenLM(llm, batch_size=1).loglikelihood(asked("loglikelihood", one))
    ]
    assert [total for total, _ in together] == pytest.approx([total for total, _ in alone], abs=1e-4)
    assert [greedy for _, greedy in together] == [greedy for _, greedy in alone]
    scores = llm.score([context for context, _ in pairs[1:]], [more for _, more in pairs[1:]])
    assert [score.total for score in scores] == pytest.approx([total for total, _ in together[1:]], abs=1e-4)


def test_the_same_model_twice_is_one() -> None:
    (path,), pairs = [specialists.path("curie")], asked("loglikelihood", *PLAIN)
    twice = DeepenLM(EnsembleLLM.from_pretrained([path, path], fusion="bayes"), batch_size=4)
    alone = DeepenLM(one("curie"), batch_size=4)
    assert [total for total, _ in twice.loglikelihood(pairs)] == pytest.approx(
        [total for total, _ in alone.loglikelihood(pairs)], rel=1e-5
    )


def test_each_member_reads_its_own_template_and_what_the_harness_appends() -> None:
    lm, history = DeepenLM(pair()), [{"role": "user", "content": 'Say "]}" or\nü.'}]
    for answering, more in ((True, " Paris"), (False, "")):
        string = lm.apply_chat_template(history, add_generation_prompt=answering)
        for member in pair().members:
            tokenizer = member.tokenizer  # type: ignore[attr-defined]
            own = tokenizer.apply_chat_template(
                history, tokenize=False, add_generation_prompt=answering, continue_final_message=not answering
            )
            assert as_read(member, string + more) == own + more  # type: ignore[arg-type]


def test_an_ensemble_knows_what_each_member_knows() -> None:
    llm = EnsembleLLM.from_pretrained(specialists.paths(), fusion="bayes")
    found = evaluated(DeepenLM(llm, batch_size=8), [ANSWERS], limit=9, apply_chat_template=True)
    assert found["results"][ANSWERS]["exact_match,none"] > 0.8


def test_a_second_run_reads_its_answers_from_the_cache(tmp_path: Path) -> None:
    lm, tasks, forwards = DeepenLM(pair(), batch_size=4), [CHOICES, ANSWERS, TEXTS], list[int]()
    options = {"use_cache": str(tmp_path / "cache"), "limit": 2}
    handles = [
        member.model.register_forward_hook(lambda *_: forwards.append(1))  # type: ignore[attr-defined]
        for member in pair().members
    ]
    first = evaluated(lm, tasks, **options)
    assert forwards
    forwards.clear()
    assert evaluated(lm, tasks, **options)["results"] == first["results"]
    assert not forwards
    for handle in handles:
        handle.remove()


def test_contexts_are_cut_to_each_members_own_window() -> None:
    narrow = small("gpt2", "byte_level_bpe")
    llm = EnsembleLLM([small("llama", "sentencepiece_bpe"), narrow])
    lm, long = DeepenLM(llm, batch_size=2, max_length=24), "The quick brown fox jumps over the lazy dog. " * 9
    short = DeepenLM(llm, batch_size=2)
    cut, whole = (model.loglikelihood(asked("loglikelihood", (long, " And"), ("The", " And"))) for model in (lm, short))
    assert cut[0] != pytest.approx(whole[0])
    assert cut[1] == pytest.approx(whole[1])
    assert torch.isfinite(torch.tensor(lm.loglikelihood_rolling(asked("loglikelihood_rolling", (long,))))).all()
    assert len(lm.generate_until(asked("generate_until", (long, {"max_gen_toks": 4, "until": []})))) == 1


def test_what_cannot_be_evaluated_is_told() -> None:
    lm = DeepenLM(EnsembleLLM([small("llama", "byte_level_bpe")]), max_length=8)
    with pytest.raises(ContextLengthError, match="which reads 8"):
        lm.loglikelihood(asked("loglikelihood", ("The", " quick brown fox jumps over the lazy dog" * 3)))
    with pytest.raises(PromptError, match="adds no token"):
        lm.loglikelihood(asked("loglikelihood", ("The", "")))
    with pytest.raises(ConfigError, match="leaves no room"):
        lm.generate_until(asked("generate_until", ("The", {"max_gen_toks": 8})))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "either config or members"),
        ("config=a.yaml,members=b", "either config or members"),
        ("config=a.yaml,dtype=float32", "beside config=a.yaml"),
        ("members=a,fussion=bayes", "unknown 'fussion'"),
        ("members=a+b,weights=trak", "unknown aggregation weights 'trak', did you mean 'track'"),
        ("members=a+b,weights=track,fusion=deepen", "'track' learn"),
        ("members=a+b,weights=1+2+3", "3 weights for 2 members"),
        ("members=a+b,weights=1", "1 weights for 2 members"),
    ],
)
def test_arguments_that_cannot_be_used(arguments: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        DeepenLM.create_from_arg_string(arguments)


def test_the_command_line_gives_what_hf_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one("atlas").save_config(tmp_path / "ensemble.yaml")
    command = ["--model", "deepen", "--model_args", f"config={tmp_path / 'ensemble.yaml'}", "--batch_size", "auto"]
    command += ["--tasks", f"{CHOICES},{ANSWERS}", "--limit", "3", "--apply_chat_template"]
    command += ["--include_path", str(TASKS), "--output_path", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr("lm_eval.utils._LOGGING_CONFIGURED", True)  # it would log to this command's stream for ever
    monkeypatch.setattr(DeepenLM, "on_loaded", DeepenLM.on_loaded)
    done = CliRunner().invoke(app, ["eval", *command], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (file,) = (tmp_path / "out").rglob("results_*.json")
    found = json.loads(file.read_text(encoding="utf-8"))["results"]
    wanted = evaluated(hf("atlas"), [CHOICES, ANSWERS], limit=3, apply_chat_template=True, fewshot_as_multiturn=True)
    for task in (CHOICES, ANSWERS):
        numbers = {key: value for key, value in wanted["results"][task].items() if "stderr" not in key}
        assert {key: found[task][key] for key in numbers} == numbers
