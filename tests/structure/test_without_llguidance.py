"""Where llguidance is not installed, all but structure works."""

import subprocess
import sys

PROGRAM = """
import sys
sys.modules["llguidance"] = None  # as if it were not installed
from deepen_llm import EnsembleLLM, specialists
from deepen_llm.errors import ConfigError
llm = EnsembleLLM.from_pretrained(specialists.paths()[:2], fusion="bayes", device="cpu")
question = [{"role": "user", "content": "What is the capital of France?"}]
print(llm.chat(question, max_new_tokens=4).text)
tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
for options in ({"response_format": {"type": "object"}}, {"tools": [tool]}):
    try:
        llm.chat(question, **options)
    except ConfigError as error:
        print(error.message, "|", error.hint)
"""


def test_plain_decoding_works_and_a_structure_says_what_is_missing() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)  # noqa: S603
    answer, *errors = done.stdout.splitlines()
    assert answer == " Paris"
    assert len(errors) == 2
    for error in errors:
        assert "needs llguidance, which is not installed | pip install llguidance" in error
