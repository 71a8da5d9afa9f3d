"""`LazyEnsemble`: an ensemble whose weights are loaded on first use."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from typing_extensions import Unpack

from deepen_llm.config import AnySource, EnsembleConfig, EnsembleSettings, LoadingSettings
from deepen_llm.engine.options import GenerationOptions
from deepen_llm.errors import ConfigError
from deepen_llm.lazy.identity import identity_of, written_fusion, written_member
from deepen_llm.llm import EnsembleLLM
from deepen_llm.members.local.limits import declared_window
from deepen_llm.members.local.loading import check_source

_SHARED: WeakValueDictionary[str, LazyEnsemble] = WeakValueDictionary()  # by configuration, as JSON
_LOCK = threading.Lock()


class LazyEnsemble:
    """An ensemble whose weights are loaded on first use, once for all threads.

    Copies share the weights. Pickles hold no weights: an unpickled object loads them on first use. Make one with `of`.

    Args:
        ensemble: A loaded ensemble, or the configuration of one.

    Attributes:
        settings: The ensemble's settings.
        names: The members' names.
        identity: Everything that answers depend on beside prompt and options, as JSON, for cache keys.

    Raises:
        ConfigError: The settings do not fit the members.
        LoadError: A member's folder holds no checkpoint.
    """

    def __init__(self, ensemble: EnsembleLLM | EnsembleConfig) -> None:
        self._ensemble, self._lock = ensemble, threading.Lock()
        self._loaded: dict[str | None, EnsembleLLM] = {}  # by the names of the members, joined by "+"; None for all
        self._window: tuple[int | None] | None = None
        self.settings: EnsembleSettings
        if isinstance(ensemble, EnsembleConfig):
            ensemble.aggregation_weights(len(ensemble.members))
            for source in ensemble.sources:
                check_source(source)
            self.settings, self.names = ensemble.settings, tuple(member.label for member in ensemble.members)
        else:
            self.settings, self.names = ensemble.settings, tuple(member.name for member in ensemble.members)
            self._loaded[None] = ensemble
        self.identity = identity_of(ensemble, self.settings, self.names)

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyEnsemble:
        """Return the object itself: copies share the weights."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without weights.

        Raises:
            ConfigError: See `config`.
        """
        return LazyEnsemble._shared, (self.config,)

    @classmethod
    def of(
        cls,
        *,
        ensemble: EnsembleLLM | None = None,
        members: AnySource | Sequence[AnySource] | None = None,
        config: str | Path | EnsembleConfig | None = None,
        **options: Unpack[LoadingSettings],
    ) -> LazyEnsemble:
        """The ensemble that a caller names by exactly one of ``ensemble``, ``members`` and ``config``.

        Equal configurations give the same object, as long as a reference to it exists.

        Args:
            ensemble: A loaded ensemble.
            members: Hub ids, local folders, `MemberConfig` or mappings with its fields.
            config: A configuration, or its YAML file.
            **options: With ``members``: what `EnsembleLLM.from_pretrained` takes.

        Raises:
            ConfigError: None or several of them are given, there are options beside ``ensemble`` or ``config``, or an
                option is unknown or cannot be used.
            LoadError: A member's folder holds no checkpoint.
        """
        sources = {"ensemble": ensemble, "members": members, "config": config}
        given = [name for name, source in sources.items() if source is not None]
        if len(given) != 1:
            raise ConfigError(
                f"expected one of ensemble, members and config, got {' and '.join(given) or 'none'}",
                hint="give exactly one of ensemble=EnsembleLLM(...), members=[...] and config='ensemble.yaml'",
            )
        if options and members is None:
            name, value = next(iter(options.items()))
            raise ConfigError(
                f"{name}={value!r:.80} beside {given[0]}=, which holds this option",
                hint="set it where the ensemble is made, or give members=[...]",
            )
        if members is not None:
            return cls._shared(EnsembleConfig.of(members, **options))
        if config is not None:
            return cls._shared(config if isinstance(config, EnsembleConfig) else EnsembleConfig.load(config))
        if not isinstance(ensemble, EnsembleLLM):
            raise ConfigError(f"ensemble={ensemble!r:.80} is no EnsembleLLM", hint="give folders or hub ids as members")
        return cls(ensemble)

    @classmethod
    def _shared(cls, config: EnsembleConfig) -> LazyEnsemble:
        lazy, structure = cls(config), config.generation.response_format
        key = json.dumps([config.model_dump(mode="json"), lazy.identity, repr(structure and structure.kind)])
        with _LOCK:
            return _SHARED.setdefault(key, lazy)

    @property
    def generation(self) -> GenerationOptions:
        """The default generation options; a call's options override them."""
        return self.settings.generation

    @property
    def config(self) -> EnsembleConfig:
        """The configuration from which the ensemble can be loaded.

        Raises:
            ConfigError: It is a loaded ensemble that no configuration describes; see `EnsembleLLM.config`.
        """
        return self._ensemble if isinstance(self._ensemble, EnsembleConfig) else self._ensemble.config

    @property
    def described(self) -> dict[str, Any] | None:
        """The arguments of `of` that give this ensemble, as JSON; None where JSON cannot hold them."""
        try:
            config = self.config
        except ConfigError:  # a member is in memory only
            return None
        if config.own_parts:
            return None
        written = config.model_dump(mode="json", exclude_defaults=True, exclude={"members", "draft_model"})
        if "fusion" in written:
            written["fusion"] = written_fusion(config)
        if config.draft_model:
            written["draft_model"] = written_member(config.draft_model)
        return {"members": [written_member(member) for member in config.members], **written}

    def window(self, *, local_files_only: bool = False) -> int | None:
        """The smallest context window of the members that take part, read without loading weights.

        Args:
            local_files_only: Read local files only; a member that is not on this machine is an error.

        Returns:
            The window in tokens; None where no member has a bound.

        Raises:
            LoadError: A member's configuration cannot be read.
        """
        if (loaded := self._loaded.get(None)) is not None:
            return loaded.context_window
        if self._window is None:
            self._window = (declared_window(self.config.taking_part, local_files_only=local_files_only),)
        return self._window[0]

    def chosen(self, model: str | None) -> tuple[str, ...]:
        """The names of the members that answer.

        Args:
            model: Their names, joined by ``+``; None for all.

        Raises:
            ConfigError: No member has such a name, or one is named twice.
        """
        if model is None or model == "+".join(self.names):
            return self.names
        names = _joined(model, self.names)
        for index, name in enumerate(names):
            if name not in self.names or name in names[:index]:
                wrong = "named twice" if name in self.names else "no member of this ensemble"
                raise ConfigError(
                    f"model={model!r}: {name!r} is {wrong}",
                    hint=f"members are {', '.join(self.names)}; join several with '+'",
                )
        return names

    @property
    def is_loaded(self) -> bool:
        """Whether the weights are in memory."""
        return bool(self._loaded)

    def load(self, model: str | None = None) -> EnsembleLLM:
        """Return the ensemble, or a subset of its members; load the weights if they are not in memory.

        Args:
            model: The members' names, joined by ``+``; None for all.

        Raises:
            ConfigError: See `chosen`.
            LoadError: A member cannot be loaded.
            VocabularyError: The vocabularies do not fit.
        """
        if model not in self._loaded:
            names = self.chosen(model)
            with self._lock:
                if None not in self._loaded:
                    self._loaded[None] = EnsembleLLM.from_config(self.config)
                if model not in self._loaded:
                    whole = self._loaded[None]
                    self._loaded[model] = whole if names == self.names else whole.subset(names)
        return self._loaded[model]

    async def aload(self, model: str | None = None) -> EnsembleLLM:
        """The asynchronous `load`, in a thread where weights must be loaded."""
        return self._loaded[model] if model in self._loaded else await asyncio.to_thread(self.load, model)


def _joined(model: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names that are joined by ``+``, which a name itself may contain; unknown ones as they stand between two."""
    if model in names:
        return (model,)
    beginnings = [name for name in sorted(names, key=len, reverse=True) if model.startswith(f"{name}+")]
    for name in beginnings:
        rest = _joined(model[len(name) + 1 :], names)
        if set(rest) <= set(names):
            return name, *rest
    return tuple(model.split("+"))
