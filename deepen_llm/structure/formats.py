"""String formats as patterns: each matches only strings that types and validators of the format accept.

Sources: RFC 3339 (dates and durations), RFC 4122 and 9562 (UUIDs), RFC 3986 (URIs), RFC 5321 (e-mail), RFC 4648
(base 64). The patterns are narrower where parsers are: a year has four digits from 0001 on, no second is 60, the labels
of a host have plain letters, digits and single hyphens, a fraction of a second has six digits.
"""

from __future__ import annotations

YEAR = r"(?:000[1-9]|00[1-9]\d|0[1-9]\d{2}|[1-9]\d{3})"
DAYS = r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
_LEAP = r"(?:(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29)"
DATE = f"(?:{YEAR}-{DAYS}|{_LEAP})"
CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?"
ZONE = r"(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d)"
_INNER_YEAR = r"(?:000[2-9]|00[1-9]\d|0[1-9]\d{2}|[1-8]\d{3}|9[0-8]\d{2}|99[0-8]\d|999[0-8])"  # safe in every zone
MOMENT = f"(?:{_INNER_YEAR}-{DAYS})T{CLOCK}"
_TIMES = r"T(?:\d{1,4}H(?:\d{1,4}M(?:\d{1,4}S)?)?|\d{1,4}M(?:\d{1,4}S)?|\d{1,4}S)"
DURATION = rf"P(?:\d{{1,4}}D(?:{_TIMES})?|{_TIMES}|\d{{1,4}}W)"

LABEL = r"[a-z0-9]{1,20}(?:-[a-z0-9]{1,20})?"
HOST = rf"(?:{LABEL}\.){{0,4}}[a-z]{{1,20}}(?:-[a-z0-9]{{1,20}})?"
_TOP = "[a-z]{2}|com|net|org|edu|gov|int|biz|app|dev|xyz|info|name|shop|tech|cloud|store|email"
_DOMAIN = rf"(?:{LABEL}\.){{1,3}}(?:{_TOP})"
EMAIL = rf"[A-Za-z0-9]{{1,20}}(?:[._+-][A-Za-z0-9]{{1,20}}){{0,2}}@{_DOMAIN}"

_BYTE = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
IPV4 = rf"(?:{_BYTE}\.){{3}}{_BYTE}"
_H16 = "[0-9a-f]{1,4}"
_SHORT6 = rf"(?:{_H16}:){{1,4}}(?::{_H16}){{1,3}}|(?:{_H16}:){{1,6}}:|::(?:{_H16}:){{0,5}}{_H16}|::"
IPV6 = rf"(?:(?:{_H16}:){{7}}{_H16}|{_SHORT6})"
_NET4 = rf"(?:{IPV4}(?:/32)?|(?:{_BYTE}\.){{3}}0/24|(?:{_BYTE}\.){{2}}0\.0/16|{_BYTE}\.0\.0\.0/8)"
_NET6 = rf"(?:{IPV6}(?:/128)?|(?:{_H16}:){{4}}:/64)"
_FACE4, _FACE6 = rf"{IPV4}(?:/(?:3[0-2]|[12]?\d))?", rf"{IPV6}(?:/(?:12[0-8]|1[01]\d|[1-9]?\d))?"

PORT = r"(?::[1-9]\d{0,3})?"
_PCHAR = r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})"
PATH = rf"(?:/{_PCHAR}*)*"
REST = rf"{PATH}(?:\?(?:{_PCHAR}|[=&])*)?(?:#{_PCHAR}*)?"
URI = rf"(?:https?|ftps?|wss?|git|ssh|s3)://{HOST}{PORT}{REST}"
_RELATIVE = rf"(?:{_PCHAR}+)?{REST}"
_HEX = "[0-9a-fA-F]"


def uuid(version: int | None = None) -> str:
    """Make the pattern of a UUID; of any version if it is None."""
    kind = "[1-8]" if version is None else str(version)
    return rf"{_HEX}{{8}}-{_HEX}{{4}}-{kind}{_HEX}{{3}}-[89abAB]{_HEX}{{3}}-{_HEX}{{12}}"


def base64(last: str) -> str:
    """Make the pattern of bytes in base 64.

    Args:
        last: The last two characters of the alphabet.
    """
    digit = f"[A-Za-z0-9{last}]"
    return f"(?:{digit}{{4}})*(?:{digit}[AQgw]==|{digit}{{2}}[AEIMQUYcgkosw048]=)?"


def _ascii64(last: str) -> str:
    """Make the pattern of ASCII text in base 64: the first bit of each byte is 0."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" + last
    first = f"[{letters[:32]}]"
    second = "[" + "".join(letter for value, letter in enumerate(letters) if not value & 8) + "]"
    third = "[" + "".join(letter for value, letter in enumerate(letters) if not value & 2) + "]"
    any_ = f"[A-Za-z0-9{last}]"
    even = "[" + "".join(letter for value, letter in enumerate(letters) if not value & 3) + "]"
    return f"(?:{first}{second}{third}{any_})*(?:{first}[AQgw]==|{first}{second}{even}=)?"


BASE64, BASE64URL = base64(r"+\/"), base64(r"_\-")
TEXT64, TEXT64URL = _ascii64("+/"), _ascii64("-_").replace("-_]", r"_\-]")

PATTERNS = {
    name: f"^(?:{pattern})$"
    for name, pattern in {
        "date": DATE,
        "date-time": MOMENT + ZONE,
        "time": CLOCK + ZONE,
        "duration": DURATION,
        "email": EMAIL,
        "idn-email": EMAIL,
        "name-email": EMAIL,
        "hostname": HOST,
        "idn-hostname": HOST,
        "ipv4": IPV4,
        "ipv6": IPV6,
        "ipvanyaddress": f"{IPV4}|{IPV6}",
        "ipv4network": _NET4,
        "ipv6network": _NET6,
        "ipvanynetwork": f"{_NET4}|{_NET6}",
        "ipv4interface": _FACE4,
        "ipv6interface": _FACE6,
        "ipvanyinterface": f"{_FACE4}|{_FACE6}",
        "uri": URI,
        "url": URI,
        "iri": URI,
        "multi-host-uri": URI,
        "uri-reference": _RELATIVE,
        "iri-reference": _RELATIVE,
        "uri-template": URI,
        "json-pointer": r"(?:/[A-Za-z0-9_.-]*)*",
        "relative-json-pointer": r"(?:0|[1-9]\d{0,3})(?:#|(?:/[A-Za-z0-9_.-]*)*)",
        "regex": r"\^?(?:(?:[A-Za-z0-9 _]|\\[dws])[+*?]?)*\$?",
        "uuid": uuid(),
        "guid": uuid(),
        **{f"uuid{version}": uuid(version) for version in range(1, 9)},
        "base64": BASE64,
        "base64url": BASE64URL,
        "byte": BASE64,
        "color": r"#[0-9a-f]{6}",
        "fraction": r"-?\d{1,15}(?:/[1-9]\d{0,14})?",
    }.items()
}
"""The pattern of each supported format; other formats are annotations."""
