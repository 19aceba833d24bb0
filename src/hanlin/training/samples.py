"""What a model makes of a few prompts while it is being trained, by its shape.

A decoder continues, an encoder fills what is hidden, an encoder-decoder answers what it reads (a
damaged text, where it learns to repair). The same prompts and the same draws at every look.
"""

from collections.abc import Callable, Sequence

import torch

from hanlin.data.examples import Examples
from hanlin.generation import Sampling, generate
from hanlin.models.transformer import Transformer
from hanlin.tokenizers import Tokenizer
from hanlin.training.corpus import Part
from hanlin.training.distributed import World, gather_model
from hanlin.training.events import Sample
from hanlin.training.objectives import Objective

_NEW, _READ = 48, 24  # tokens written, and tokens read where no prompt was given
_TEMPERATURE = 0.8


def sampler(
    model: Transformer,
    objective: Objective,
    tokenizer: Tokenizer,
    *,
    prompts: Sequence[str],
    samples: int,
    held: Part | None,
    examples: Examples | None,
    world: World,
    seed: int,
) -> Callable[[], tuple[Sample, ...]] | None:
    """A function that every process calls at every look; the first one gets the samples.

    Without prompts they are taken from `held`, the validation part (decoders), or from its
    `examples`; None where there is nothing to take, and where the model writes no text.
    """
    if model.config.head not in ("language-model", "masked-lm"):
        return None
    encoded = _prompts(model, objective, tokenizer, prompts, held, examples)
    if not encoded or not samples:
        return None

    def look() -> tuple[Sample, ...]:
        whole = gather_model(model, world)
        if not world.first:
            return ()
        return tuple(
            Sample(shown, text)
            for shown, ids in encoded
            for text in _texts(whole, tokenizer, ids, samples, seed)
        )

    return look


def _prompts(
    model: Transformer,
    objective: Objective,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    held: Part | None,
    examples: Examples | None,
) -> list[tuple[str, list[int]]]:
    """Each prompt as it is shown and as it is read."""
    longest = max(1, model.config.max_context - _NEW) if _limited(model) else None
    if prompts:
        return [(text, tokenizer.encode(text)[:longest]) for text in prompts]
    if model.config.shape == "decoder":
        if held is None or isinstance(held, list):
            return []
        ids = held.read(0, min(_READ, held.tokens - 1, longest or _READ)).tolist()
    elif examples is not None and len(examples):
        batch = objective.collate([examples.example(0, 0)])
        ids = batch.ids[0][: longest and model.config.max_context].tolist()
    else:
        return []
    return [(tokenizer.decode(ids, skip_special_tokens=False), ids)] if ids else []


def _limited(model: Transformer) -> bool:
    return model.config.position not in ("relative", "none", "sinusoidal")


def _texts(
    model: Transformer, tokenizer: Tokenizer, ids: list[int], samples: int, seed: int
) -> list[str]:
    if model.config.shape == "encoder":
        return [_filled(model, tokenizer, ids)]
    sampling = Sampling(
        max_new_tokens=_NEW,
        temperature=_TEMPERATURE if model.config.shape == "decoder" else 0.0,
        seed=seed,
        n=samples if model.config.shape == "decoder" else 1,
    )
    [written] = generate(model, tokenizer, [ids], sampling)
    return [one.text for one in written]


@torch.inference_mode()
def _filled(model: Transformer, tokenizer: Tokenizer, ids: list[int]) -> str:
    """The text with the likeliest token in each hidden place."""
    read = torch.tensor([ids], device=model.device)
    output = model(read)
    assert output.logits is not None
    guessed = output.logits[0].argmax(-1)
    filled = torch.where(read[0] == (tokenizer.mask_id or -1), guessed, read[0])
    return tokenizer.decode(filled.tolist())
