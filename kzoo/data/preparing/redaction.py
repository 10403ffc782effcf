"""Personal data replaced by placeholders: found by patterns, judged by libraries.

Phone numbers by ``phonenumbers`` (Google's rules of every country), IBANs and check digits by ``python-stdnum``, IP
addresses by the standard library. The checks keep other numbers as they are.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable

from kzoo.data.preparing.config import Redaction
from kzoo.data.preparing.extras import needed
from kzoo.errors import UserError

_LOGIN = re.compile(r"(?<=://)[^\s/@:<>\"']+(?::[^\s/@<>\"']*)?(?=@[^\s/@])")
_EMAIL = re.compile(
    r"(?<![\w.+%-])[\w.+%-]{0,63}[\w+%-]@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+(?:xn--[a-z0-9-]{2,}|[^\W\d_]{2,})(?![\w-])"
)
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}(?!\w)")
_CARD = re.compile(r"(?<![\w.,])\d(?:[ -]?\d){12,18}(?!\w|[.,]\d)")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])")
# digits of an issuer, and how many there are in all
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720)\d+|3[47]\d{13}"
    r"|(?:6011|64[4-9]|65|62|3528|35[3-8])\d+|3(?:0[0-5]|6|8)\d+"
)


class Redactor:
    """Replaces what was chosen; calling it gives the new text and how many of each kind there were.

    Args:
        rules: the kinds, and the country of national phone numbers.

    Raises:
        UserError: a library is missing, or the country is none.
    """

    def __init__(self, rules: Redaction):
        makers: dict[str, Callable[[], Callable[[str], str]]] = {
            "login": lambda: self._by_pattern("login", _LOGIN),
            "email": lambda: self._by_pattern("email", _EMAIL, when=lambda text: "@" in text),
            "iban": self._ibans,
            "credit_card": self._cards,
            "ip_address": self._addresses,
            "phone": lambda: self._phones(rules.phone_region),
        }
        self._counts: Counter[str] = Counter()
        self._steps = [make() for kind, make in makers.items() if kind in rules.kinds]

    def __call__(self, text: str) -> tuple[str, Counter[str]]:
        self._counts = Counter()
        for step in self._steps:
            text = step(text)
        return text, self._counts

    def _by_pattern(self, kind: str, pattern: re.Pattern, *, is_one=lambda found: True, when=None):
        def replaced(match: re.Match) -> str:
            if not is_one(match[0]):
                return match[0]
            self._counts[kind] += 1
            return f"<{kind.upper()}>"

        return lambda text: pattern.sub(replaced, text) if when is None or when(text) else text

    def _ibans(self):
        iban = needed("stdnum.iban", "Finding IBANs (redact.kinds)")

        def replaced(match: re.Match) -> str:
            found = match[0]  # a word in capitals may follow: the longest beginning that is an IBAN
            for end in range(len(found), 14, -1):
                if (end == len(found) or not found[end].isalnum()) and iban.is_valid(found[:end]):
                    self._counts["iban"] += 1
                    return f"<IBAN>{found[end:]}"
            return found

        return lambda text: _IBAN.sub(replaced, text)

    def _cards(self):
        luhn = needed("stdnum.luhn", "Finding credit cards (redact.kinds)")

        def is_one(found: str) -> bool:
            digits = re.sub("[ -]", "", found)
            return bool(_ISSUERS.fullmatch(digits)) and luhn.is_valid(digits)

        return self._by_pattern("credit_card", _CARD, is_one=is_one)

    def _addresses(self):
        four = self._by_pattern("ip_address", _IPV4, is_one=_is_address, when=lambda text: "." in text)
        six = self._by_pattern("ip_address", _IPV6, is_one=_is_long_address, when=lambda text: ":" in text)
        return lambda text: four(six(text))

    def _phones(self, region: str | None):
        phonenumbers = needed("phonenumbers", "Finding phone numbers (redact.kinds)")
        if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
            raise UserError(f"redact.phone_region is a country's code, such as US or DE. Received {region!r}.")
        least = re.compile(r"\d(?:\D{0,4}\d){6}" if region else r"[+＋]")

        def replaced(text: str) -> str:
            if not least.search(text):
                return text
            parts, place = [], 0
            for match in phonenumbers.PhoneNumberMatcher(text, region):
                parts += [text[place : match.start], "<PHONE>"]
                place = match.end
                self._counts["phone"] += 1
            return "".join([*parts, text[place:]])

        return replaced


def _is_address(found: str) -> bool:
    try:
        ipaddress.ip_address(found)
    except ValueError:
        return False
    return True


def _is_long_address(found: str) -> bool:
    """An IPv6 address with four hexadecimal digits or more, so that a lone :: or a time such as 12::30 stays."""
    return (
        _is_address(found)
        and sum(character.isalnum() for character in found) >= 4
        and found.count(":") >= 2
        and (found.count(":") == 7 or "::" in found)
    )
