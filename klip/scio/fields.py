"""What a value of a field must at least look like (section 6.6 of the KLIP specification, no torch).

Only what would be plain nonsense is refused; whether a value is true is for the image to say. Statements that there is
nothing (an empty scene has no sizes and no count above zero) are as good as numbers.
"""

from __future__ import annotations

import re

from klip.text import Domain

_NUMBER_WORDS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"
    "eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|dozen|dozens|pair|couple|single|"
    "lone|sole|several|many|few|numerous"
)
_NOTHING = (
    "no|none|nothing|without|empty|devoid|free|unoccupied|vacant|absent|undefined|nil|neither|not|zero|lacks|lacking"
)
_UNITS = "m|metre|metres|meter|meters|km|kilometre|kilometres|kilometer|kilometers|ft|feet|px|pixel|pixels"

_NUMBER = re.compile(rf"\d|\b(?:{_NUMBER_WORDS})\b", re.IGNORECASE)
_EMPTY = re.compile(rf"\b(?:{_NOTHING})\b", re.IGNORECASE)
_MEASURE = re.compile(rf"(?:\d|\b(?:{_NUMBER_WORDS}))\s*-?\s*(?:{_UNITS})\b", re.IGNORECASE)


def fault(domain: Domain, field: str, value: str) -> str | None:
    """Why a value cannot stand in a field; None where it can."""
    if domain == "target" and field == "Count" and not (_NUMBER.search(value) or _EMPTY.search(value)):
        return "no number"
    if domain == "target" and field == "Size" and not (_MEASURE.search(value) or _EMPTY.search(value)):
        return "no number with a unit"
    return None
