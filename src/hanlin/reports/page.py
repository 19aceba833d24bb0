"""The page that holds a report: one HTML file that loads nothing from anywhere.

Ink on paper, and on dark paper where the reader prefers it. Everything can be read, and the
language chosen, without JavaScript; a few lines of it show values under the pointer, remember the
language, and look for news while a run goes on. Style and script lie beside this file.
"""

from functools import cache
from html import escape
from pathlib import Path

from hanlin.reports.words import Language, Words, markup, say

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What the browser may load for this page: nothing."""


def page(
    title: Words,
    body: str,
    *,
    subtitle: Words = "",
    footer: Words = "",
    language: Language = "en",
    reload: int = 0,
) -> str:
    """Return the whole file; `reload`: look for news after so many seconds without a touch."""
    chosen = {one: " checked" if one == language else "" for one in ("en", "zh")}
    return (
        f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(say(title, language))}</title>\n"
        f"<style>{_beside('page.css')}</style>\n</head>\n"
        f"<body{f' data-reload={reload}' if reload else ''}>\n<main>\n<header>"
        '<div class="languages">'
        f'<label><input type="radio" name="language" id="en"{chosen["en"]}><span>English</span>'
        f'</label><label><input type="radio" name="language" id="zh"{chosen["zh"]}>'
        '<span lang="zh">中文</span></label></div>'
        f"<h1>{markup(title)}</h1>{f'<p>{markup(subtitle)}</p>' if subtitle else ''}</header>\n"
        f"{body}\n{f'<footer>{markup(footer)}</footer>' if footer else ''}</main>\n"
        f"<script>{_beside('page.js')}</script>\n</body>\n</html>\n"
    )


@cache
def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
