"""``hanlin bench``: our speed on this machine beside the machine's own limit.

Decoding one sequence is bound by memory: every weight is read for every token. Reading a prompt,
encoding and training are bound by arithmetic: every weight is multiplied for every token. Both
limits are measured in the same run (`hanlin.cli.machine`), so the fraction says what is left to
gain here.
"""

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from hanlin.cli import options
from hanlin.cli.kinds import expect
from hanlin.cli.language import say
from hanlin.cli.output import emit
from hanlin.errors import InputError

if TYPE_CHECKING:
    import torch

    from hanlin.tasks import Encoder, LanguageModel, Model

_DEFAULT = {"decode": "smollm2-135m", "prefill": "smollm2-135m", "encode": "minilm", "train": None}
_PROMPT = 32
"""Tokens before the first when decoding is measured."""
_WORDS = "The academy drafted, examined and explained. "
_TEXTS, _TEXT_TOKENS = 16, 128


@click.command(
    help=say(
        "Measure WHAT (decode: writing tokens; prefill: reading a prompt; encode: embedding; "
        "train: training steps) beside the limit that this machine's memory or arithmetic sets.",
        "测量 WHAT（decode：逐词生成；prefill：读入提示；encode：求向量；train：训练），"
        "并与本机内存或算力决定的极限相比。",
    )
)
@click.argument("what", type=click.Choice(list(_DEFAULT)))
@click.argument("model", required=False)
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    help=say(
        "Tokens written, of the prompt, or of a text trained on.",
        "生成的词元数、提示的词元数，或训练文本的词元数。",
    ),
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help=say("Runs measured, after one to warm up.", "预热之后测量的次数。"),
)
@options.dtype
@options.as_json
def command(
    what: str, model: str | None, tokens: int | None, repeats: int, dtype: str, as_json: bool
) -> None:
    """Measure and print."""
    name = model or _DEFAULT[what] or ""
    if what == "encode" and tokens is not None:
        raise InputError(
            f"encode reads {_TEXTS} texts of {_TEXT_TOKENS} tokens, so --tokens would be ignored. "
            "Leave it out."
        )

    import torch

    from hanlin.tasks import Encoder, LanguageModel, load

    if what == "train":
        from hanlin.cli.training_speed import FRESH, training_rates

        rates, limit, basis = training_rates(model, tokens=tokens, repeats=repeats, dtype=dtype)
        name = model or FRESH
    elif what == "encode":
        encoder = expect(load(name, dtype=dtype), Encoder, verb=what, instead="minilm")
        rates, limit, basis = _encode(encoder, repeats)
    else:
        lm = load(name, dtype=dtype)
        writer = expect(lm, LanguageModel, verb=what, instead="smollm2-135m")
        measure = _decode if what == "decode" else _prefill
        rates, limit, basis = measure(writer, tokens, repeats)
    median = statistics.median(rates)
    data = {
        "bench": what,
        "model": name,
        "tokens_per_second": median,
        "low": min(rates),
        "high": max(rates),
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        "limit": limit,
        "fraction": median / limit,
        "limited_by": basis,
    }
    text = say(
        f"{what} {name}: {median:.1f} tokens/s ({min(rates):.1f} to {max(rates):.1f}), "
        f"{median / limit:.0%} of the {limit:.1f} that {basis} allow",
        f"{what} {name}：每秒 {median:.1f} 个词元（{min(rates):.1f} 至 {max(rates):.1f}），"
        f"为极限 {limit:.1f}（{basis}）的 {median / limit:.0%}",
    )
    emit(data, as_json=as_json, text=text)


Measured = tuple[list[float], float, str]
"""Tokens per second of every run; the limit; what sets it."""


def _decode(lm: "LanguageModel", tokens: int | None, repeats: int) -> Measured:
    from hanlin.cli.machine import read_bandwidth
    from hanlin.generation import Sampling, generate

    count = _fitting(lm, tokens or 64, room=_PROMPT + 1)
    prompt = _ids(lm, _PROMPT)

    def seconds(new: int) -> float:
        settings = Sampling(temperature=0, max_new_tokens=new, ignore_eos=True)
        start = time.perf_counter()
        generate(lm.network, lm.tokenizer, [prompt], settings)
        return time.perf_counter() - start

    def rate() -> float:
        # The first token is the prompt's work, so it is timed alone and taken away.
        return count / max(seconds(count + 1) - seconds(1), 1e-9)

    rates = _repeat(rate, repeats)
    bandwidth, size = read_bandwidth(), _decoded_bytes(lm)
    return rates, bandwidth / size, f"{bandwidth / 1e9:.1f} GB/s / {size / 1e6:.0f} MB"


def _prefill(lm: "LanguageModel", tokens: int | None, repeats: int) -> Measured:
    from hanlin.generation import Sampling, generate

    count = _fitting(lm, tokens or 512, room=1)
    prompt = _ids(lm, count)
    settings = Sampling(temperature=0, max_new_tokens=1)

    def rate() -> float:
        start = time.perf_counter()
        generate(lm.network, lm.tokenizer, [prompt], settings)
        return count / (time.perf_counter() - start)

    return _with_arithmetic(lm, _repeat(rate, repeats), count)


def _encode(lm: "Encoder", repeats: int) -> Measured:
    text = lm.tokenizer.decode(_ids(lm, _TEXT_TOKENS), skip_special_tokens=True)
    texts = [text] * _TEXTS
    count = sum(min(len(ids), lm.longest) for ids in lm.tokenizer.encode_batch(texts))

    def rate() -> float:
        start = time.perf_counter()
        lm.embed(texts)
        return count / (time.perf_counter() - start)

    return _with_arithmetic(lm, _repeat(rate, repeats), count // _TEXTS)


def _repeat(rate: Callable[[], float], repeats: int) -> list[float]:
    rate()
    return [rate() for _ in range(repeats)]


def _ids(lm: "Model", count: int) -> list[int]:
    """A prompt of ordinary words, cut to length."""
    words = lm.tokenizer.encode(_WORDS, add_special_tokens=False)
    return (words * (count // len(words) + 1))[:count]


def _fitting(lm: "LanguageModel", tokens: int, *, room: int) -> int:
    context = lm.context
    if context is not None and tokens + room > context:
        raise InputError(
            f"{tokens} tokens and {room} beside them do not fit the context of {context}. "
            "Set --tokens lower."
        )
    return tokens


def _with_arithmetic(lm: "Model", rates: list[float], length: int) -> Measured:
    from hanlin.cli.machine import matmul_peak

    peak = matmul_peak(_wide_type(lm))
    work = _flops(lm, length)
    return rates, peak / work, f"{peak / 1e9:.0f} GFLOP/s / {work / 1e6:.0f} MFLOP"


def _decoded_bytes(lm: "Model") -> int:
    """Bytes of weights that one decoded token reads."""
    from hanlin.kernels.packed import PackedLinear

    size = 0
    for part in (lm.network.decoder, lm.network.head):
        for module in part.modules() if part is not None else ():
            if isinstance(module, PackedLinear):
                size += module.bytes_per_token
            else:
                size += sum(p.numel() * p.element_size() for p in module.parameters(recurse=False))
    return size


def _flops(lm: "Model", length: int) -> float:
    """Operations of one token among `length`: two per weight, and attention over its context."""
    from torch import nn

    from hanlin.kernels.packed import PackedLinear

    config, weights = lm.network.config, 0
    for stack in (lm.network.encoder, lm.network.decoder):
        for module in stack.modules() if stack is not None else ():
            if isinstance(module, nn.Linear | PackedLinear):
                weights += module.in_features * module.out_features
    seen = length if config.shape == "encoder" else length / 2
    return 2 * weights + 4 * seen * config.num_layers * config.num_heads * config.channels


def _wide_type(lm: "Model") -> "torch.dtype":
    """The type that prompts are multiplied in."""
    import torch

    from hanlin.kernels.packed import PackedLinear, has_bfloat16

    packed: Any = any(isinstance(module, PackedLinear) for module in lm.network.modules())
    return torch.bfloat16 if packed and has_bfloat16() else lm.network.dtype
