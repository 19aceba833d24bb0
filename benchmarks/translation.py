"""Translating a test set by beam search, beside transformers: one process, interleaved.

    python benchmarks/translation.py MODEL SOURCES TARGETS [--rounds 3] [--beams 4] [--json]

MODEL is a directory of an encoder-decoder that hanlin trained (Marian's layout), which transformers
loads too; SOURCES and TARGETS are text files, perhaps compressed, whose lines belong together. Both
search with the same beams, length penalty and longest answer, in float32 on the same threads.
transformers takes 32 sentences of like length at a time, padded; ours takes them as calling the
model does. BLEU is sacreBLEU's, so the texts are seen to be as good. Needs the `dev` extra.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

import torch
import transformers

import hanlin
from hanlin.data.pairs import read_pairs
from hanlin.tasks import Seq2SeqModel

BATCH = 32


def ours(model: Seq2SeqModel, sources: list[str], beams: int) -> tuple[float, list[str]]:
    """Seconds, and the translations, with hanlin."""
    start = time.perf_counter()
    written = model(sources, beams=beams)
    return time.perf_counter() - start, written


def theirs(
    network: transformers.MarianMTModel, model: Seq2SeqModel, sources: list[str], beams: int
) -> tuple[float, list[str]]:
    """The same with transformers' generate, from our tokenizer's ids."""
    settings = model.settings(beams=beams)
    start = time.perf_counter()
    read = model.template.read(sources, model.tokenizer)
    order = sorted(range(len(read)), key=lambda i: len(read[i]))
    written = [""] * len(read)
    pad = network.config.pad_token_id
    for first in range(0, len(order), BATCH):
        taken = order[first : first + BATCH]
        width = max(len(read[i]) for i in taken)
        ids = torch.tensor([read[i] + [pad] * (width - len(read[i])) for i in taken])
        mask = torch.tensor([[1] * len(read[i]) + [0] * (width - len(read[i])) for i in taken])
        with torch.inference_mode():
            found = network.generate(
                ids,
                attention_mask=mask,
                num_beams=beams,
                do_sample=False,
                length_penalty=settings.length_penalty,
                max_new_tokens=settings.max_new_tokens,
            )
        for i, row in zip(taken, found.tolist(), strict=True):
            written[i] = model.tokenizer.decode(row, skip_special_tokens=True).strip()
    return time.perf_counter() - start, written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("sources", type=Path)
    parser.add_argument("targets", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    from sacrebleu.metrics import BLEU

    pairs = list(read_pairs([options.sources, options.targets]))
    sources, targets = [source for source, _ in pairs], [target for _, target in pairs]
    model = hanlin.load(options.model, dtype="float32")
    assert isinstance(model, Seq2SeqModel)
    network = transformers.AutoModelForSeq2SeqLM.from_pretrained(options.model).eval()
    seconds: dict[str, list[float]] = {"hanlin": [], "transformers": []}
    texts: dict[str, list[str]] = {}
    ours(model, sources[:64], options.beams)
    theirs(network, model, sources[:64], options.beams)
    for _ in range(options.rounds):
        took, texts["hanlin"] = ours(model, sources, options.beams)
        seconds["hanlin"].append(took)
        took, texts["transformers"] = theirs(network, model, sources, options.beams)
        seconds["transformers"].append(took)
    bleu = BLEU()
    scores = {name: bleu.corpus_score(found, [targets]).score for name, found in texts.items()}
    ratios = [b / a for a, b in zip(seconds["hanlin"], seconds["transformers"], strict=True)]
    same = sum(a == b for a, b in zip(texts["hanlin"], texts["transformers"], strict=True))
    result = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "sentences": len(pairs),
        "beams": options.beams,
        "seconds": seconds,
        "ratio": statistics.median(ratios),
        "bleu": scores,
        "signature": str(bleu.get_signature()),
        "same_texts": same,
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for name, took in seconds.items():
        rate = len(pairs) / statistics.median(took)
        print(f"{name:14} {rate:7.1f} sentences/s   BLEU {scores[name]:.2f}")
    print(f"ratio {result['ratio']:.2f}   pair by pair {', '.join(f'{r:.2f}' for r in ratios)}")
    print(f"{same} of {len(pairs)} translations are the same; {result['signature']}")


if __name__ == "__main__":
    main()
