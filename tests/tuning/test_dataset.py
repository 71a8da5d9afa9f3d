"""Development sets: what is read, and what is refused with a line's number."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deepen_llm.errors import ConfigError, DatasetError
from deepen_llm.tuning.dataset import Example, check_disjoint, check_set, read_examples
from deepen_llm.tuning.metrics import Measure


def written(folder: Path, *lines: str) -> Path:
    file = folder / "dev.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def asking(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"{i} + 1 =", "references": [str(i + 1)]} for i in range(count)]


def test_every_form_is_read(tmp_path: Path) -> None:
    given = [
        {"prompt": "a", "references": ["x", "y"], "id": 7},
        {"question": "b", "answer": "x", "subject": "letters"},
        {"messages": [{"role": "user", "content": "c"}], "reference": "x\u2028y"},
    ]
    file = written(tmp_path, *(json.dumps(one, ensure_ascii=False) for one in given), "", " ")
    first, second, third = read_examples(file)
    assert first == Example(prompt="a", references=("x", "y"))
    assert second == Example(prompt="b", references=("x",))
    assert third.references == ("x\u2028y",)


def test_choices_are_named_or_numbered() -> None:
    numbered = {"prompt": "p", "choices": ["no", "yes"], "answer": 1}
    assert read_examples([numbered]) == read_examples([{**numbered, "answer": "yes"}])


def test_questions_with_other_choices_are_others() -> None:
    one = {"prompt": "Which is right?", "choices": ["no", "yes"], "answer": 1}
    assert len(read_examples([one, {**one, "choices": ["no", "perhaps"]}])) == 2


def test_a_mark_before_a_file_and_windows_line_ends_are_no_content(tmp_path: Path) -> None:
    file = tmp_path / "dev.jsonl"
    file.write_bytes(
        b'\xef\xbb\xbf{"prompt": "a", "references": ["x"]}\r\n\r\n{"prompt": "b", "references": ["x"]}\r\n'
    )
    assert [one.prompt for one in read_examples(file)] == ["a", "b"]


def test_chat_makes_messages_of_prompts() -> None:
    (example,) = read_examples([{"prompt": "Hello?", "references": ["Hi"]}], chat=True)
    assert example.messages == ({"role": "user", "content": "Hello?"},)
    assert not example.prompt


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "expected JSON in .*, line 2"),
        ("[1]", "expected a JSON object in .*, line 2, got"),
        ("{}", "line 2: expected 'prompt' or 'messages', got neither"),
        ('{"prompt": "a"}', "line 2: expected 'references'"),
        ('{"prompt": "a", "references": []}', "or 'choices' and 'answer', got neither, or an empty list"),
        ('{"prompt": "a", "references": [""]}', "expected answers with text"),
        ('{"prompt": "a", "references": [4]}', r"line 2: 'references.0=4|line 2: references.0=4"),
        ('{"prompt": "a", "choices": ["x"], "answer": 0}', "expected 'answer' as an index .* got 0 of 1"),
        ('{"prompt": "a", "choices": ["x", "y"], "answer": 2}', "expected 'answer' as an index .* got 2 of 2"),
        ('{"prompt": "a", "choices": ["x", "x"], "answer": 0}', "expected distinct choices"),
        ('{"prompt": "a", "references": ["\\ud800"]}', "line 2: expected text in Unicode, got a lone surrogate"),
        ('{"prompt": "first", "references": ["x"]}', "got one more than once: examples 1, 2"),
        ('{"prompt": "a", "choices": ["x", "y"], "answer": 0}', "choices in some examples"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = written(tmp_path, '{"prompt": "First ", "references": ["x"]}', line)
    with pytest.raises(DatasetError, match=said) as caught:
        read_examples(file)
    assert caught.value.hint


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for file, data in ((tmp_path / "none", None), (tmp_path / "latin", b"\xff"), (tmp_path / "empty", b"\n")):
        if data is not None:
            file.write_bytes(data)
        with pytest.raises(DatasetError, match=file.name):
            read_examples(file)


def test_too_few_examples_tell_how_many_are_needed() -> None:
    check_set(read_examples(asking(30)))
    with pytest.raises(DatasetError, match="expected at least 30 examples, got 29") as caught:
        check_set(read_examples(asking(29)))
    assert "200" in caught.value.hint


def test_one_class_is_refused() -> None:
    same = [{"prompt": str(i), "choices": ["yes", "no"], "answer": 0} for i in range(40)]
    with pytest.raises(DatasetError, match="expected different answers, got 'yes'"):
        check_set(read_examples(same))


def test_a_test_set_that_was_seen_is_refused() -> None:
    dev, test = read_examples(asking(40)), read_examples([*asking(3), {"prompt": "new", "references": ["x"]}])
    with pytest.raises(DatasetError, match="examples 1, 2, 3"):
        check_disjoint(dev, test)
    check_disjoint(dev, test[3:])


@pytest.mark.parametrize(
    ("metric", "answer", "worth"),
    [
        ("exact_match", " The Sea\n", 1.0),
        ("exact_match", "the sea.", 0.0),
        ("contains", "It is the sea, I think", 1.0),
        ("contains", "the lake", 0.0),
        ("f1", "a sea!", 1.0),
        ("f1", "deep sea", 2 / 3),
        ("f1", "lake", 0.0),
    ],
)
def test_metrics_of_answers(metric: str, answer: str, worth: float) -> None:
    example = Example(prompt="p", references=("lakes or ponds", "the sea"))
    assert Measure.of(metric, [example]).of_answer(example, answer) == pytest.approx(worth)


def test_metrics_of_choices() -> None:
    example = Example(prompt="p", choices=(" yes", " certainly not"), answer=1)
    assert Measure.of(None, [example]).of_choices(example, [-2.0, -3.0]) == 0.0
    assert Measure.of(None, [example]).of_choices(example, [-float("inf")] * 2) == 0.0
    assert Measure.of("accuracy_per_byte", [example]).of_choices(example, [-2.0, -3.0]) == 1.0


def test_a_metric_must_fit() -> None:
    choice, free = Example(prompt="p", choices=("a", "b")), Example(prompt="p", references=("a",))
    with pytest.raises(ConfigError, match="accuracy"):
        Measure.of("f1", [choice])
    with pytest.raises(ConfigError, match="exact_match"):
        Measure.of("bleu", [free])
    own = Measure.of(lambda answer, _: float(len(answer)), [free])
    assert own.of_answer(free, "x") == 1.0
    with pytest.raises(ConfigError, match=r"got 3\.0"):
        own.of_answer(free, "xyz")


OWN_METRICS = """
from deepen_llm.tuning.dataset import Example
from deepen_llm.tuning.metrics import Measure

def making(worth):
    def found(answer, example):
        return worth
    return found

def any_of(answer, example):
    known = answer in {"yes", "no", "maybe", "both", "all", "some", "none"}
    return float(known or any(one in answer for one in example.references))

def begins(answer, example):
    return float(answer.startswith(example.references[0]))

def ends(answer, example):
    return float(answer.endswith(example.references[0]))

ends.__name__ = "begins"
metrics = any_of, begins, ends, making(0.2), making(0.9)
print(*(Measure.of(one, [Example(prompt="a", references=["b"])]).identity for one in metrics), sep=",")
"""


def test_metrics_of_ones_own_are_told_apart_and_known_again_in_another_process(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exec(OWN_METRICS, {"__name__": "__main__"})  # noqa: S102 - the code above, with this process's seed of hashes
    here = capsys.readouterr().out
    given = [sys.executable, "-c", OWN_METRICS]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run(given, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == here
    assert len(set(here.strip().split(","))) == 5
