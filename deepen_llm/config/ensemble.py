"""A whole ensemble: its members, and the settings with which they decode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import field_validator, model_validator
from typing_extensions import Self, Unpack

from deepen_llm.config import files
from deepen_llm.config.settings import AnySource, EnsembleSettings, LoadingSettings
from deepen_llm.engine.options import GenerationOptions
from deepen_llm.errors import ConfigError, refuse_unknown
from deepen_llm.members.config import MemberConfig, Placement
from deepen_llm.structure.response_format import ResponseFormat


class EnsembleConfig(EnsembleSettings):
    """A whole ensemble, as in a YAML file.

    Attributes:
        members: Where each member comes from; a plain string is its path.
        draft_model: Where the draft model comes from; None if the main model drafts.
    """

    members: tuple[MemberConfig, ...]
    draft_model: MemberConfig | None = None

    @classmethod
    def of(cls, members: AnySource | Sequence[AnySource], **options: Unpack[LoadingSettings]) -> Self:
        """Make a configuration from members and options.

        Args:
            members: One or several hub ids, local folders, `MemberConfig` or mappings with its fields.
            **options: Settings of the ensemble, ``draft_model``, and how members and a draft model given by path alone
                are loaded: fields of `MemberConfig`. The draft model goes to the main model's device.

        Raises:
            ConfigError: An option is unknown or cannot be used, or there are not as many devices as members.
        """
        refuse_unknown(cls.__name__, options, LoadingSettings.__annotations__)
        settings: dict[str, Any] = dict(options)
        loading = {name: settings.pop(name) for name in Placement.__annotations__ if name in settings}
        device_option, draft_model = loading.pop("device", "auto"), settings.pop("draft_model", None)
        listed = _listed(members)
        devices = list(device_option) if isinstance(device_option, list | tuple) else [device_option] * len(listed)
        if len(devices) != len(listed):
            raise ConfigError(f"{len(devices)} devices for {len(listed)} members", hint="give one device per member")
        main = settings.get("main_model", 0)
        main_device = {"device": devices[main]} if isinstance(main, int) and 0 <= main < len(devices) else {}
        return cls(
            members=[
                _with_loading(member, {"device": device, **loading})
                for member, device in zip(listed, devices, strict=True)
            ],
            draft_model=_with_loading(draft_model, {**main_device, **loading}),
            **settings,
        )

    @property
    def settings(self) -> EnsembleSettings:
        """The settings without the members and the draft model."""
        return EnsembleSettings.model_construct(**{name: getattr(self, name) for name in EnsembleSettings.model_fields})

    @property
    def sources(self) -> tuple[MemberConfig, ...]:
        """The members' configurations, followed by the draft model's if there is one."""
        return self.members if self.draft_model is None else (*self.members, self.draft_model)

    @property
    def taking_part(self) -> tuple[MemberConfig, ...]:
        """The members that take part: all but those whose weight is fixed at 0, the main model excepted."""
        weights = self.aggregation_weights(len(self.members))
        return tuple(
            member for i, member in enumerate(self.members) if i == self.main_model or weights.may_have_weight(i)
        )

    @field_validator("draft_model", mode="before")
    @classmethod
    def _plain_path(cls, value: Any) -> Any:
        return {"path": str(value)} if isinstance(value, str | Path) else value

    @field_validator("members", mode="before")
    @classmethod
    def _plain_paths(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple({"path": str(member)} if isinstance(member, str | Path) else member for member in value)
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.draft_model:
            self.require_drafts()
        self.require_named_weights()
        return self

    @classmethod
    def load(cls, file: str | Path) -> Self:
        """Read a YAML file; a relative path of a member or draft model that exists beside the file is taken from there.

        Raises:
            ConfigError: The file cannot be read, is no YAML mapping, or has an option that is unknown or cannot be
                used.
        """
        return cls._read(files.read(file), file)

    @classmethod
    def _read(cls, text: str, file: str | Path) -> Self:
        """Parse a file's text for `load`."""
        try:
            config = cls(**files.parse(text, file))
        except TypeError as error:  # YAML keys may be numbers
            raise ConfigError(
                f"the configuration {file} has a key that is no text: {error}", hint="write every key as a word"
            ) from error
        folder = Path(file).parent
        return config._with_paths(lambda member: _in_folder(member, folder))

    def save(self, file: str | Path) -> None:
        """Write the YAML file that `load` reads; options at their defaults are left out, local paths made absolute.

        A Python type as ``response_format`` is written as its JSON schema: answers are then read as plain JSON.

        Raises:
            ConfigError: A setting is of a class of your own, the file would be read as something else, or it cannot be
                written. Then nothing is written.
        """
        if self.own_parts:
            raise ConfigError(
                f"no configuration file holds {self.own_parts}",
                hint="keep the code that makes the ensemble, and save the configuration without it",
            )
        absolute = self._with_paths(_absolute)
        fields = absolute.model_dump(mode="json", exclude_defaults=True)
        if "fusion" in fields:
            fields["fusion"] = {"method": self.fusion.method, **fields["fusion"]}
        text = files.dump(fields)
        path = files.as_path(file)
        absolute._require_same(self._read(text, path), path)  # noqa: SLF001 - of its own class
        files.write(path, text)

    def _require_same(self, read: Self, file: str | Path) -> None:
        """Check that a file's text, read again, gives this configuration.

        Raises:
            ConfigError: A field differs.
        """
        for name in type(self).model_fields:
            written, value = _plain(getattr(self, name)), getattr(read, name)
            if written != value:
                raise ConfigError(
                    f"the configuration {file} would be read with {name}={value!r:.200} in place of {written!r:.200}",
                    hint="where a member's name is that of a folder beside the file, write the file elsewhere",
                )

    def _with_paths(self, change: Callable[[MemberConfig], MemberConfig]) -> Self:
        draft_model = self.draft_model and change(self.draft_model)
        return self.model_copy(update={"members": tuple(map(change, self.members)), "draft_model": draft_model})


def _listed(members: AnySource | Sequence[AnySource]) -> list[AnySource]:
    if isinstance(members, str | Path | Mapping | MemberConfig):
        return [members]
    if members is not None and not isinstance(members, Iterable):
        raise ConfigError(
            f"expected members, got {members!r:.200}", hint="give a list of hub ids, local folders or MemberConfig"
        )
    return list(members or ())


def _with_loading(member: AnySource | None, loading: Mapping[str, Any]) -> Any:
    """Add options of loading to a member that is given by its path alone."""
    return {"path": str(member), **loading} if isinstance(member, str | Path) else member


def _absolute(member: MemberConfig) -> MemberConfig:
    folder = Path(member.path)
    return member.model_copy(update={"path": str(folder.resolve())}) if folder.exists() else member


def _in_folder(member: MemberConfig, folder: Path) -> MemberConfig:
    path = folder / member.path
    return member.model_copy(update={"path": str(path)}) if path.exists() else member


def _plain(value: Any) -> Any:
    """A setting as a file holds it: with a JSON schema in place of a Python type as ``response_format``."""
    if not isinstance(value, GenerationOptions) or value.response_format is None:
        return value
    return value.model_copy(update={"response_format": ResponseFormat(value.response_format.schema)})
