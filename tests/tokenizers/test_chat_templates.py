"""Chat templates: the semantics of transformers, and nothing a hostile template can exploit."""

import random
import threading
import time
import tracemalloc
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from hanlin.errors import FormatError, InputError
from hanlin.tokenizers import ChatTemplate, Tokenizer, train

CHATML = """\
{%- for message in messages %}
    {%- if loop.first and message['role'] != 'system' %}
{{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}
    {%- endif %}
    {%- if message['role'] == 'assistant' %}
{{- '<|im_start|>assistant\\n' }}{% generation %}{{ message['content'] + '<|im_end|>' }}
{%- endgeneration %}{{ '\\n' }}
    {%- else %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""

LLAMA3 = """\
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set system = messages[0].content | trim %}{% set messages = messages[1:] %}
{%- else %}{% set system = '' %}{% endif %}
{%- set date = strftime_now('%Y') %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' ~ date ~ '\\n' ~ system ~ '<|eot_id|>' }}
{%- for message in messages %}
    {%- if not (message.role in ['user', 'assistant', 'tool'] or 'tool_calls' in message) %}
        {{- raise_exception('unknown role ' ~ message.role) }}
    {%- endif %}
    {{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\\n\\n' }}
    {%- if message.content is string %}{{ message.content | trim }}
    {%- elif message.content is iterable %}{{ message.content | tojson }}{% endif %}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}
"""

GEMMA = """\
{{ bos_token }}
{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}
{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('turns must alternate') }}
{% endif %}
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}
"""

QWEN = """\
{%- macro turn(role, text) %}
{{- '<|im_start|>' ~ role ~ '\\n' ~ text ~ '<|im_end|>\\n' }}{% endmacro %}
{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n<tools>' }}
    {%- for tool in tools %}{{ '\\n' }}{{ tool | tojson }}{% endfor %}
    {{- '\\n</tools><|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1, seen=[]) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if message.role == 'user' %}{% set ns.last = index %}{% break %}{% endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.tool_calls %}
        {%- for call in message.tool_calls %}
            {{- turn('assistant', '<tool_call>' ~ (call.function.arguments | tojson(indent=2))) }}
        {%- endfor %}
    {%- elif message.content and '</think>' in message.content and loop.index0 > ns.last %}
        {{- turn(message.role, message.content.split('</think>')[-1].lstrip('\\n')) }}
    {%- else %}{{ turn(message.role, message.content | default('', true)) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""

MISTRAL = """\
{%- set system_message = '' %}
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}{% set loop_messages = messages[1:] %}
{%- else %}{% set loop_messages = messages %}{% endif %}
{{- bos_token }}
{%- for message in loop_messages | rejectattr('role', 'equalto', 'tool') %}
    {%- if message.role == "user" %}
        {%- if loop.last and system_message %}
{{- "[INST] " + system_message + "\\n\\n" + message.content + "[/INST]" }}
        {%- else %}{{ "[INST] " + message.content + "[/INST]" }}{% endif %}
    {%- else %}{{ " " + message.content|trim + eos_token }}{% endif %}
{%- endfor %}
{#- a comment #}
{{ messages | map(attribute='role') | join(',') | upper }} {{ {'é': "<&'"} | tojson }}
"""

TEMPLATES = {"chatml": CHATML, "llama3": LLAMA3, "gemma": GEMMA, "qwen": QWEN, "mistral": MISTRAL}
TOOLS = [
    {"type": "function", "function": {"name": "天气", "parameters": {"城": "str", "<b>": 1.5}}}
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = ["Hello there, how are you? 你好，世界！"] * 3
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>")
    return train(texts, kind="bpe", vocab_size=320, special_tokens=names)


def conversations(seed: int) -> list[list[dict[str, Any]]]:
    rng = random.Random(seed)
    contents = ["Hi", " 你好 🤗 ", "a\nb\n", "", "{{ x }}", "<think>no</think>\nyes", "x" * 200]
    found = []
    for _ in range(30):
        chat: list[dict[str, Any]] = []
        if rng.random() < 0.4:
            chat.append({"role": "system", "content": rng.choice(contents)})
        for _ in range(rng.randint(1, 4)):
            chat.append({"role": "user", "content": rng.choice(contents)})
            chat.append({"role": "assistant", "content": rng.choice(contents)})
        if rng.random() < 0.5:
            chat.pop()
        if rng.random() < 0.2:
            call = {"function": {"name": "f", "arguments": {"q": "北京", "n": [1, {"k": None}]}}}
            chat.append({"role": "assistant", "content": "", "tool_calls": [call]})
        if rng.random() < 0.1:
            chat.append({"role": "user", "content": "again"})
        found.append(chat)
    return found


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("tools", [None, TOOLS], ids=["plain", "tools"])
def test_text_equals_transformers(
    tokenizer: Tokenizer, name: str, tools: list[dict[str, Any]] | None
) -> None:
    reference = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend, bos_token="<s>", eos_token="</s>"
    )
    template = ChatTemplate(TEMPLATES[name])
    refused = 0
    for prompt in (True, False):
        for chat in conversations(seed=5):
            arguments: dict[str, Any] = {"add_generation_prompt": prompt, "tools": tools}
            try:
                want = reference.apply_chat_template(
                    chat, chat_template=template.source, tokenize=False, **arguments
                )
            except Exception:
                refused += 1
                with pytest.raises(InputError, match="refuses these messages"):
                    template.render(chat, bos_token="<s>", eos_token="</s>", **arguments)
                continue
            got = template.render(chat, bos_token="<s>", eos_token="</s>", **arguments)
            assert got == want, chat
    assert refused < 60
    assert (refused > 0) == (name == "gemma")


def test_mask_covers_what_the_assistant_wrote(tokenizer: Tokenizer) -> None:
    tokenizer.chat_template = ChatTemplate(CHATML)
    reference = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend)
    for chat in conversations(seed=6):
        ids, mask = tokenizer.encode_chat(chat, mask=True, add_generation_prompt=False)
        want = reference.apply_chat_template(
            chat,
            chat_template=CHATML,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        assert ids == want["input_ids"]
        assert mask == [bool(flag) for flag in want["assistant_masks"]]
        written = "".join(m["content"] + "<|im_end|>" for m in chat if m["role"] == "assistant")
        chosen = [token for token, flag in zip(ids, mask, strict=True) if flag]
        assert tokenizer.decode(chosen) == written
        assert tokenizer.encode_chat(chat, add_generation_prompt=False) == ids


def test_spans_survive_macros_and_captured_text() -> None:
    source = (
        "{% macro say(m) %}{% generation %}{{ m }}{% endgeneration %};{% endmacro %}"
        "{% set x %}{{ say('one') }}{% endset %}>{{ x }}{{ say('two') }}<"
    )
    text, spans = ChatTemplate(source).render_spans([{"role": "user", "content": ""}])
    assert text == ">one;two;<"
    assert [text[a:b] for a, b in spans] == ["one", "two"]


def test_without_a_template_the_remedy_is_named(tokenizer: Tokenizer) -> None:
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        tokenizer.apply_chat([{"role": "user", "content": "Hi"}])


def test_a_broken_template_harms_only_conversations(tokenizer: Tokenizer) -> None:
    tokenizer.chat_template = ChatTemplate("{% if %}")
    assert tokenizer.encode("Hi")
    with pytest.raises(FormatError, match="line 1"):
        tokenizer.apply_chat([{"role": "user", "content": "Hi"}])


def test_mask_of_an_unmarked_template_is_refused(tokenizer: Tokenizer) -> None:
    tokenizer.chat_template = ChatTemplate("{{ messages[0].content }}")
    with pytest.raises(InputError, match="generation"):
        tokenizer.encode_chat([{"role": "user", "content": "Hi"}], mask=True)


HOSTILE = {
    "string times number": "{{ 'a' * 10**9 }}",
    "number times list": "{{ 10**9 * [0] }}",
    "repeated in a loop": "{% for i in range(9) %}{{ 'a' * 900000 }}{% endfor %}",
    "power": "{{ 9**9**9**9 }}",
    "large numbers": "{% set ns = namespace(x=3) %}{% for i in range(90) %}"
    "{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x }}",
    "range": "{% for i in range(10**9) %}{% endfor %}",
    "nested silent loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
    "{% endfor %}",
    "loops with work": "{% for a in range(99999) %}{% for b in range(99999) %}"
    "{% set c = 'x' ~ b %}{% endfor %}{% endfor %}",
    "doubling": "{% set ns = namespace(x='ab') %}{% for i in range(60) %}"
    "{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "doubling with plus": "{% set ns = namespace(x='ab') %}{% for i in range(60) %}"
    "{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "doubling a list": "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}"
    "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "doubling a dict": "{% set ns = namespace(x={}) %}{% for i in range(60) %}"
    "{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x | tojson }}",
    "doubling by call": "{% set ns = namespace(x={}) %}{% for i in range(60) %}"
    "{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x == ns.x }}",
    "doubling by replace": "{% set ns = namespace(x='aa') %}{% for i in range(60) %}"
    "{% set ns.x = ns.x.replace('a', 'aaaa') %}{% endfor %}",
    "doubling by filter": "{% set ns = namespace(x='aa') %}{% for i in range(60) %}"
    "{% set ns.x = ns.x | replace('a', 'aaaa') %}{% endfor %}",
    "doubling by join": "{% set ns = namespace(x='aa') %}{% for i in range(60) %}"
    "{% set ns.x = ns.x.join([ns.x, ns.x, ns.x]) %}{% endfor %}",
    "doubling by join filter": "{% set ns = namespace(x='aa') %}{% for i in range(60) %}"
    "{% set ns.x = [ns.x, ns.x] | join(ns.x) %}{% endfor %}",
    "doubling by set block": "{% set ns = namespace(x='aa') %}{% for i in range(60) %}"
    "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}",
    "literal text in loops": "{% set y %}{% for i in range(99999) %}" + "x" * 2000 + "{% endfor %}"
    "{% endset %}",
    "macro recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "macro fan-out": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}"
    "{{ f(60) }}",
    "recursive loop": "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
    "padding": "{{ 'a'.ljust(10**8) }}",
    "padding filter": "{{ 'a' | center(10**8) }}",
    "constant padding filter": "{{ 'a' | center(1000000000) }}",
    "indent": "{{ ('\\n' * 100000) | indent(100000) }}",
    "percent": "{{ '%999999999d' % 1 }}",
    "percent star": "{{ '%*d' % (999999999, 1) }}",
    "format": "{{ '{:>999999999}'.format(1) }}",
    "nested format": "{{ '{:>{}}'.format(1, 999999999) }}",
    "format filter": "{{ '%999999999d' | format(1) }}",
    "lipsum": "{{ lipsum(n=10**6) }}",
    "many values": "{{ range(99999) | map('string') | map('replace', '1', 'x' * 90000) | list }}",
    "batch": "{{ [1] | batch(10**9, 'x') | list }}",
    "slice": "{{ [1] | slice(10**9) | list }}",
    "sum of strings": "{{ range(9999) | map('string') | map('center', 9999) | sum(start='') }}",
    "product": "{% for a in range(9999) | batch(2) %}{% for b in 'x' * 99999 %}{% endfor %}"
    "{% endfor %}",
    "include": "{% include '/etc/passwd' %}",
    "internals": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "internals of the loop": "{% for x in [1] %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "changing the messages": "{{ messages.append(1) }}",
    "tojson indent": "{{ range(9999) | list | tojson(indent=10**7) }}",
    "caller": "{% macro f() %}{{ caller() }}{% endmacro %}{% call f() %}"
    "{% for i in range(9999) %}{{ 'a' * 9999 }}{% endfor %}{% endcall %}",
    "unclosed": "{% if x %}",
    "deep": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "long": "x" * 600_000,
    "many terms": "{{ 1" + "+1" * 9_000 + " }}",
    "inclusion by import": "{% import 'x' as y %}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates_are_stopped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another thread, within seconds, within a fixed memory, with FormatError."""
    if name != "nested silent loops":  # one waits the whole time
        monkeypatch.setattr("hanlin.tokenizers.sandbox.MAX_SECONDS", 0.5)
    caught: list[BaseException | str] = []

    def render() -> None:
        try:
            caught.append(ChatTemplate(HOSTILE[name]).render([{"role": "user", "content": "Hi"}]))
        except BaseException as error:
            caught.append(error)

    tracemalloc.start()
    thread = threading.Thread(target=render)
    begin = time.monotonic()
    thread.start()
    thread.join(timeout=60)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not thread.is_alive(), f"still running after {time.monotonic() - begin:.0f} s"
    assert isinstance(caught[0], FormatError), str(caught[0])[:200]
    assert peak < 600e6


@pytest.mark.parametrize(
    "source",
    ["{{ '' | attr('__class__') }}", "{{ raise_exception.__globals__ }}", "{{ ''.translate }}"],
)
def test_internals_are_undefined(source: str) -> None:
    assert ChatTemplate(source).render([{"role": "user", "content": "Hi"}]) == ""


def test_undefined_names_and_empty_conversations() -> None:
    template = ChatTemplate("{{ tools is none }}{{ nothing }}|{{ messages | length }}")
    assert template.render([{"role": "user", "content": "Hi"}]) == "True|1"
    with pytest.raises(InputError, match="no messages"):
        template.render([])
    with pytest.raises(FormatError, match="role and content"):
        ChatTemplate("{{ messages[0].content + 1 }}").render([{"role": "user", "content": "Hi"}])
