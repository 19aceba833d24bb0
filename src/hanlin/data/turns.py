"""Conversations as token ids, through a chat template, with what the assistant wrote marked.

What stands before an answer is, token for token, what `chat` would send to get it; the answer ends
with the token that ends its turn, and nothing after that is its own. Templates that mark the
answers ({% generation %}) are believed. Of others the answers are found by rendering the
conversation up to each, without it and with it: the second must go on where the first ends. A
template that renders an answer otherwise once more was said after it (some drop what was thought)
gives each answer a text of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hanlin.data.conversations import Conversation
from hanlin.data.examples import Ids
from hanlin.data.framing import Frame
from hanlin.errors import ConfigError, InputError
from hanlin.tokenizers import ChatTemplate, Tokenizer
from hanlin.tokenizers.chat import Message

Span = tuple[int, int]

_CHATML = (
    "{{% for message in messages %}}{{{{ '<|im_start|>' + message['role'] + '\\n' "
    "+ message['content'] }}}}{end}{{{{ '\\n' }}}}{{% endfor %}}"
    "{{% if add_generation_prompt %}}{{{{ '<|im_start|>assistant\\n' }}}}{{% endif %}}"
)


@dataclass(frozen=True)
class Turns:
    """A conversation, or its beginning up to one answer, as token ids."""

    ids: Ids
    """[T], up to the end of the last answer."""
    answered: npt.NDArray[np.bool_]
    """[T]: what the assistant wrote, the end of its turns included."""
    ends: tuple[int, ...]
    """How many tokens there are up to the end of each answer."""
    closed: bool
    """Whether every answer ends with a token that ends its turn."""


def chatml(tokenizer: Tokenizer) -> ChatTemplate:
    """ChatML for a tokenizer: turns end with <|im_end|> where generation stops at it, else with the
    tokenizer's end token. Raises `ConfigError` where it has no end token."""
    if tokenizer.eos_id is None:
        raise ConfigError(
            "This tokenizer has no end token, so no answer could end. Set eos_token in its "
            "tokenizer_config.json."
        )
    own = tokenizer.id("<|im_end|>")
    end = "<|im_end|>" if own is not None and own in tokenizer.eos_ids else "{{ eos_token }}"
    begin = "{{ bos_token }}" if Frame.of(tokenizer).before == (tokenizer.bos_id,) else ""
    return ChatTemplate(begin + _CHATML.format(end=end))


def turns_of(conversation: Conversation, tokenizer: Tokenizer) -> list[Turns]:
    """The texts to learn a conversation's answers from: one, or one for each answer.

    Raises `InputError` where the template refuses the conversation, or where what it renders does
    not say which part an answer is.
    """
    try:
        texts = _texts(conversation, tokenizer)
    except InputError as error:
        where = f"{conversation.where}: " if conversation.where else ""
        raise InputError(f"{where}{error}") from error
    return [turns for text, spans in texts for turns in _as_sent(text, spans, tokenizer)]


def answer_to(
    messages: Sequence[Message], answer: Message, tokenizer: Tokenizer, **shown: Any
) -> tuple[Ids, int]:
    """The ids of a conversation and an answer to it [T], and where the answer begins.

    shown: tools, where there are some. Raises `InputError` as `turns_of` does.
    """
    text, span = _rendered([*messages, answer], len(messages), tokenizer, shown)
    [turns] = _as_sent(text, [span], tokenizer)
    return turns.ids, int(turns.answered.argmax())


def shows_tools(conversation: Conversation, tokenizer: Tokenizer) -> bool:
    """Whether the template shows the conversation's tools to the model."""
    messages, tools = conversation.messages, conversation.tools
    return tokenizer.apply_chat(messages, tools=tools) != tokenizer.apply_chat(messages)


def _texts(conversation: Conversation, tokenizer: Tokenizer) -> list[tuple[str, list[Span]]]:
    messages = conversation.messages
    shown: dict[str, Any] = {"tools": list(conversation.tools)} if conversation.tools else {}
    template = tokenizer.chat_template
    if template is not None and template.marks_generation:
        variables: dict[str, Any] = {**tokenizer.chat_variables(), **shown}
        return [template.render_spans(messages, **variables)]
    asked = next(n for n, message in enumerate(messages) if message["role"] == "user")
    answers = [n for n, m in enumerate(messages) if m["role"] == "assistant" and n > asked]
    each = [_rendered(messages[: n + 1], n, tokenizer, shown) for n in answers]
    whole = each[-1][0]
    if all(whole.startswith(text) for text, _ in each):
        return [(whole, [span for _, span in each])]
    return [(text, [span]) for text, span in each]


def _rendered(
    messages: Sequence[Message], answer: int, tokenizer: Tokenizer, shown: dict[str, Any]
) -> tuple[str, Span]:
    """The text of a conversation that ends with an answer, and where the answer stands in it."""
    before = tokenizer.apply_chat(messages[:answer], add_generation_prompt=True, **shown)
    text = tokenizer.apply_chat(messages, add_generation_prompt=False, **shown)
    if not text.startswith(before):
        raise InputError(
            "The chat template asks for an answer with a text that it does not put before answers "
            "that were given, so it cannot be said what is to be learnt. Mark the assistant's text "
            "in it with {% generation %} and {% endgeneration %}, or set objective.template to "
            "chatml."
        )
    return text, (len(before), len(text))


def _as_sent(text: str, spans: Sequence[Span], tokenizer: Tokenizer) -> list[Turns]:
    """A rendered text as token ids in which every answer stands behind what would be sent.

    A token may reach from a prompt into its answer, where the answer could not begin: then each
    answer is encoded apart from its prompt, and has a row of its own where there are several.
    """
    ids, offsets = tokenizer.encode_offsets(text, add_special_tokens=False)
    prompts = [tokenizer.encode(text[:start], add_special_tokens=False) for start, _ in spans]
    if all(ids[: len(prompt)] == prompt for prompt in prompts):
        return [_marked(ids, offsets, text, spans, tokenizer)] if spans else []
    rows = []
    for start, end in spans:
        ids, offsets = tokenizer.encode_offsets(text[:start], add_special_tokens=False)
        more, where = tokenizer.encode_offsets(text[start:], add_special_tokens=False)
        ids, offsets = ids + more, offsets + [(start + a, start + b) for a, b in where]
        rows.append(_marked(ids, offsets, text, [(start, end)], tokenizer))
    return rows


def _marked(
    ids: list[int],
    offsets: list[Span],
    text: str,
    spans: Sequence[Span],
    tokenizer: Tokenizer,
) -> Turns:
    """Ids with the characters they cover, and the answers in them found."""
    answered = np.zeros(len(ids), dtype=np.bool_)
    ends, closed = [], True
    for start, end in spans:
        inside = [n for n, (a, b) in enumerate(offsets) if a < end and b > start]
        if not inside:
            continue
        first, last = inside[0], inside[-1] + 1
        last, ended = _turn_end(ids, offsets, text, first, last, tokenizer)
        closed &= ended
        answered[first:last] = True
        ends.append(last)
    stop = ends[-1] if ends else 0
    return Turns(np.array(ids[:stop], dtype=np.int64), answered[:stop], tuple(ends), closed)


def _turn_end(
    ids: list[int],
    offsets: list[Span],
    text: str,
    first: int,
    last: int,
    tokenizer: Tokenizer,
) -> tuple[int, bool]:
    """Where the answer in the tokens [first, last) ends, and whether a special token ends it.

    What a template puts behind that token (a line break) the assistant never writes.
    """
    special = tokenizer.special_ids
    end = next((n for n in range(last - 1, first - 1, -1) if ids[n] in special), None)
    if end is not None and not text[offsets[end][1] : offsets[last - 1][1]].strip():
        return end + 1, True
    if last < len(ids) and ids[last] in special:
        return last + 1, True
    return last, False
