"""Text from elsewhere, made safe to show: what cannot be seen is spelled out."""

from __future__ import annotations


def visible(text: str) -> str:
    r"""The text with every control character, direction mark and lone surrogate spelled as in Python (`\x1b`).

    A target's own words could otherwise move the cursor of a terminal, turn a line round, or fail to be encoded.
    Line ends and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode("ascii") for one in text
    )


def one_line(text: str, longest: int) -> str:
    """The text as one visible line of at most `longest` characters: line ends and tabs are spaces, the rest is cut."""
    # Cut first: what is spelled out gets longer, and a text from elsewhere may be of any length.
    line = visible(" ".join(text[: 4 * longest].split()))
    return line if len(line) <= longest else line[: longest - len(MORE)] + MORE


MORE = " ..."
"""Stands for what was cut off."""
