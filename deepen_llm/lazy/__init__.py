"""Ensembles whose weights are loaded on first use."""

from deepen_llm.lazy.ensemble import LazyEnsemble

__all__ = ["LazyEnsemble"]
