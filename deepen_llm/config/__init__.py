"""Ensemble configuration: the members and the settings with which they decode, and its YAML file."""

from deepen_llm.config.ensemble import EnsembleConfig
from deepen_llm.config.settings import (
    AnyFusion,
    AnyGate,
    AnySource,
    AnyWeights,
    EnsembleSettings,
    LoadingSettings,
    Settings,
)

__all__ = [
    "AnyFusion",
    "AnyGate",
    "AnySource",
    "AnyWeights",
    "EnsembleConfig",
    "EnsembleSettings",
    "LoadingSettings",
    "Settings",
]
