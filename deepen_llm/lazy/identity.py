"""What the answers of an ensemble depend on beside prompt and options, for cache keys."""

from __future__ import annotations

import hashlib
import threading
import uuid
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from deepen_llm.config import EnsembleConfig, EnsembleSettings
from deepen_llm.errors import ConfigError
from deepen_llm.fusion import AggregationWeights, DynamicWeights, FixedWeights
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.config import MemberConfig

_TOKENS: WeakKeyDictionary[EnsembleLLM, str] = WeakKeyDictionary()  # of ensembles that no configuration names
_LOCK = threading.Lock()


def identity_of(
    ensemble: EnsembleLLM | EnsembleConfig, settings: EnsembleSettings, names: tuple[str, ...]
) -> dict[str, Any]:
    """The identity of an ensemble, as JSON.

    Args:
        ensemble: The ensemble; one that no configuration describes gets a token of its own.
        settings: Its settings.
        names: The members' names.
    """
    identity: dict[str, Any] = {"members": list(names)}
    if (config := _named_by(ensemble)) is not None:
        weights = _weights(settings.aggregation_weights(len(names)))
        identity |= {"sources": [_member(member) for member in config.members], "weights": weights}
    elif isinstance(ensemble, EnsembleLLM):
        with _LOCK:
            identity["ensemble"] = _TOKENS.setdefault(ensemble, uuid.uuid4().hex)
    return {
        **identity,
        "main_model": settings.main_model,
        "fusion": written_fusion(settings),
        "gate": {**({"class": _class_of(settings.gate)} if settings.own_parts else {}), **settings.gate.model_dump()},
        "eos_policy": settings.eos_policy,
    }


def _named_by(ensemble: EnsembleLLM | EnsembleConfig) -> EnsembleConfig | None:
    """The configuration that describes an ensemble; None where a member may differ from the files at its path."""
    if isinstance(ensemble, EnsembleConfig):
        return ensemble
    members = [*ensemble.members, *([ensemble.draft_model] if ensemble.draft_model else [])]
    try:
        return ensemble.config if all(member.source for member in members) else None
    except ConfigError:  # the aggregation weights are of the caller's own class
        return None


def _weights(weights: AggregationWeights) -> Any:
    if isinstance(weights, FixedWeights):
        return list(weights.values)
    return weights.model_dump(mode="json") if isinstance(weights, DynamicWeights) else None


def written_fusion(settings: EnsembleSettings) -> dict[str, Any]:
    """The fusion method with all its options, as JSON."""
    own = {"class": _class_of(settings.fusion)} if settings.own_parts else {}
    return {"method": settings.fusion.method, **own, **settings.fusion.model_dump(mode="json")}


def _class_of(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _member(member: MemberConfig) -> dict[str, Any]:
    """A member's source; for a folder, with a hash of its files' names, sizes and times."""
    written, folder = written_member(member), Path(member.path)
    if folder.is_dir():
        files = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in folder.iterdir())
        written["files"] = hashlib.sha256(repr(files).encode()).hexdigest()[:16]
    return written


def written_member(member: MemberConfig) -> dict[str, Any]:
    """A member's configuration, as JSON, with its whole path."""
    path = str(Path(member.path).resolve()) if Path(member.path).exists() else member.path
    return member.model_dump(mode="json", exclude_defaults=True) | {"path": path}
