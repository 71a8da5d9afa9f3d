"""Evaluation through lm-evaluation-harness: importing this registers the model ``deepen``.

``deepen eval --model deepen --model_args config=ensemble.yaml --tasks piqa`` runs its command line with that model, and
``lm_eval.simple_evaluate(model=DeepenLM(llm), tasks=["piqa"])`` Python's. Needs ``pip install 'deepen-llm[harness]'``.
"""

from deepen_llm.harness.model import DeepenLM

__all__ = ["DeepenLM"]
