"""Words and numbers as a reader sees them, in English and in Chinese."""

import math
import os
from collections.abc import Mapping
from html import escape
from typing import Any, Literal

Language = Literal["en", "zh"]
Words = str | tuple[str, str]
"""A text that is the same in both languages, or English and Chinese."""


def locale_language(environment: Mapping[str, str] = os.environ) -> Language:
    """Return "zh" where the locale (LC_ALL, else LC_MESSAGES, else LANG) is Chinese, else "en"."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := environment.get(name):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def say(words: Words, language: Language) -> str:
    """Return the words in one language."""
    return words if isinstance(words, str) else words[language == "zh"]


def markup(words: Words) -> str:
    """Return HTML, escaped, that shows the words in the language chosen on the page."""
    if isinstance(words, str):
        return escape(words)
    english, chinese = (escape(one) for one in words)
    return f'<span class="en">{english}</span><span class="zh" lang="zh">{chinese}</span>'


def number(value: Any, digits: int = 4) -> str:
    """Return a value for a table: numbers with so many significant digits, others as they are."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e7:
        mantissa, _, exponent = f"{value:.{max(digits - 2, 0)}e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    return f"{value:,.{decimals}f}"


def compact(value: float, digits: int = 3) -> str:
    """Return a count in few characters: 950, 12.3k, 5.2M, 1.1B (thousand million)."""
    if not math.isfinite(value):
        return number(value)
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * (1 - 0.5 * 10**-digits):
            return _significant(value / size, digits) + letter
    return f"{value:.0f}" if value == int(value) else _significant(value, digits)


def clock(seconds: float | None) -> str:
    """Return a length of time as a clock shows it: 0:45, 6:12, 1:02:33, 3d 04:12."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = max(round(seconds), 0)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    if whole < 86400:
        return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}:{whole % 3600 // 60:02}"


def percent(share: float) -> str:
    """Return a share of one in per cent."""
    if not math.isfinite(share):
        return number(share)
    return f"{share:.1%}" if 0 < abs(share) < 0.0995 else f"{share:.0%}"


def _significant(value: float, digits: int) -> str:
    decimals = max(digits - 1 - math.floor(math.log10(abs(value)) + 1e-9), 0) if value else 0
    shown = f"{value:.{decimals}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown
