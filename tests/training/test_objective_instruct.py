"""Instructions: what is learnt is what chat would be answered with, token for token."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from chat_cases import CHATML, CORPUS, LONG, NO_END, SHORT, answers, chat, tokenizer_with
from hanlin.data.batch import IGNORE
from hanlin.data.conversations import Conversation
from hanlin.data.turns import chatml, turns_of
from hanlin.errors import ConfigError, InputError
from hanlin.models.new import new_config
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer, train
from hanlin.training.objectives import Instruct


def test_an_answer_that_nothing_ends_is_told() -> None:
    tokenizer = tokenizer_with(NO_END)
    examples = Instruct(pack=False).examples([SHORT], tokenizer=tokenizer, length=64, seed=0)
    assert any("no special token ends" in note for note in examples.notes)
    targets = examples.example(0, 0).targets
    assert tokenizer.decode(targets[targets != IGNORE].tolist()) == "The academy did.\n"


def test_tools_reach_the_template() -> None:
    tools = ({"type": "function", "function": {"name": "add"}},)
    with_tools = Conversation(SHORT.messages, tools)
    shows = "{% if tools %}{{ tools | tojson }}{% endif %}" + CHATML
    [text] = turns_of(with_tools, tokenizer_with(shows))
    assert '"name": "add"' in tokenizer_with(shows).decode(text.ids.tolist())
    hides = Instruct().examples([with_tools], tokenizer=tokenizer_with(CHATML), length=90, seed=0)
    assert any("does not show to the model" in note for note in hides.notes)
    with pytest.raises(ConfigError, match="ChatML has no place"):
        Instruct(template="chatml").examples(
            [with_tools], tokenizer=tokenizer_with(None), length=90, seed=0
        )


def test_a_model_without_a_template_gets_one_by_choice(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(None)
    with pytest.raises(ConfigError, match=r"objective\.template=chatml"):
        Instruct().examples([SHORT], tokenizer=tokenizer, length=64, seed=0)
    Instruct(template="chatml").examples([SHORT], tokenizer=tokenizer, length=64, seed=0)
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    text = again.apply_chat(SHORT.messages, add_generation_prompt=True)
    end = "<|im_end|>" if again.id("<|im_end|>") in tokenizer.eos_ids else "<|endoftext|>"
    assert text == (
        f"<|im_start|>user\nWho drafted it?{end}\n<|im_start|>assistant\nThe academy did.{end}\n"
        "<|im_start|>assistant\n"
    )
    plain = train(CORPUS, kind="bpe", vocab_size=300)
    plain.chat_template = chatml(plain)
    [turns] = turns_of(SHORT, plain)
    assert turns.closed
    assert turns.ids[-1] == plain.eos_id


@pytest.mark.parametrize("pack", [True, False])
def test_the_loss_is_that_of_each_answer_alone(pack: bool) -> None:
    tokenizer = tokenizer_with(CHATML)
    objective = Instruct(pack=pack)
    records = [LONG, SHORT, chat("1", "2"), chat("What are numbers?", "Text too.", "So?", "Yes.")]
    examples = objective.examples(records, tokenizer=tokenizer, length=128, seed=0)
    batch = objective.collate([examples.example(n, 0) for n in range(len(examples))])
    sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_context": 256}
    config = new_config("llama", tokenizer=tokenizer, **sizes)  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = Transformer(config).double().eval()
    expected, count = 0.0, 0
    for record in records:
        for n in answers(record):
            prompt = tokenizer.encode_chat(record.messages[:n])
            said = tokenizer.encode(
                f"{record.messages[n]['content']}<|im_end|>", add_special_tokens=False
            )
            logits = model(torch.tensor([prompt + said])).logits[0]
            expected += F.cross_entropy(
                logits[len(prompt) - 1 : -1], torch.tensor(said), reduction="sum"
            ).item()
            count += len(said)
    assert batch.target_tokens == count
    assert (batch.segments is not None) is pack
    assert objective.loss(model, batch).item() == pytest.approx(expected, rel=1e-9)


def test_rows_are_filled_and_nothing_is_lost() -> None:
    generator = np.random.default_rng(5)
    records = [
        chat(
            *("word " * int(n) for n in generator.integers(1, 9, 2 * int(generator.integers(1, 4))))
        )
        for _ in range(60)
    ]
    tokenizer = tokenizer_with(CHATML)
    length = 160
    packed = Instruct().examples(records, tokenizer=tokenizer, length=length, seed=0)
    alone = Instruct(pack=False).examples(records, tokenizer=tokenizer, length=length, seed=0)

    def targets(examples: Any) -> list[int]:
        rows = [examples.example(n, 0) for n in range(len(examples))]
        assert all(len(row.ids) == len(row.targets) <= length for row in rows)
        return sorted(t for row in rows for t in row.targets[row.targets != IGNORE].tolist())

    assert targets(packed) == targets(alone)
    assert packed.lengths is None
    assert len(packed) < len(alone)
    full = sum(len(packed.example(n, 0).ids) for n in range(len(packed))) / (length * len(packed))
    assert full > 0.8
    assert f"to {full:.1%}" in packed.notes[-1]
    lengths = alone.lengths
    assert lengths is not None
    assert lengths.tolist() == [len(alone.example(n, 0).ids) for n in range(len(alone))]


def test_what_is_too_long_ends_after_an_answer() -> None:
    tokenizer = tokenizer_with(CHATML)
    [whole] = turns_of(LONG, tokenizer)
    first, last = whole.ends
    objective = Instruct(pack=False)
    for length, ends in ((last - 1, last), (last - 2, first), (first - 1, first)):
        examples = objective.examples([LONG, SHORT], tokenizer=tokenizer, length=length, seed=0)
        assert len(examples.example(0, 0).ids) == ends - 1
        cut = [note for note in examples.notes if "end after the last answer" in note]
        assert cut == (
            []
            if ends == last
            else [
                f"1 of 2 conversations are longer than {length} tokens and end after the last "
                "answer within them."
            ]
        )
    examples = objective.examples([LONG, chat("1", "2")], tokenizer=tokenizer, length=40, seed=0)
    assert len(examples) == 1
    assert any("1 of 2 conversations have no answer within 40" in note for note in examples.notes)
    with pytest.raises(InputError, match="No conversation has an answer within 3 tokens"):
        objective.examples([LONG], tokenizer=tokenizer, length=3, seed=0)
