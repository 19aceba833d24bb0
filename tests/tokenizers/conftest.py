"""Texts that tokenizers are compared on: real ones beside the checkout, and our own."""

import gzip
from pathlib import Path

import pytest

OWN_LINES = [
    "",
    " ",
    "   leading and trailing   ",
    "The quick brown fox can't jump over 13 lazy dogs, can it? It's 2026!",
    "两个黄鹂鸣翠柳，一行白鹭上青天。窗含西岭千秋雪，门泊东吴万里船。",
    "翰林 hanlin：Python与中文混排，价格￥1,234.56元（含税）。",
    "def f(x):\n\tif x > 0:\n        return x ** 2  # 平方\n\n\nprint(f(3))",
    "🤗 👩‍👩‍👧‍👦 🇨🇳 1️⃣ 👍🏽 ☺️",
    "naïve café ÅNGSTRÖM ǅ straße ﬁnance ① ½ ㍿",
    "a\u00a0b\u3000c\u200bd\u2028e\tf\r\ng\n\n\nh",
    "\ufffd\ufffd\x00\x01\x7f\x1b[0m\ufeff broken",
    "e\u0301 o\u0302 が ｶﾞ 한국어 ไทย العربية עברית हिन्दी",
    "123456789 3.14159 0xFF ２０２６年",
    "<|endoftext|> <unk> </s> [MASK] <0x0A>",
    "a" * 30,
    "!!!???——",
]

_SHARED = (
    "gutenberg_alice/11-0.txt",
    "gutenberg_alice/11-h/11-h.htm",
    "tinystories_sample/tinystories_sample.txt",
    "csl_title/dev.tsv",
    "cmmlu/test/marxist_theory.csv",
    "cmmlu/test/ancient_chinese.csv",
    "llamafactory_demo/identity.json",
    "sms_spam/SMSSpamCollection",
    "multi30k/val.de.gz",
    "humaneval/HumanEval.jsonl.gz",
    "subword_nmt_test/corpus.en",
    "winogender/all_sentences.tsv",
    "wmt21_metric_fixture/txt/references/newstest2021.en-zh.ref.A.zh",
)


@pytest.fixture(scope="session")
def own_lines() -> list[str]:
    return OWN_LINES


@pytest.fixture(scope="session")
def shared_lines(shared_data: Path) -> list[str]:
    """Every line of thirteen texts: English, Chinese, German, code, HTML, emoji, broken
    characters."""
    lines: list[str] = []
    for name in _SHARED:
        path = next(iter(sorted(shared_data.glob(name))), None)
        assert path is not None, f"{name} is missing from the shared data"
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        lines += content.decode("utf-8", "replace").split("\n")
    assert any("\ufffd" in line for line in lines)
    return lines
