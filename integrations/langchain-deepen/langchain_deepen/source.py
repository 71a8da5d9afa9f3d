"""Where a model's ensemble comes from: a live one, or a configuration whose weights are loaded on first use."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import uuid
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from deepen_llm.config import EnsembleConfig, EnsembleSettings
from deepen_llm.engine.options import GenerationOptions
from deepen_llm.errors import ConfigError, LoadError
from deepen_llm.fusion import AggregationWeights, FixedWeights, FollowingWeights
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.config import MemberConfig
from deepen_llm.members.local.limits import declared_window
from deepen_llm.members.local.loading import check_source
from deepen_llm.requests.prompts import read_by

_TOKENS: WeakKeyDictionary[EnsembleLLM, str] = WeakKeyDictionary()  # names of ensembles that no configuration names
_SOURCES: WeakValueDictionary[str, Source] = WeakValueDictionary()
_LOCK = threading.Lock()


class Source:
    """An ensemble, loaded or not.

    Args:
        settings: Its settings.
        members: Where its members come from; None where they live in memory only.
        names: The members' names.
        live: The ensemble, where it is loaded.
        draft_model: Where the model that drafts comes from, if there is one.

    Attributes:
        identity: What its answers depend on, as JSON; equal for equal ensembles, different for others.
    """

    def __init__(
        self,
        settings: EnsembleSettings,
        members: tuple[MemberConfig, ...] | None,
        names: tuple[str, ...],
        live: EnsembleLLM | None = None,
        draft_model: MemberConfig | None = None,
    ) -> None:
        self.settings, self.members, self.names, self.draft_model = settings, members, names, draft_model
        self._lock = threading.Lock()
        self._ready: dict[str | None, EnsembleLLM] = {None: live} if live else {}
        self.identity = _identity(self, live)

    def __deepcopy__(self, memo: dict[int, Any]) -> Source:
        """Itself: copies of a model share its weights."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without weights: the copy loads them on first use."""
        return Source.of, (self._config,)

    @classmethod
    def live(cls, ensemble: EnsembleLLM) -> Source:
        """The source that is an ensemble."""
        names = tuple(member.name for member in ensemble.members)
        drafting = [ensemble.draft_model] if ensemble.draft_model else []
        # a member that was not loaded may not be what its path names
        loaded = all(member.source for member in [*ensemble.members, *drafting])
        try:
            config = ensemble.config if loaded else None
        except ConfigError:  # nothing can name it
            config = None
        if config is None:
            return cls(ensemble.settings, None, names, ensemble)
        return cls(ensemble.settings, config.members, names, ensemble, config.draft_model)

    @classmethod
    def of(cls, config: EnsembleConfig) -> Source:
        """The source of a configuration; models with equal ones share it, and so the weights.

        Raises:
            ConfigError: The settings do not fit the members.
            LoadError: A member is no checkpoint.
        """
        config.aggregation_weights(len(config.members))
        for member in [*config.members, *([config.draft_model] if config.draft_model else [])]:
            check_source(member)
        names = tuple(member.label for member in config.members)
        made = cls(config, config.members, names, draft_model=config.draft_model)
        key = json.dumps([config.model_dump(mode="json"), made.identity], sort_keys=True)
        with _LOCK:
            return _SOURCES.setdefault(key, made)

    @property
    def generation(self) -> GenerationOptions:
        """The ensemble's own generation options."""
        return self.settings.generation

    @property
    def window(self) -> int | None:
        """The smallest context window of the members that take part, where it can be told without loading weights."""
        loaded = self._ready.get(None)
        if loaded is not None:
            return loaded.context_window
        try:
            return declared_window(self._config.taking_part, local_files_only=True)
        except LoadError:  # not on this machine yet
            return None

    @property
    def _config(self) -> EnsembleConfig:
        return EnsembleConfig(members=self.members or (), draft_model=self.draft_model, **_settings(self.settings))

    @property
    def described(self) -> dict[str, Any] | None:
        """Constructor arguments that name the ensemble, as JSON; None where nothing can."""
        if self.members is None or self.settings.own_parts:
            return None
        left_out = {"members", "draft_model", "generation"}
        given = self.settings.model_dump(mode="json", exclude_defaults=True, exclude=left_out)
        if "fusion" in given:
            given["fusion"] = _fusion(self.settings)
        if self.draft_model:
            given["draft_model"] = _written(self.draft_model)
        return {"members": [_written(member) for member in self.members], **given}

    def chosen(self, model: str | None) -> tuple[str, ...]:
        """The names of the members that answer.

        Args:
            model: Their names, joined by ``+``; None for all.

        Raises:
            ConfigError: No member has such a name, or one is named twice.
        """
        if model is None or model == "+".join(self.names):
            return self.names
        asked = model.split("+")
        for place, name in enumerate(asked):
            if name not in self.names or name in asked[:place]:
                wrong = "named twice" if name in self.names else "no member of this ensemble"
                raise ConfigError(
                    f"model={model!r}: {name!r} is {wrong}",
                    hint=f"members are {', '.join(self.names)}; join several with '+'",
                )
        return tuple(asked)

    def load(self, model: str | None = None) -> EnsembleLLM:
        """The ensemble, its weights loaded once, whatever the number of threads.

        Args:
            model: See `chosen`.

        Raises:
            ConfigError: See `chosen`.
            LoadError: A member cannot be loaded.
        """
        if model not in self._ready:
            self.chosen(model)
            with self._lock:
                if None not in self._ready:
                    self._ready[None] = EnsembleLLM.from_config(self._config)
                if model is not None and model not in self._ready:
                    self._ready[model] = _part(self._ready[None], model)
        return self._ready[model]

    async def aload(self, model: str | None = None) -> EnsembleLLM:
        """`load` in a thread: the event loop goes on."""
        return self._ready[model] if model in self._ready else await asyncio.to_thread(self.load, model)


def _part(whole: EnsembleLLM, model: str) -> EnsembleLLM:
    """The ensemble of some of the members; the main model stays main where it is among them."""
    names, settings = [member.name for member in whole.members], whole.settings
    if model == "+".join(names):
        return whole
    places = [names.index(name) for name in model.split("+")]
    chosen = _settings(settings)
    chosen["main_model"] = places.index(settings.main_model) if settings.main_model in places else 0
    if isinstance(settings.weights, tuple):
        chosen["weights"] = [settings.weights[place] for place in places]
    elif settings.weights:
        chosen["weights"] = settings.weights.among(places)
    drafting = whole.draft_model if settings.main_model in places else None  # it has the main model's vocabulary
    members = [whole.members[place] for place in places]
    chosen["generation"] = read_by(settings.generation, members)
    return EnsembleLLM(members, draft_model=drafting, **chosen)


def _settings(settings: EnsembleSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in EnsembleSettings.model_fields}


def _identity(source: Source, live: EnsembleLLM | None) -> dict[str, Any]:
    settings = source.settings
    named: dict[str, Any] = {"members": list(source.names)}
    if source.members is not None:
        weights = _weights(settings.aggregation_weights(len(source.names)))
        named |= {"sources": [_member(one) for one in source.members], "weights": weights}
    elif live is not None:
        with _LOCK:
            named["ensemble"] = _TOKENS.setdefault(live, uuid.uuid4().hex)
    return {
        **named,
        "main_model": settings.main_model,
        "fusion": _fusion(settings),
        "gate": {**({"class": _class_of(settings.gate)} if settings.own_parts else {}), **settings.gate.model_dump()},
        "eos_policy": settings.eos_policy,
    }


def _weights(weights: AggregationWeights) -> Any:
    if isinstance(weights, FixedWeights):
        return list(weights.values)
    return weights.model_dump(mode="json") if isinstance(weights, FollowingWeights) else None


def _fusion(settings: EnsembleSettings) -> dict[str, Any]:
    own = {"class": _class_of(settings.fusion)} if settings.own_parts else {}
    return {"method": settings.fusion.method, **own, **settings.fusion.model_dump(mode="json")}


def _class_of(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _member(member: MemberConfig) -> dict[str, Any]:
    """What a member is: where it comes from and, of a folder, which files are there."""
    said = _written(member)
    folder = Path(member.path)
    if folder.is_dir():
        files = sorted((one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in folder.iterdir())
        said["files"] = hashlib.sha256(repr(files).encode()).hexdigest()[:16]
    return said


def _written(member: MemberConfig) -> dict[str, Any]:
    return member.model_dump(mode="json", exclude_defaults=True) | {"path": _absolute(member.path)}


def _absolute(path: str) -> str:
    return str(Path(path).resolve()) if Path(path).exists() else path
