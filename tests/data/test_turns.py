"""What is learnt of a conversation is what chat would be answered with, token for token."""

from pathlib import Path

import numpy as np
import pytest

from chat_cases import (
    CHATML,
    FORGETS,
    JOINS,
    LONG,
    MARKED,
    SHORT,
    UNSOUND,
    answers,
    chat,
    tokenizer_with,
)
from hanlin.data.conversations import Conversation, read_conversations
from hanlin.data.turns import turns_of
from hanlin.errors import InputError
from hanlin.tokenizers import ChatTemplate


@pytest.mark.parametrize("template", [CHATML, MARKED, FORGETS, JOINS])
@pytest.mark.parametrize("conversation", [LONG, SHORT])
def test_every_answer_stands_behind_what_chat_sends(
    template: str, conversation: Conversation
) -> None:
    tokenizer = tokenizer_with(template)
    texts = turns_of(conversation, tokenizer)
    found = []
    for text in texts:
        edges = np.flatnonzero(np.diff(text.answered.astype(int), prepend=0, append=0))
        found += [(text, int(a), int(b)) for a, b in edges.reshape(-1, 2)]
    assert len(found) == len(answers(conversation))
    for (text, start, end), n in zip(found, answers(conversation), strict=True):
        sent = tokenizer.encode_chat(conversation.messages[:n])
        assert text.ids[:start].tolist() == sent
        said = tokenizer.decode(text.ids[start:end].tolist())
        content = str(conversation.messages[n]["content"])
        assert said.removeprefix("<think></think>") == content + "<|im_end|>"
        assert text.ids[end - 1] == tokenizer.id("<|im_end|>")
        assert end in text.ends
    if template != JOINS:
        assert len(texts) == (2 if template == FORGETS and conversation is LONG else 1)


def test_a_token_across_the_border_is_cut() -> None:
    tokenizer = tokenizer_with(JOINS)
    joined = chat("Who drafted it?", "the academy did.")
    whole = tokenizer.encode_chat(joined.messages, add_generation_prompt=False)
    [text] = turns_of(joined, tokenizer)
    assert tokenizer.decode(text.ids.tolist()) == tokenizer.decode(whole)
    sent = tokenizer.encode_chat(joined.messages[:1])
    assert whole[: len(sent)] != sent, "the case is not what it should be"
    assert text.ids[: len(sent)].tolist() == sent


def test_a_template_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(InputError, match=r"here: The chat template asks .* Mark .* chatml"):
        turns_of(SHORT, tokenizer_with(UNSOUND))
    raises = ChatTemplate("{{ raise_exception('no such role') }}")
    tokenizer = tokenizer_with(None)
    tokenizer.chat_template = raises
    with pytest.raises(InputError, match="here: The chat template refuses"):
        turns_of(SHORT, tokenizer)


def test_real_conversations_go_through(shared_data: Path) -> None:
    tokenizer = tokenizer_with(CHATML)
    for name in ("alpaca_en_demo", "alpaca_zh_demo"):
        path = shared_data / "llamafactory_demo" / f"{name}.json"
        records = read_conversations(
            [str(path)], columns={}, skip_bad=False, tell=lambda text: None
        )[:40]
        for record in records:
            [turns] = turns_of(record, tokenizer)
            sent = tokenizer.encode_chat(record.messages[:1])
            assert turns.ids[: len(sent)].tolist() == sent
            assert not turns.answered[: len(sent)].any()
            assert turns.answered[len(sent) :].all()
