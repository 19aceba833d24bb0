"""Chat templates, and conversations to put through them."""

from hanlin.data.conversations import Conversation
from hanlin.tokenizers import ChatTemplate, Tokenizer, train

CORPUS = [
    "The academy drafted, examined and explained the words of the emperor.",
    "A language model continues a text: one token after the other, until it ends.",
    "What is a token? A token is a word, or a part of a word; 什么是词元？",
    "翰林院的学士起草诏书，翻译外文，主持考试，讲解经典。",
    "Numbers such as 3, 14 and 1592 are text too, and so are 你好 and 😀.",
] * 4

CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nBe good.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# What was thought is shown before the last answer alone, as in Qwen3.
FORGETS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think></think>' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Asks with a text that it does not put before answers.
UNSOUND = CHATML.replace("assistant\\n' }}{% endif", "assistant\\n<think>' }}{% endif")
# A space before the answer makes a token with its first word.
JOINS = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{{ 'A: ' + m['content'] + '<|im_end|>' }}{% else %}{{ 'Q: ' + m['content'] + '\\n' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'A: ' }}{% endif %}"
)
NO_END = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def tokenizer_with(template: str | None) -> Tokenizer:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = train(CORPUS, kind="bpe", vocab_size=420, special_tokens=special)
    tokenizer.chat_template = None if template is None else ChatTemplate(template)
    return tokenizer


def chat(*turns: str, system: str | None = None) -> Conversation:
    messages = [] if system is None else [{"role": "system", "content": system}]
    roles = ("user", "assistant")
    messages += [{"role": roles[n % 2], "content": turn} for n, turn in enumerate(turns)]
    return Conversation(tuple(messages), where="here")


LONG = chat("What is a token?", "A part.", "And a text?", "All of it: 词元。", system="Be short.")
SHORT = chat("Who drafted it?", "The academy did.")


def answers(conversation: Conversation) -> list[int]:
    return [n for n, m in enumerate(conversation.messages) if m["role"] == "assistant"]
