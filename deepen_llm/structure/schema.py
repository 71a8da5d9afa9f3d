"""JSON schemas as grammars can hold answers to them: checked, rewritten and tried out when they are given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from deepen_llm.errors import ConfigError
from deepen_llm.structure.arrays import hold_arrays
from deepen_llm.structure.choices import hold_not, hold_nullable, hold_one_of
from deepen_llm.structure.closed import close
from deepen_llm.structure.keywords import TABLE, Treatment, misspelled
from deepen_llm.structure.numbers import hold_numbers
from deepen_llm.structure.objects import hold_dependents, hold_sizes, hold_unevaluated
from deepen_llm.structure.paths import Place
from deepen_llm.structure.property_names import hold_property_names
from deepen_llm.structure.references import check_ends, reachable, resolve
from deepen_llm.structure.strings import held_names, hold_counts, hold_strings
from deepen_llm.structure.trial import try_out

_DROPPED = ("deprecated", "contentSchema", "$comment", "$vocabulary", "externalDocs", "xml")


def enforceable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that grammars hold, all of whose instances are instances of the given one, or a refusal by name.

    `deepen_llm.structure.keywords` tells what is done with each keyword. Objects are closed wherever the schema leaves
    them open, but for those that several schemas describe together (``allOf``, ``$ref`` beside ``properties`` and the
    like), and those that demand properties which they do not name. What comes out may be given again.

    Args:
        schema: A JSON schema of any draft, or OpenAPI's; it is left as it is.

    Raises:
        ConfigError: It is no JSON or no schema, misspells a keyword, or asks for what no grammar holds; the message
            names the property, its place and the keyword.
    """
    try:
        made: dict[str, Any] = json.loads(json.dumps(dict(schema), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"the schema cannot be written as JSON: {error}", hint="give plain JSON values") from error
    if made and not set(TABLE) & set(made):
        raise ConfigError(
            f"{made!s:.120} is no JSON schema: it has none of its keywords",
            hint="give one like {'type': 'object', 'properties': {...}, 'required': [...]}",
        )
    made.pop("x-guidance", None)  # options of the grammar library, one of which lets it ignore what it cannot hold
    try:
        _rewrite(made)
        try_out(made)
    except RecursionError as error:
        raise ConfigError("the schema is nested too deeply", hint="nest less, or use $ref") from error
    return made


def _rewrite(root: dict[str, Any]) -> None:
    resolve(root)
    for place, schema in list(reachable(root)):
        _check_keys(schema, place)
        hold_nullable(schema)
    for place, schema in list(reachable(root)):
        hold_not(schema, place)
        hold_counts(schema, place)
        hold_arrays(schema, place, root)
        hold_property_names(schema, place, root)
        hold_unevaluated(schema, place, root)
    for place, schema in list(reachable(root)):
        hold_numbers(schema, place)
        hold_strings(schema, place)
        held_names(schema, place)
        hold_one_of(schema, place, root)
    close(root)
    for place, schema in list(reachable(root)):
        hold_sizes(schema, place)
        hold_dependents(schema, place)
    check_ends(root)


def _check_keys(schema: dict[str, Any], place: Place) -> None:
    """Refuse keywords that cannot be held or are misspelled; take out annotations that the grammar library refuses."""
    for key in list(schema):
        if TABLE.get(key) is Treatment.REFUSED and not (key == "else" and "if" not in schema):
            raise place.refusal(key, "no grammar holds conditions", "write the cases as alternatives of anyOf")
        if near := misspelled(key):
            raise ConfigError(
                f"{place}: unknown keyword {key!r} in a JSON schema, did you mean {near!r}?",
                hint="correct it, or prefix an annotation of your own with x-",
            )
        if key in _DROPPED:
            del schema[key]
