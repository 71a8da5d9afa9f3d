"""The command line, in this process and, where streams and signals matter, in one of its own."""

import inspect
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from deepen_llm import __version__, specialists
from deepen_llm.cli import app
from deepen_llm.cli.options import FUSION_NAMES, EnsembleOptions
from deepen_llm.cli.records import as_record
from deepen_llm.cli.values import settings
from deepen_llm.config import EnsembleConfig
from deepen_llm.fusion import METHODS, Bayes, Deepen, Exact, Surface, named_method
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.config import MemberConfig
from deepen_llm.outputs import Output, Sample, Usage
from deepen_llm.structure import ResponseFormat
from deepen_llm.tools import ToolCall
from tests.cli.processes import Processes
from tests.models import small

PROMPT = "The quick brown fox"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("checkpoints")
    for architecture, kind in (("llama", "byte_level_bpe"), ("gpt2", "sentencepiece_bpe")):
        for part in small(architecture, kind):
            part.save_pretrained(folder / architecture)
    return [str(folder / "llama"), str(folder / "gpt2")]


def members(paths: list[str]) -> list[str]:
    return [part for path in paths for part in ("--member", path)]


def run(*arguments: str, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=given)


def expected(paths: list[str], **options: object) -> str:
    return EnsembleLLM.from_pretrained(paths).generate(PROMPT, **options).text


def test_version_help_and_no_arguments() -> None:
    assert run("--version").stdout.strip() == f"deepen-llm {__version__}"
    helped = run("--help")
    assert helped.exit_code == run().exit_code == 0
    assert run().stdout == helped.stdout
    for command in ("demo", "generate", "chat", "inspect"):
        assert command in helped.stdout
        assert "Examples" in run(command, "--help").stdout


@pytest.mark.parametrize("name", ["demo", "generate", "chat", "inspect", "tune", "bench"])
def test_help_shows_every_text_as_it_was_written(name: str) -> None:
    command = typer.main.get_group(app).commands[name]
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "1000"}).stdout
    paragraphs = inspect.cleandoc(inspect.getdoc(command.callback) or "").split("\n\n")
    options = [help_.replace("\\[", "[") for one in command.params if (help_ := getattr(one, "help", None))]
    assert len(options) > 2
    assert {text for text in [" ".join(one.split()) for one in paragraphs] + options if text not in shown} == set()


def test_help_waits_for_no_heavy_library() -> None:
    code = "import sys, deepen_llm.cli\nprint(sorted({'torch', 'transformers', 'pydantic', 'yaml'} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    folder = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"


def test_every_fusion_method_can_be_chosen(paths: list[str]) -> None:
    assert set(FUSION_NAMES) == set(METHODS)
    for name in METHODS:
        assert name in run("generate", "--help").stdout
        assert EnsembleOptions(paths, fusion=name).configuration().fusion == named_method(name)


def test_every_option_of_a_fusion_method_can_be_set(paths: list[str], tmp_path: Path) -> None:
    given = ["straddle=2", "abstain=false", "guess = 1e-1"]
    config = EnsembleOptions(paths, fusion_option=given).configuration()
    assert config.fusion == Surface(straddle=2, abstain=False, guess=0.1)
    config.save(tmp_path / "e.yaml")
    again = EnsembleOptions(None, tmp_path / "e.yaml", rounds=1, fusion_option=["straddle=1"]).configuration()
    assert again.fusion == Surface(rounds=1, straddle=1, abstain=False, guess=0.1)
    nested = EnsembleOptions(paths, fusion="exact", fusion_option=["choice={anchor_choice: random, anchor_count: 9}"])
    assert nested.configuration().fusion == Exact(choice={"anchor_choice": "random", "anchor_count": 9})
    result = run("generate", *members(paths), "--max-new-tokens", "8", "--fusion-option", "rounds=1", PROMPT)
    assert (
        result.stdout
        == EnsembleLLM.from_pretrained(paths, fusion=Surface(rounds=1)).generate(PROMPT, max_new_tokens=8).text + "\n"
    )
    assert settings(["a=[1, 2]", "b=x=y"], "--x") == {"a": [1, 2], "b": "x=y"}


def test_generate_is_the_library(paths: list[str]) -> None:
    result = run("generate", *members(paths), "--max-new-tokens", "8", PROMPT)
    assert result.exit_code == 0, result.output
    assert result.stdout == expected(paths, max_new_tokens=8) + "\n"
    assert result.stderr == ""


def test_the_prompt_from_standard_input(paths: list[str]) -> None:
    result = run("generate", *members(paths), "--max-new-tokens", "8", "-", given=f"{PROMPT}\n")
    assert result.stdout == expected(paths, max_new_tokens=8) + "\n"
    wrong = run("generate", *members(paths), "-", given=b"\xff\xfe")
    assert wrong.exit_code == 1
    assert "not UTF-8" in wrong.stderr


def test_every_generation_option_arrives(paths: list[str]) -> None:
    options = {
        "max_new_tokens": 6,
        "temperature": 0.8,
        "top_p": 0.9,
        "top_k": 20,
        "min_p": 0.01,
        "seed": 5,
        "repetition_penalty": 1.2,
        "n": 2,
    }
    given = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    result = run("generate", *members(paths), *given, "--stop", "zzz", "--stop", "qqq", "--json", PROMPT)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    wanted = EnsembleLLM.from_pretrained(paths).generate(PROMPT, **options, stop=("zzz", "qqq"))
    assert [one["text"] for one in record["samples"]] == [sample.text for sample in wanted.samples]
    assert record["text"] == wanted.text
    assert record["tokens"] == list(wanted.tokens)


def test_a_prompt_that_ends_in_a_space_is_healed_where_that_is_asked_for(paths: list[str]) -> None:
    cut, asked = "The quick ", ("generate", *members(paths), "--max-new-tokens", "8")
    healed = EnsembleLLM.from_pretrained(paths).generate(cut, max_new_tokens=8, token_healing=True).text
    assert run(*asked, "--token-healing", cut).stdout == f"{healed}\n"
    assert run(*asked, cut).stdout != f"{healed}\n"
    assert run("chat", *members(paths), "--token-healing").exit_code == 2  # every answer there begins a text of its own


def test_drafts_change_no_answer(paths: list[str]) -> None:
    for drafting in ((), ("--draft-model", paths[0])):
        result = run("generate", *members(paths), "--max-new-tokens", "8", "--draft-tokens", "4", *drafting, PROMPT)
        assert result.exit_code == 0, result.output
        assert result.stdout == expected(paths, max_new_tokens=8) + "\n"


def test_a_draft_model_is_loaded_as_the_main_model_is(paths: list[str], tmp_path: Path) -> None:
    given = EnsembleOptions(
        paths, main_model=1, draft_tokens=4, draft_model="d", dtype="float32", device=["cpu", "cuda:1"]
    )
    config = replace(given, compile=True, quantization="bnb-nf4").configuration()
    wanted = {"dtype": "float32", "device": "cuda:1", "compile": True, "quantization": "bnb-nf4"}
    assert config.draft_model == MemberConfig(path="d", **wanted)
    assert config.members[1] == MemberConfig(path=paths[1], **wanted)
    given.configuration().save(tmp_path / "e.yaml")
    again = EnsembleOptions(None, tmp_path / "e.yaml", draft_tokens=2, device=["cpu"], compile=True).configuration()
    assert again.draft_model == MemberConfig(path="d", dtype="float32", device="cpu", compile=True)
    assert (again.draft_tokens, again.members[0].compile) == (2, True)
    assert not EnsembleOptions(None, tmp_path / "e.yaml", compile=False).configuration().members[0].compile


def test_json_has_what_was_asked_for(paths: list[str]) -> None:
    plain = json.loads(run("generate", *members(paths), "--max-new-tokens", "3", "--json", PROMPT).stdout)
    assert set(plain) == {"text", "tokens", "finish_reason", "fused_tokens", "fused_share", "usage"}
    assert plain["usage"]["total_tokens"] == plain["usage"]["prompt_tokens"] + len(plain["tokens"])
    asked = ("--max-new-tokens", "3", "--json", "--trace", "--logprobs", "2")
    full = json.loads(run("generate", *members(paths), *asked, PROMPT).stdout)
    assert [len(one["top"]) for one in full["logprobs"]] == [2] * len(full["tokens"])
    assert [one["name"] for one in full["trace"][0]["members"]] == ["llama", "gpt2"]


def test_a_record_holds_calls_only_where_there_are_some() -> None:
    calls = (ToolCall("add", {"a": 1}, "123456789"),)
    called = Sample("", (1,), "eos", tool_calls=calls, reasoning="Hm.", left_out=("atlas",))
    record = as_record(Output((called,), Usage(1, 1)))
    assert record["tool_calls"] == [{"name": "add", "arguments": {"a": 1}, "id": "123456789"}]
    assert record["reasoning"] == "Hm."
    assert record["left_out"] == ["atlas"]
    asked = Sample("{}", (1,), "eos", response_format=ResponseFormat.of({"type": "json_object"}))
    plain = {"text", "tokens", "finish_reason", "fused_tokens", "fused_share", "usage"}
    assert set(as_record(Output((asked,), Usage(1, 1)))) == plain


def test_the_trace_is_not_the_result(paths: list[str]) -> None:
    result = run("generate", *members(paths), "--max-new-tokens", "3", "--trace", "--logprobs", "2", PROMPT)
    assert result.stdout == expected(paths, max_new_tokens=3) + "\n"
    for shown in ("llama", "gpt2", "fused"):
        assert shown in result.stderr


def test_a_page_is_written_beside_the_answer(paths: list[str], tmp_path: Path) -> None:
    file = tmp_path / "trace.html"
    asked = (*members(paths), "--max-new-tokens", "3", "--trace-html")
    result = run("generate", *asked, str(file), PROMPT)
    assert (result.stdout, result.stderr) == (expected(paths, max_new_tokens=3) + "\n", "")
    page = file.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    record = json.loads(run("generate", *asked, str(file), "--json", PROMPT).stdout)
    assert "trace" not in record
    assert len(json.loads(run("generate", *asked, str(file), "--json", "--trace", PROMPT).stdout)["trace"]) == 3
    assert file.read_text(encoding="utf-8") == page
    assert "no folder" in run("generate", *asked, str(tmp_path / "none" / "trace.html"), PROMPT).stderr
    assert run("generate", *asked, str(tmp_path), PROMPT).exit_code == 2
    assert "shows one answer, not 2" in run("generate", *asked, str(file), "--n", "2", PROMPT).stderr
    full = run("generate", *asked, "/dev/full", PROMPT)
    assert full.exit_code == 1
    assert "cannot be written" in full.stderr


def test_a_configuration_and_what_overrides_it(paths: list[str], tmp_path: Path) -> None:
    config = EnsembleConfig(
        members=tuple(MemberConfig(path=path) for path in paths),
        main_model=1,
        fusion=Deepen(relr=0.3, search_steps=7),
        generation={"max_new_tokens": 4},
    )
    config.save(tmp_path / "e.yaml")
    llm = EnsembleLLM.from_config(tmp_path / "e.yaml")
    result = run("generate", "--config", str(tmp_path / "e.yaml"), PROMPT)
    assert result.stdout == llm.generate(PROMPT).text + "\n"
    assert result.stdout != expected(paths, max_new_tokens=4) + "\n"
    overridden = EnsembleOptions(None, tmp_path / "e.yaml", relr=0.1, weight=[1, 3], device=["cpu"]).configuration()
    assert overridden.fusion == Deepen(relr=0.1, search_steps=7)
    assert (overridden.main_model, overridden.weights, overridden.members[1].device) == (1, (1, 3), "cpu")
    other = EnsembleOptions(None, tmp_path / "e.yaml", fusion="bayes").configuration()
    assert other.fusion == Bayes()


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate",),
        ("generate", PROMPT),
        ("generate", "--member", "a", "--config", __file__, PROMPT),
        ("generate", "--member", "a", "--fusion", "magic", PROMPT),
        ("generate", "--member", "a", "--fusion-option", "rounds", PROMPT),
        ("generate", "--member", "a", "--fusion-option", "rounds=[", PROMPT),
        ("generate", "--member", "a", "--fusion-option", "rounds=1", "--rounds", "2", PROMPT),
        ("generate", "--member", "a", "--fusion-option", "rounds=1", "--fusion-option", "rounds=2", PROMPT),
        ("generate", "--member", "a", "--fusion-option", "method=bayes", PROMPT),
        ("generate", "--member", "a", "--device", "cpu", "--device", "cpu", PROMPT),
        ("generate", "--member", "a", "--top-q", "1", PROMPT),
        ("generate", "--member", "a", "--weights", "prompt", "--weight", "1", PROMPT),
        ("generate", "--member", "a", "--gate", "never", PROMPT),
        ("chat",),
        ("nothing",),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_a_fusion_method_that_is_misspelt_is_told_before_anything_is_loaded() -> None:
    told = run("generate", "--member", "a", "--fusion", "surfaces", PROMPT)
    assert told.exit_code == 2
    assert "unknown fusion method 'surfaces', did you mean 'surface'?" in " ".join(
        told.stderr.replace("│", " ").split()
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--temperature", "-1"), "temperature"),
        (("--main-model", "5"), "main_model=5"),
        (("--weight", "1"), "1 weights for 2 members"),
        (("--fusion", "bayes", "--relr", "0.1"), "relr"),
        (("--fusion-option", "rouds=1"), "unknown option 'rouds', did you mean 'rounds'"),
        (("--fusion-option", "rounds=0"), "rounds=0"),
        (("--draft-model", "nowhere"), "draft no token"),
        (("--draft-tokens", "-1"), "draft_tokens=-1"),
    ],
)
def test_an_error_is_told_with_its_hint(paths: list[str], arguments: tuple[str, ...], said: str) -> None:
    result = run("generate", *members(paths), *arguments, PROMPT)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert "\nhint: " in result.stderr


def test_chat_keeps_its_history_and_forgets_it(paths: list[str]) -> None:
    llm = EnsembleLLM.from_pretrained(paths)
    first = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    answer = llm.chat(first, max_new_tokens=4).text.lstrip()
    second = [*first, {"role": "assistant", "content": answer}, {"role": "user", "content": "Why?"}]
    wanted = [answer, llm.chat(second, max_new_tokens=4).text.lstrip(), answer]
    lines = "Hello\nWhy?\n/what\n/reset\n\nHello\n/exit\nnever\n"
    result = run("chat", *members(paths), "--system", "Be brief.", "--max-new-tokens", "4", given=lines)
    assert result.exit_code == 0, result.output
    assert result.stdout == "".join(f"{text}\n" for text in wanted)
    assert "/what is no command" in result.stderr


def test_chat_from_a_pipe_ends_with_the_input_and_fails_on_errors(paths: list[str]) -> None:
    assert run("chat", *members(paths), given="").exit_code == 0
    too_long = run("chat", *members(paths), given="long " * 4000 + "\nHello\n")
    assert too_long.exit_code == 1
    assert too_long.stderr.startswith("error: the prompt takes")


def test_inspect_shows_members_and_what_tokenizers_share(paths: list[str]) -> None:
    shown = run("inspect", *members(paths))
    assert shown.exit_code == 0, shown.output
    for text in ("LlamaForCausalLM", "GPT2LMHeadModel", "byte-level BPE", "one to one", "not known: ", "--dataset"):
        assert text in shown.stdout
    assert "calibrated" not in shown.stdout
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
    record = json.loads(run("inspect", *members(paths), "--json").stdout)
    assert [one["name"] for one in record["members"]] == ["llama", "gpt2"]
    (pair,) = record["comparisons"]
    assert (pair["verdict"], pair["overlap"], record["anchors"]) == ("not known", None, [])
    assert all(0 < one <= 1 for one in pair["one_to_one"])
    alone = json.loads(run("inspect", "--member", paths[0], "--json").stdout)
    assert alone["comparisons"] == []


def test_inspect_shows_anchors_where_that_is_asked_for(paths: list[str]) -> None:
    given = [*members(paths), "--anchors", "--sample", "32"]
    shown = run("inspect", *given).stdout
    for text in ("calibrated", "most alike", "least alike"):
        assert text in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    (pair,) = json.loads(run("inspect", *given, "--json").stdout)["anchors"]
    assert pair["paper"]["sampled"] == 32
    assert 0 <= pair["calibrated"]["neighbors"] <= 1
    assert len(pair["consistency"]["deciles"]) == 11
    assert len(pair["consistency"]["most"]) == len(pair["consistency"]["least"]) == 10
    assert set(pair["consistency"]["most"][0]) == {"text", "consistency"}


def test_inspect_asks_each_member_alone_and_judges(paths: list[str], tmp_path: Path) -> None:
    data, lines = tmp_path / "dev.jsonl", [{"prompt": f"{PROMPT} {i}", "references": [f"no {i}"]} for i in range(30)]
    ends = EnsembleLLM.from_pretrained(paths[:1]).generate([str(one["prompt"]) for one in lines], max_new_tokens=4)
    for line, end in zip(lines, ends[:20], strict=False):
        line["references"] = [end.text]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = EnsembleConfig(members=tuple(MemberConfig(path=path) for path in paths), generation={"max_new_tokens": 4})
    config.save(tmp_path / "e.yaml")
    given = ["inspect", "--config", str(tmp_path / "e.yaml"), "--dataset", str(data)]
    record = json.loads(run(*given, "--json").stdout)
    assert [one["right"] for one in record["members"]] == [pytest.approx(2 / 3), 0]
    (pair,) = record["comparisons"]
    assert pair["overlap"]["recovered"]["value"] == 0
    assert pair["verdict"] in {"use one alone", "undecided"}
    shown = run(*given, "--plot", str(tmp_path / "pictures"), "--sample", "16")
    assert shown.exit_code == 0
    assert f"{pair['reason'].split(':')[0]}: of what llama gets wrong, gpt2 answers 0 % right" in " ".join(
        shown.stdout.split()
    )
    assert "sure when wrong" in shown.stdout
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
    assert (tmp_path / "pictures" / "gains.png").exists()


def test_inspect_refuses_a_set_that_tells_nothing(paths: list[str], tmp_path: Path) -> None:
    data = tmp_path / "dev.jsonl"
    data.write_text(json.dumps({"prompt": PROMPT, "references": ["x"]}) + "\n")
    for more, said in (
        (["--dataset", str(data)], "expected at least 30 examples, got 1"),
        (["--dataset", str(tmp_path / "none.jsonl")], "cannot be read"),
        (["--dataset", str(specialists.file("dev")), "--metric", "accuracy"], "got 'accuracy'"),
        (["--chat"], "expected --dataset with --chat"),
        (["--metric", "f1"], "expected --dataset with --metric"),
    ):
        refused = run("inspect", *members(paths), *more)
        assert refused.exit_code == 1
        assert said in refused.stderr


def test_inspect_draws_into_a_folder_or_on_a_page(paths: list[str], tmp_path: Path) -> None:
    quick = [*members(paths), "--sample", "16", "--json", "--plot"]
    assert run("inspect", *quick, str(tmp_path / "pictures")).exit_code == 0
    drawn = {file.name for file in (tmp_path / "pictures").iterdir()}
    assert drawn == {"representations.png", "consistency.png", "self-mass.png"}
    assert run("inspect", *quick, str(tmp_path / "page.svg")).exit_code == 0
    assert (tmp_path / "page.svg").read_text().startswith("<?xml")
    for refused in ([*quick, "page.txt"], ["--member", paths[0], "--plot", str(tmp_path / "alone")]):
        done = run("inspect", *refused)
        assert done.exit_code == 1
        assert done.stderr.startswith("error: ")


def test_inspect_alone_shows_the_specialists() -> None:
    record = json.loads(run("inspect", "--json").stdout)
    assert [one["name"] for one in record["members"]] == ["atlas", "curie", "webster"]
    assert len(record["comparisons"]) == 4  # three pairs, and all together


def endless(paths: list[str]) -> tuple[str, ...]:
    """Sampled at a high temperature, so that hardly any text ends before the window is full."""
    return (*members(paths), "--max-new-tokens", "2000", "--temperature", "3", "--seed", "1")


def test_ctrl_c_ends_generation_without_a_traceback(paths: list[str], processes: Processes) -> None:
    with processes.start("generate", *endless(paths), PROMPT) as process:
        assert process.stdout.read(1)
        process.interrupt()
        code, _, said = process.finish()
        assert code == 130
        assert said == b""


def test_a_closed_pipe_ends_quietly(paths: list[str], processes: Processes) -> None:
    with processes.start("generate", *endless(paths), PROMPT) as process:
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_ctrl_c_in_a_chat_stops_one_answer_only(paths: list[str], processes: Processes) -> None:
    with processes.start("chat", *endless(paths)) as process:
        process.stdin.write(b"Hello\n")
        assert process.stdout.read(1)
        process.interrupt()
        code, _, said = process.finish(b"/exit\n")
        assert code == 0
        assert said.strip() == b"(stopped)"


def test_help_groups_options_under_plain_words() -> None:
    shown = CliRunner().invoke(app, ["generate", "--help"], env={"COLUMNS": "200"}).stdout
    assert re.findall(r"─ ([A-Z]\w+) ─", shown) == ["Arguments", "Options", "Members", "Speed", "Generation", "Fusion"]
