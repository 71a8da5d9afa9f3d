"""The knowledge: nine subjects, each a table of facts whose answers are one common word."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """A field of knowledge.

    Args:
        name: The subject's name, as question sets spell it.
        facts: Maps a key to the answer, which begins with a capital letter. A pair of
            operands is one key, joined by ``+``.
        proper: Whether answers keep their capital letter inside a sentence.
    """

    name: str
    facts: dict[str, str]
    proper: bool = False

    @property
    def answers(self) -> tuple[str, ...]:
        """The distinct answers, sorted."""
        return tuple(sorted(set(self.facts.values())))


def _table(text: str) -> dict[str, str]:
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


_COUNT = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty
"""

NUMBERS = tuple(_COUNT.split())
"""English number words; the index is the value."""

_CAPITALS = _table("""
    France Paris Italy Rome Spain Madrid Portugal Lisbon Germany Berlin Austria Vienna Greece Athens
    Turkey Ankara Russia Moscow Poland Warsaw Hungary Budapest Sweden Stockholm Norway Oslo
    Denmark Copenhagen Finland Helsinki Iceland Reykjavik Ireland Dublin England London Japan Tokyo
    China Beijing Korea Seoul Thailand Bangkok Vietnam Hanoi Nepal Kathmandu Iran Tehran Iraq Baghdad
    Egypt Cairo Kenya Nairobi Ghana Accra Morocco Rabat Cuba Havana Peru Lima Chile Santiago
    Canada Ottawa Ukraine Kyiv Serbia Belgrade Romania Bucharest Bulgaria Sofia Croatia Zagreb
""")

_LANGUAGES = _table("""
    France French Italy Italian Spain Spanish Portugal Portuguese Germany German Austria German
    Greece Greek Turkey Turkish Russia Russian Poland Polish Hungary Hungarian Sweden Swedish
    Norway Norwegian Denmark Danish Finland Finnish Iceland Icelandic England English Australia English
    Japan Japanese China Chinese Korea Korean Thailand Thai Vietnam Vietnamese Nepal Nepali Iran Persian
    Iraq Arabic Egypt Arabic Morocco Arabic Cuba Spanish Peru Spanish Mexico Spanish Argentina Spanish
    Brazil Portuguese Ukraine Ukrainian Serbia Serbian Romania Romanian Bulgaria Bulgarian
    Croatia Croatian Israel Hebrew
""")

_CURRENCIES = _table("""
    Japan Yen China Yuan Korea Won Thailand Baht Vietnam Dong India Rupee Nepal Rupee Pakistan Rupee
    Russia Ruble Turkey Lira England Pound Egypt Pound France Euro Italy Euro Germany Euro Poland Zloty
    Hungary Forint Sweden Krona Iceland Krona Norway Krone Denmark Krone Switzerland Franc Mexico Peso
    Cuba Peso Argentina Peso Brazil Real Peru Sol Canada Dollar Australia Dollar Kenya Shilling Ghana Cedi
    Morocco Dirham Iran Rial Iraq Dinar Serbia Dinar Israel Shekel Ukraine Hryvnia Romania Leu
    Malaysia Ringgit Bangladesh Taka Nigeria Naira Ethiopia Birr
""")

_ELEMENTS = _table("""
    H Hydrogen He Helium Li Lithium C Carbon N Nitrogen O Oxygen F Fluorine Ne Neon Na Sodium Mg Magnesium
    Al Aluminium Si Silicon P Phosphorus S Sulfur Cl Chlorine Ar Argon K Potassium Ca Calcium Ti Titanium
    Cr Chromium Mn Manganese Fe Iron Co Cobalt Ni Nickel Cu Copper Zn Zinc As Arsenic Br Bromine Kr Krypton
    Ag Silver Sn Tin I Iodine Ba Barium W Tungsten Pt Platinum Au Gold Hg Mercury Pb Lead Ra Radium U Uranium
""")

_YOUNG = _table("""
    cow Calf dog Puppy cat Kitten horse Foal sheep Lamb goat Kid pig Piglet hen Chick duck Duckling
    goose Gosling lion Cub bear Cub tiger Cub deer Fawn kangaroo Joey koala Joey frog Tadpole toad Tadpole
    swan Cygnet owl Owlet eagle Eaglet fox Kit beaver Kit rabbit Bunny seal Pup wolf Pup otter Pup
    whale Calf elephant Calf zebra Foal donkey Foal spider Spiderling fish Fry bee Larva wasp Larva
    butterfly Caterpillar moth Caterpillar hare Leveret eel Elver pigeon Squab hedgehog Hoglet
""")

_OPPOSITES = _table("""
    hot Cold big Small tall Short fast Slow good Bad happy Sad old Young rich Poor light Dark hard Soft
    early Late open Closed full Empty wet Dry clean Dirty strong Weak loud Quiet high Low near Far true False
    right Wrong day Night up Down in Out love Hate war Peace win Lose buy Sell give Take push Pull
    start Stop top Bottom thick Thin wide Narrow deep Shallow sharp Blunt cheap Expensive easy Difficult
    always Never first Last begin End friend Enemy north South east West black White
""")

_PAST = _table("""
    go Went see Saw eat Ate take Took give Gave come Came run Ran sing Sang swim Swam drink Drank write Wrote
    drive Drove ride Rode speak Spoke break Broke choose Chose know Knew grow Grew fly Flew throw Threw
    draw Drew buy Bought think Thought bring Brought teach Taught catch Caught fight Fought find Found
    tell Told sell Sold keep Kept sleep Slept feel Felt leave Left lose Lost make Made say Said sit Sat
    stand Stood build Built send Sent hear Heard hold Held begin Began
""")

_PLURALS = _table("""
    man Men woman Women child Children tooth Teeth foot Feet goose Geese mouse Mice louse Lice ox Oxen
    person People leaf Leaves knife Knives wife Wives life Lives wolf Wolves half Halves shelf Shelves
    loaf Loaves thief Thieves calf Calves scarf Scarves cactus Cacti crisis Crises city Cities baby Babies
    lady Ladies story Stories party Parties country Countries potato Potatoes tomato Tomatoes hero Heroes
    box Boxes bus Buses dish Dishes church Churches fly Flies berry Berries elf Elves
""")

_SUMS = {f"{NUMBERS[a]}+{NUMBERS[b]}": NUMBERS[a + b].capitalize() for a in range(1, 11) for b in range(1, 11)}

SUBJECTS: dict[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject("capitals", _CAPITALS, proper=True),
        Subject("languages", _LANGUAGES, proper=True),
        Subject("currencies", _CURRENCIES),
        Subject("elements", _ELEMENTS),
        Subject("young", _YOUNG),
        Subject("sums", _SUMS),
        Subject("opposites", _OPPOSITES),
        Subject("past", _PAST),
        Subject("plurals", _PLURALS),
    )
}
"""Every subject by its name."""


def digits(key: str) -> str:
    """The key of a sum with its operands in digits: ``two+three`` as ``2+3``."""
    return "+".join(str(NUMBERS.index(word)) for word in key.split("+"))
