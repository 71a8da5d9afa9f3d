"""What answers are asked to be, in the tests."""

from typing import Literal

from pydantic import BaseModel, Field


class Place(BaseModel):
    city: Literal["Köln", "Zürich", "東京"]
    visits: list[int]


class Person(BaseModel):
    name: str
    age: int = Field(ge=0, le=130)
    id: str = Field(pattern="^[A-Z]{2}[0-9]{3}$")
    born: Place | None = None
    seen: list[Place]


PLACES = Place.model_json_schema()
MANY = [f"{word}-{number}" for word in ("alpha", "beta", "äther") for number in range(400)]

SCHEMAS = {
    "person": Person.model_json_schema(),
    "optional": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}},
    "integers": {"type": "array", "items": {"type": "integer"}},
    "integer": {"type": "integer"},
    "many": {"enum": MANY},
    "loops": {"type": "string", "pattern": "^((ab|b)*c|[xyz]+(-[0-9]{2})+)$"},
    "formats": {
        "type": "object",
        "properties": {"when": {"type": "string", "format": "date-time"}, "to": {"type": "string", "format": "email"}},
        "required": ["when", "to"],
    },
    "deep": {
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {
                    "value": {"type": "number"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                },
                "required": ["value", "children"],
            }
        },
        "$ref": "#/$defs/Node",
    },
    "apart": {
        "anyOf": [
            {
                "type": "object",
                "properties": {"kind": {"const": "é"}, "x": {"type": "null"}},
                "required": ["kind", "x"],
            },
            {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3},
        ]
    },
    "any": {"type": "object"},
}
