"""Whether an instructed model answers in its chat template, token for token, wherever it goes.

    python benchmarks/following.py ADAPTER DATA [--conversations 20] [--new-tokens 64] [--json]

ADAPTER is what `hanlin train` made with objective instruct and method lora; DATA conversations that
it has not learnt from. Of each, up to its last answer, the prompt is made four times: as training
reads it, as `chat` sends it, by the merged model after it was written and read again, and by
transformers from the merged directory; then it is answered greedily in float32 by the base with its
adapter, by the merged model and by transformers. Counted are the prompts and the answers that are
the same tokens in all of them, and the answers that end as the template ends a turn.
Needs the `dev` extra.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

Ids = list[int]


def note(text: str) -> None:
    print(text, file=sys.stderr)


def asked(data: Path, adapter: Path, count: int) -> list[tuple[list[dict[str, Any]], Ids]]:
    """Messages up to the last answer, and the tokens that stand before it in training."""
    from hanlin.data.turns import turns_of
    from hanlin.tokenizers import Tokenizer
    from hanlin.training.config import DataSettings
    from hanlin.training.objectives import Instruct

    tokenizer = Tokenizer.load(adapter)
    settings = DataSettings(train=(str(data),))
    out = []
    for conversation in Instruct().read(settings.train, settings, tell=note)[:count]:
        turns = turns_of(conversation, tokenizer)[-1]
        wrote = turns.answered.nonzero()[0]
        begin = max(at for at in wrote if not turns.answered[at - 1])  # of the last answer
        messages = [dict(message) for message in conversation.messages[:-1]]
        out.append((messages, turns.ids[:begin].tolist()))
    return out


def by_hanlin(model: Path, messages: list[Any], new: int) -> tuple[list[Ids], list[Ids], set[int]]:
    """Prompts, greedy answers, and the tokens that end a turn."""
    import hanlin

    lm = hanlin.load(model, dtype="float32")
    prompts = [lm.encode_chat(one) for one in messages]
    answers = [
        list(lm.chat(one, temperature=0, max_new_tokens=new, repetition_penalty=1.0).tokens)
        for one in messages
    ]
    return prompts, answers, set(lm.network.config.eos_ids) | set(lm.tokenizer.eos_ids)


def by_transformers(
    model: Path, messages: list[Any], new: int, ends: set[int]
) -> tuple[list[Ids], list[Ids]]:
    """Prompts and greedy answers of the merged directory."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    prompts, answers = [], []
    for one in messages:
        made = tokenizer.apply_chat_template(
            one, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        ids = made["input_ids"]
        with torch.no_grad():
            out = network.generate(
                **made,
                max_new_tokens=new,
                do_sample=False,
                eos_token_id=sorted(ends),
                pad_token_id=min(ends),
            )
        prompts.append(ids[0].tolist())
        answers.append(out[0, ids.shape[1] :].tolist())
    return prompts, answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("adapter", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--conversations", type=int, default=20)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    begin = time.perf_counter()
    wanted = asked(given.data, given.adapter, given.conversations)
    messages, trained = [m for m, _ in wanted], [ids for _, ids in wanted]
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / "merged"
        command = [sys.executable, "-m", "hanlin.cli", "merge", str(given.adapter)]
        subprocess.run([*command, "-o", str(merged)], check=True, stdout=subprocess.DEVNULL)
        sent, answers, ends = by_hanlin(given.adapter, messages, given.new_tokens)
        again, merged_answers, _ = by_hanlin(merged, messages, given.new_tokens)
        theirs, their_answers = by_transformers(merged, messages, given.new_tokens, ends)

    def same(*kinds: list[Ids]) -> int:
        return sum(all(one == ids[0] for one in ids) for ids in zip(*kinds, strict=True))

    found = {
        "conversations": len(wanted),
        "prompts as training, chat, merged and transformers have them": same(
            trained, sent, again, theirs
        ),
        "answers equal with the adapter and merged": same(answers, merged_answers),
        "answers equal merged and in transformers": same(merged_answers, their_answers),
        "answers that end": sum(ids[-1] in ends for ids in answers),
        "answers cut at the limit": sum(ids[-1] not in ends for ids in answers),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    if given.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:64}{value:>8}")


if __name__ == "__main__":
    main()
