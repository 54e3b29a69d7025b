"""A line as its reader sees it."""

import unicodedata

# Control characters, byte order marks, soft hyphens: nothing that a reader sees, but for the two that join letters.
_INVISIBLE = dict.fromkeys(code for code in range(0x10000) if unicodedata.category(chr(code)) in ("Cc", "Cf"))
_INVISIBLE |= dict.fromkeys((code for code in _INVISIBLE if chr(code).isspace()), " ")
del _INVISIBLE[0x200C], _INVISIBLE[0x200D]


def visible(text: str) -> str:
    """The text in composed characters, without invisible ones, with one space between words."""
    return " ".join(unicodedata.normalize("NFC", text.translate(_INVISIBLE)).split())
