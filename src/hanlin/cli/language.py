"""The language the command speaks: Chinese where the locale is Chinese, otherwise English."""

import os


def chinese() -> bool:
    """Whether the locale (LC_ALL, else LC_MESSAGES, else LANG) is a Chinese one."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return value.lower().startswith("zh")
    return False


def say(english: str, chinese_text: str) -> str:
    """Return the text in the user's language."""
    return chinese_text if chinese() else english
