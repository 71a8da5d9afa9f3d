"""The short form of ``python -m benchmarks.soak``: nothing is lost, mixed up or left behind."""

from benchmarks.soak import kinds, soak, verdict
from deepen_llm import EnsembleLLM
from tests.models import small


def test_many_callers_of_mixed_kinds_get_what_each_gets_alone() -> None:
    llm = EnsembleLLM([small("llama", "byte_level_bpe"), small("gpt_neox", "sentencepiece_bpe")], batch_size=12)
    record = soak(llm, requests=80, callers=24)
    assert verdict(record) == []
    assert sum(record.ended.values()) == 80
    assert record.ended.keys() >= kinds(llm).keys()
