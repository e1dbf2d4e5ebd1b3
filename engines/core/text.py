"""Text from anywhere, made fit to be shown."""

from __future__ import annotations

import unicodedata

_UNSAFE = ("Cc", "Cf", "Cs")
"""Unicode's categories of control characters, invisible format characters (some turn the text around), and halves of
pairs, which cannot be encoded: file names that are not UTF-8 have them."""

_KEPT = frozenset("\n\t\u200c\u200d")
"""Of these, lines and tabs are ours, and joiners belong to words and emoji."""


def printable(text: str) -> str:
    """The text with control characters as escapes (`\\x1b`): no file name does anything to a terminal or a log."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    unsafe = character not in _KEPT and unicodedata.category(character) in _UNSAFE
    return repr(character)[1:-1] if unsafe else character
