"""Every type that pydantic knows: each answer is read as the type, or the type is refused when it is asked for."""

import collections
import datetime
import decimal
import enum
import fractions
import importlib
import ipaddress
import os
import pathlib
import pkgutil
import re
import typing
import uuid
import zoneinfo
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import pydantic
import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    SkipValidation,
    StringConstraints,
    Tag,
    computed_field,
    networks,
    types,
)
from typing_extensions import NotRequired, Required, TypeAliasType, TypedDict

from deepen_llm.errors import ConfigError
from deepen_llm.structure import ResponseFormat
from tests.structure.walks import answers, takes

WALKS = 8
D: TypeAlias = datetime.date
DT: TypeAlias = datetime.datetime
TD: TypeAlias = datetime.timedelta
T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "bl\u00fce"


class Number(enum.IntEnum):
    ONE = 1
    MANY = 22


class Flags(enum.Flag):
    A = 1
    B = 2


class Mixed(enum.Enum):
    A = 1
    B = "x"
    C = None
    D = 1.5


class Pair(enum.Enum):
    A = (1, 2)


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str = ""


class Node(BaseModel):
    value: int
    children: list["Node"] = Field(max_length=2)


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    a: int


class Aliased(BaseModel):
    x: int = Field(validation_alias=AliasChoices("xx", AliasPath("y", 0)))
    z: int = Field(alias="zz")


class ByName(BaseModel):
    model_config = ConfigDict(populate_by_name=True, extra="forbid")
    a: int = Field(alias="aa")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return 2 * self.a


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    amount: decimal.Decimal
    day: D
    color: Color
    wait: TD
    seen: set[int]
    pair: tuple[int, bool]
    id: uuid.UUID
    names: dict[int, float]


class Encoded(BaseModel):
    model_config = ConfigDict(val_json_bytes="base64", allow_inf_nan=False, str_strip_whitespace=True, str_min_length=2)
    data: bytes
    number: float
    text: str


class Engine(BaseModel):
    model_config = ConfigDict(regex_engine="python-re")
    password: str = Field(pattern=r"^(?=.*\d)(?=.*[a-z])(?!.*\s).{4,8}$")


class Box(BaseModel, Generic[T]):
    content: T


class Numbers(RootModel[list[int]]):
    pass


class Empty(BaseModel):
    pass


class Point(NamedTuple):
    x: int
    label: str = "p"


class Keyed(TypedDict, total=False):
    a: Required[int]
    b: str


class Partly(TypedDict):
    a: int
    b: NotRequired[str]


@dataclass
class Plain:
    a: int
    b: int = field(default=1, init=False)
    c: list[str] = field(default_factory=list)


Many = pydantic.create_model("Many", **{f"customer_field_{i:03}": (int, ...) for i in range(20)})  # type: ignore[call-overload]
Tree = TypeAliasType("Tree", "int | list[Tree] | dict[str, Tree]")
UserId = typing.NewType("UserId", int)


def by_kind(value: Any) -> Any:
    return value.get("kind") if isinstance(value, dict) else value.kind


STANDARD: list[Any] = [
    int, float, str, bool, bytes, type(None), list, dict, set, frozenset, tuple, object, Any, complex,
    decimal.Decimal, fractions.Fraction, D, DT, datetime.time, TD, uuid.UUID, pathlib.Path, pathlib.PurePosixPath,
    os.PathLike, re.Pattern, zoneinfo.ZoneInfo, Color, Number, Mixed, Flags, Hashable, Literal["a", 1, True, None],
    Literal[1], Literal[True], list[int], set[str], frozenset[Color], set[tuple[int, str]], set[Frozen], set[Any],
    collections.Counter[str], collections.deque[int], collections.OrderedDict[str, int],
    collections.defaultdict[str, list[int]], Sequence[int], Iterable[int], Mapping[str, int], tuple[int, ...],
    tuple[int, str], tuple[()], Color | None, int | None | str, Cat | Dog, Node, Numbers, Empty, Point,
    Keyed, Partly, Plain, Box[Color], Tree, UserId, Aliased, ByName, Open, Strict, Encoded, Engine, Many,
    ipaddress.IPv4Address, ipaddress.IPv4Interface, ipaddress.IPv4Network, ipaddress.IPv6Address,
    ipaddress.IPv6Interface, ipaddress.IPv6Network, re.Pattern[str], typing.Deque[int], typing.List[int],  # noqa: UP006
]  # fmt: skip
OLD = tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 12)
LATER = [complex, fractions.Fraction, zoneinfo.ZoneInfo, Hashable]
KEYED: list[Any] = [
    dict[str, Any], dict[int, str], dict[Color, float], dict[Number, int], dict[uuid.UUID, str], dict[D, int],
    dict[DT, int], dict[bool, int], dict[float, int], dict[decimal.Decimal, int], dict[Literal["a", "b"], int],
    dict[pathlib.Path, int], dict[ipaddress.IPv4Address, int], dict[pydantic.UUID4, int],
    dict[pydantic.conint(ge=3, le=9), int], dict[pydantic.conint(gt=0), int],  # type: ignore[misc]
    dict[pydantic.constr(pattern="^[a-z]+$"), int], dict[pydantic.constr(min_length=2, max_length=3), int],  # type: ignore[misc]
    Annotated[dict[int, str], Field(min_length=1)], Annotated[dict[str, int], Field(min_length=1, max_length=2)],
]  # fmt: skip
BOUNDED: list[Any] = [
    pydantic.condecimal(max_digits=5, decimal_places=2), pydantic.condecimal(ge=0, le=10),
    pydantic.condecimal(gt=0, decimal_places=2), pydantic.condecimal(multiple_of=decimal.Decimal("0.05")),
    pydantic.condecimal(max_digits=3), pydantic.condecimal(max_digits=2, decimal_places=2),
    pydantic.condecimal(lt=0), pydantic.condecimal(gt=0, lt=decimal.Decimal("0.001")),
    pydantic.confloat(gt=1e-12, lt=1e-9), pydantic.confloat(gt=-1e-9, lt=0), pydantic.confloat(gt=0.1, lt=0.1 + 1e-12),
    pydantic.confloat(gt=0, le=1e-3), pydantic.confloat(ge=0, le=1e20), pydantic.confloat(gt=0, lt=1e-7),
    pydantic.confloat(multiple_of=0.1), pydantic.confloat(lt=0.5), pydantic.confloat(gt=1.5),
    pydantic.conint(gt=-7, le=2**40), pydantic.conint(multiple_of=7), pydantic.conint(ge=0),
    Annotated[float, Field(gt=float("-inf"), lt=float("inf"))],
    Annotated[str, StringConstraints(strip_whitespace=True, min_length=3)],
    Annotated[str, StringConstraints(to_lower=True, pattern="^[A-Z]+$")],
    Annotated[str, StringConstraints(to_upper=True, pattern="^[a-z]+$")],
    Annotated[str, Field(pattern=re.compile("^ab.c$", re.IGNORECASE))],
    Annotated[str, Field(min_length=3, max_length=3)], Annotated[bytes, Field(max_length=3)],
    Annotated[list[int], Field(min_length=1, max_length=2)], Annotated[set[int], Field(min_length=1)],
    Annotated[set[Color], Field(min_length=2)], pydantic.conset(bool, min_length=2),
    pydantic.conlist(int, max_length=1), pydantic.confrozenset(int, max_length=2), pydantic.conbytes(min_length=2),
    Annotated[D, Field(ge=D(2020, 3, 1), le=D(2020, 3, 5))], Annotated[D, Field(gt=D(2020, 3, 1))],
    Annotated[D, Field(lt=D(2020, 3, 1))], pydantic.condate(ge=D(1999, 5, 1), lt=D(2003, 1, 1)),
    Annotated[DT, Field(ge=DT(2020, 1, 1), lt=DT(2021, 1, 1))],
    Annotated[DT, Field(ge=DT(2020, 1, 1, tzinfo=datetime.timezone.utc))],
    Annotated[datetime.time, Field(ge=datetime.time(9), lt=datetime.time(17, 30))],
    Annotated[TD, Field(gt=TD(0), le=TD(days=1))], Annotated[TD, Field(gt=TD(0))],
]  # fmt: skip
ANNOTATED: list[Any] = [
    Annotated[Cat | Dog, Field(discriminator="kind")],
    Annotated[Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("dog")], Discriminator(by_kind)],
    Annotated[str, AfterValidator(lambda value: value)],
    SkipValidation[int],
    list[types.OnErrorOmit[int]],
    *([Annotated[list[int], types.FailFast()]] if hasattr(types, "FailFast") else ()),  # pydantic 2.8
    Annotated[int, types.Strict()],
    types.Secret[D],
    types.JsonValue,
]
NO_TYPES = {  # functions that make types, and annotations, each of which is tried above
    "Strict", "conbytes", "conlist", "conset", "confrozenset", "constr", "conint", "confloat", "condecimal", "condate",
    "Secret", "AllowInfNan", "EncoderProtocol", "EncodedBytes", "EncodedStr", "Base64Encoder", "GetPydanticSchema",
    "StringConstraints", "Tag", "Discriminator", "JsonValue", "OnErrorOmit", "FailFast", "UrlConstraints",
    "validate_email",
}  # fmt: skip
REFUSED_NAMES = {"SocketPath", "ImportString", "FilePath", "DirectoryPath", "NewPath", "Json", "PaymentCardNumber"}
BY_EMAIL_VALIDATOR = {"EmailStr", "NameEmail"}
PUBLIC = {name: module for module in (types, networks) for name in module.__all__}
NAMED = [name for name in PUBLIC if name not in NO_TYPES | REFUSED_NAMES | BY_EMAIL_VALIDATOR]
INNER = pydantic.create_model("Inner", f=(types.FilePath, ...))
LONG = Annotated[TD, Field(gt=TD(0))]
BY_PATH = Field(validation_alias=AliasPath("y", 0))
REFUSED: list[tuple[Any, str]] = [
    *((getattr(types, one), f"pydantic.{one} is not supported") for one in sorted(REFUSED_NAMES) if one in PUBLIC),
    (types.Json[int], "pydantic.Json is not supported"),
    (Pair, "Pair is not supported: none of its values parses back"),
    (enum.Enum("Raw", {"A": b"\xff"}), "is no structure: 'utf-8' codec"),
    (Literal[b"x"], "none of its values parses back"),
    (range, "is no structure"),
    (type, "is no structure"),
    (type[int], "type.int. is not supported"),
    (Callable, "is no structure"),
    (set[list[int]], "a set of list is not supported: its items cannot be hashed"),
    (set[Cat], "a set of Cat"),
    (Annotated[set[int], Field(min_length=2)], "keyword 'uniqueItems'"),
    (Annotated[dict[str, int], Field(min_length=2)], "keyword 'minProperties'"),
    (dict[Literal[1, 2], int], "a dict with keys of type literal"),
    (dict[tuple[int, int], int], "a dict with keys of type tuple"),
    (Annotated[int, Field(ge=10**20)], "no integer of up to 18 digits"),
    (Annotated[str, Field(min_length=3, max_length=2)], "maxLength"),
    (pydantic.create_model("S", __config__=ConfigDict(strict=True), w=(LONG, ...)), "field 'w': a strict timedelta"),
    (pydantic.create_model("Bad", ok=(int, ...), x=(set[list[int]], ...)), "field 'x': a set of list"),
    (pydantic.create_model("Deep", a=(INNER, ...)), "field 'a': field 'f'"),
    (pydantic.create_model("Calls", f=(Callable[[int], int], ...)), "field 'f': "),
    (pydantic.create_model("By", x=(int, BY_PATH)), "the field 'x', whose only alias"),
    (pydantic.create_model("P", to=(str, Field(pattern=r"^\bfoo"))), "property 'to' .* keyword 'pattern'"),
]  # fmt: skip


def named(kind: Any) -> str:
    return re.sub("typing\\.| at 0x[0-9a-f]+", "", str(kind))[:70]  # addresses differ between worker processes


def reads_whatever_is_written(kind: Any) -> None:
    form = ResponseFormat.of(kind)
    assert form is not None
    found = list(answers(dict(form.schema), WALKS))
    assert found
    for text in found:
        form.read(text)


@pytest.mark.parametrize("kind", [*STANDARD, *KEYED, *BOUNDED, *ANNOTATED], ids=named)
def test_every_answer_is_read_as_its_type(kind: Any) -> None:
    if kind in LATER and OLD:
        pytest.skip("later versions of pydantic know it")
    reads_whatever_is_written(kind)


@pytest.mark.parametrize("name", NAMED)
def test_every_answer_is_read_as_pydantics_own_types(name: str) -> None:
    reads_whatever_is_written(getattr(PUBLIC[name], name))


@pytest.mark.parametrize(("kind", "message"), REFUSED, ids=[named(kind) for kind, _ in REFUSED])
def test_types_that_cannot_be_held_are_refused_when_they_are_asked_for(kind: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ResponseFormat.of(kind)
    assert caught.value.hint


@pytest.mark.parametrize("name", sorted(BY_EMAIL_VALIDATOR))
def test_addresses_are_read_or_the_missing_package_is_named(name: str) -> None:
    try:
        import email_validator  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="email-validator is not installed"):
            ResponseFormat.of(getattr(networks, name))
    else:
        reads_whatever_is_written(getattr(networks, name))


def test_values_that_people_write_are_taken() -> None:
    """Narrower than the types, but not so narrow that usual values are lost."""
    usual: list[tuple[Any, list[str]]] = [
        (decimal.Decimal, ["12.5", '"12.50"', "-3", '"1999.99"', "12500000.25", '"123456789012.5"']),
        (pydantic.condecimal(max_digits=4), ["12.34", '"1234"', '"1.234"', "0.5"]),
        (pydantic.condecimal(decimal_places=2), ["1234567.25", '"1234567890.25"']),
        (pydantic.condecimal(ge=0), ["12.34", "1250000"]),
        (pydantic.condecimal(max_digits=5, decimal_places=2), ["123.45", '"0.99"', "7"]),
        (uuid.UUID, ['"123e4567-e89b-42d3-a456-426614174000"']),
        (D, ['"2024-02-29"', '"1999-12-31"']),
        (DT, ['"2024-02-28T23:59:59Z"', '"2024-05-01T08:00:00.123+02:00"']),
        (TD, ['"P1DT2H"', '"PT15M"', '"P2W"']),
        (networks.HttpUrl, ['"https://example.com/a/b?x=1&y=2#top"', '"http://localhost:8080/"']),
        (networks.PostgresDsn, ['"postgresql://db.example.com:5432/app"']),
        (ipaddress.IPv4Network, ['"10.0.0.0/8"', '"192.168.1.0/24"']),
        (ipaddress.IPv6Address, ['"::1"', '"2001:db8::8a2e:370:7334"']),
        (dict[int, str], ['{"7": "a", "12": "b"}']),
        (types.ByteSize, ["1024", '"2.5GiB"']),
        (pydantic.confloat(gt=0, le=1e-3), ["0.0005", "0.001", "0.00025"]),
        (pydantic.confloat(lt=0.5), ["0.4", "0.25", "-17.5"]),
        *([(complex, ['"1.5-2j"'])] if not OLD else []),
    ]
    for kind, texts in usual:
        form = ResponseFormat.of(kind)
        assert form is not None
        for text in texts:
            assert takes(dict(form.schema), text), (kind, text)
            form.read(text)


def test_extra_types_are_read_or_refused_by_name() -> None:
    package = pytest.importorskip("pydantic_extra_types")
    held = set()
    for module in pkgutil.iter_modules(package.__path__):
        try:
            found = importlib.import_module(f"{package.__name__}.{module.name}")
        except (ImportError, RuntimeError):
            continue
        for name, kind in vars(found).items():
            if hasattr(kind, "__get_pydantic_core_schema__") and kind.__module__ == found.__name__:
                try:
                    ResponseFormat.of(kind)
                except ConfigError:
                    continue
                reads_whatever_is_written(kind)
                held.add(name)
    assert {"Color", "MacAddress", "Latitude"} <= held
