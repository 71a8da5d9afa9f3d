"""Where an ensemble comes from, and its only loading."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from deepen_llm import EnsembleConfig, EnsembleLLM
from deepen_llm.config import EnsembleSettings
from deepen_llm.errors import ConfigError
from deepen_llm.members.local.limits import declared_window
from deepen_llm.members.local.loading import check_source


class EnsembleSource:
    """An ensemble that is there already, or is loaded on first use: once, whatever the number of threads.

    Args:
        given: The ensemble, or how to load it.

    Attributes:
        settings: What holds for the ensemble.

    Raises:
        ConfigError: A setting cannot be used.
        LoadError: A member's folder holds no checkpoint.
    """

    def __init__(self, given: EnsembleLLM | EnsembleConfig) -> None:
        self._members = given.members if isinstance(given, EnsembleConfig) else ()
        self.settings: EnsembleSettings = given if isinstance(given, EnsembleConfig) else given.settings
        self._given, self._lock = given, threading.Lock()
        if isinstance(given, EnsembleConfig):
            given.aggregation_weights(len(given.members))
            for member in [*given.members, *([given.draft_model] if given.draft_model else [])]:
                check_source(member)

    def __deepcopy__(self, memo: dict[int, Any]) -> EnsembleSource:
        """Itself: copies of a model share its weights."""
        return self

    def __reduce__(self) -> tuple[type[EnsembleSource], tuple[EnsembleConfig]]:
        """Where the ensemble comes from, without its weights."""
        return type(self), (self.configuration,)

    @property
    def configuration(self) -> EnsembleConfig:
        """What the ensemble can be loaded of anew.

        Raises:
            ConfigError: See `EnsembleLLM.config`: it lives in memory only.
        """
        given = self._given
        return given if isinstance(given, EnsembleConfig) else given.config

    @classmethod
    def of(
        cls, ensemble: Any, members: Sequence[Any] | None, config: str | None, settings: Mapping[str, Any]
    ) -> EnsembleSource:
        """The source that a user has named.

        Args:
            ensemble: A live ensemble.
            members: Folders, hub ids or fields of `MemberConfig`.
            config: A configuration file.
            settings: Fields of `EnsembleSettings`, for ``members``.

        Raises:
            ConfigError: None or several are given, or settings beside one that says everything itself.
        """
        sources = {"ensemble": ensemble, "members": members, "config": config}
        given = [name for name, one in sources.items() if one is not None]
        if len(given) != 1:
            raise ConfigError(
                f"an ensemble from {' and '.join(given) or 'nowhere'}",
                hint="give exactly one of ensemble=EnsembleLLM(...), members=[...] and config='ensemble.yaml'; what "
                "was serialised of models in memory needs from_json(..., ensemble=EnsembleLLM(...))",
            )
        if settings and members is None:
            raise ConfigError(
                f"{', '.join(settings)} beside {given[0]}=, which says everything itself",
                hint="set them there, or give members=[...]",
            )
        if members is not None:
            return cls(EnsembleConfig(members=members, **settings))
        if config is not None:
            return cls(EnsembleConfig.load(config))
        if not isinstance(ensemble, EnsembleLLM):
            raise ConfigError(f"ensemble={ensemble!r:.80} is no EnsembleLLM", hint="give folders or hub ids as members")
        return cls(ensemble)

    def load(self) -> EnsembleLLM:
        """The ensemble, loaded if it was not.

        Raises:
            LoadError: A member cannot be loaded.
            VocabularyError: The vocabularies do not fit.
        """
        with self._lock:
            if isinstance(self._given, EnsembleConfig):
                self._given = EnsembleLLM.from_config(self._given)
            return self._given

    async def aload(self) -> EnsembleLLM:
        """`load`, in a thread where there is anything to load."""
        given = self._given
        return given if isinstance(given, EnsembleLLM) else await asyncio.to_thread(self.load)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The members' names."""
        return tuple(member.label for member in self._members) or tuple(member.name for member in self.load().members)

    @cached_property
    def context_window(self) -> int | None:
        """The smallest one of those that take part, told without loading weights; None where no member knows a bound.

        Raises:
            LoadError: A member's configuration cannot be read.
        """
        given = self._given
        return declared_window(given.taking_part) if isinstance(given, EnsembleConfig) else given.context_window
