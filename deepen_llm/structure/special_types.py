"""Schemas of pydantic's types that are validated by a function, by that function."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pydantic import types
from pydantic.json_schema import JsonSchemaValue

from deepen_llm.structure import formats

_PATHS = {"validate_file": "FilePath", "validate_directory": "DirectoryPath", "validate_new": "NewPath",
          "validate_socket": "SocketPath"}  # fmt: skip
_SIZES = r"^\d{1,6}(?:\.\d{1,3})?(?:B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$"
_EXTRA = {
    "Color": "#[0-9a-f]{6}",
    "MacAddress": "(?:[0-9a-f]{2}:){5}[0-9a-f]{2}",
    "DomainStr": rf"(?:{formats.LABEL}\.){{1,3}}(?:[a-z]{{2}}|com|net|org|edu)",
}
_LISTED = {
    "CountryAlpha2": ("countries", "alpha_2"),
    "CountryAlpha3": ("countries", "alpha_3"),
    "CountryNumericCode": ("countries", "numeric"),
    "CountryShortName": ("countries", "name"),
    "LanguageAlpha2": ("languages", "alpha_2"),
    "LanguageName": ("languages", "name"),
}
_SUPPORTED = ("Latitude", "Longitude")
_ENCODED = {
    ("Base64Encoder", "EncodedBytes"): formats.BASE64,
    ("Base64Encoder", "EncodedStr"): formats.TEXT64,
    ("Base64UrlEncoder", "EncodedBytes"): formats.BASE64URL,
    ("Base64UrlEncoder", "EncodedStr"): formats.TEXT64URL,
}


def beyond(function: Any) -> tuple[str, str] | None:
    """Return the name of an unsupported type and the reason; None if the function validates no such type."""
    name = getattr(function, "__name__", "")
    path_type = getattr(types, "PathType", None)
    if name in _PATHS and function is getattr(path_type, name, None):
        return f"pydantic.{_PATHS[name]}", "what exists on a disk is unknown to a grammar; use a Path"
    owner = getattr(function, "__self__", None)
    if owner is types.PaymentCardNumber:
        return "pydantic.PaymentCardNumber", "a grammar does not compute check digits"
    if name == "import_string" and function.__module__.startswith("pydantic."):
        return "pydantic.ImportString", "which objects can be imported is unknown to a grammar"
    if isinstance(owner, types.EncodedBytes | types.EncodedStr) and _encoded(owner) is None:
        return f"{type(owner).__name__} by {owner.encoder!r}", "what the encoder reads is unknown"
    return None


def known(function: Any) -> JsonSchemaValue | None:
    """Return the schema of a type by its validating function; None for others."""
    owner = getattr(function, "__self__", None)
    if owner is types.ByteSize:
        return {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _SIZES}]}
    if isinstance(owner, types.EncodedBytes | types.EncodedStr):
        return {"type": "string", "pattern": f"^{_encoded(owner)}$"}
    return None


def extra(function: Any, made: JsonSchemaValue) -> JsonSchemaValue | str | None:
    """Return the schema of a type of pydantic-extra-types, its name if the type is not supported, None for others.

    Args:
        function: The function by which pydantic validates the type.
        made: The type's own schema.
    """
    owner = getattr(function, "__self__", function)
    if not str(getattr(owner, "__module__", "")).startswith("pydantic_extra_types."):
        return None
    name = owner.__name__ if isinstance(owner, type) else getattr(function, "__qualname__", repr(function))
    if name in _EXTRA:
        return {"type": "string", "pattern": f"^(?:{_EXTRA[name]})$"}
    if name in _LISTED:
        kind, attribute = _LISTED[name]
        values = [getattr(entry, attribute, None) for entry in getattr(import_module("pycountry"), kind)]
        return {"type": "string", "enum": sorted({value for value in values if value})}
    return made if "enum" in made or name in _SUPPORTED else name


def _encoded(owner: types.EncodedBytes | types.EncodedStr) -> str | None:
    encoder = owner.encoder if isinstance(owner.encoder, type) else type(owner.encoder)
    if encoder.__module__ != "pydantic.types":
        return None
    return _ENCODED.get((encoder.__name__, type(owner).__name__))
