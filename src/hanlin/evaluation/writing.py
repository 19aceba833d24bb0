"""Judging what a model writes for a text: translations, summaries, answers of an assistant.

Everything is decoded first, likeliest tokens or beams, and then held against the references. What
is written for a text does not depend on what else is in the batch.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

from hanlin.data.conversations import Conversation
from hanlin.data.pairs import PairRecord
from hanlin.data.records import sampled
from hanlin.errors import ConfigError, InputError, nearest
from hanlin.evaluation.judged import Judged
from hanlin.generation import generate
from hanlin.metrics.score import signature
from hanlin.metrics.summaries import VARIANTS, rouge_units, rouge_values
from hanlin.metrics.translations import bleu_units, chrf_units, ter_units
from hanlin.metrics.units import Units, mean
from hanlin.models.transformer import Transformer
from hanlin.tasks.language import LanguageModel
from hanlin.tasks.writing import Seq2SeqModel
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.instruct import Instruct, set_template
from hanlin.training.objectives.seq2seq import Seq2Seq

Record = PairRecord | Conversation
References = Sequence[Sequence[str]]

METRICS: tuple[str, ...] = ("bleu", "chrf", "chrf++", "ter", *VARIANTS, "exact_match")
"""Every metric of written texts."""
DEFAULT = ("bleu", "chrf", "rouge1", "rouge2", "rougeL")
TOGETHER = 64
"""Sequences written at a time; changes no text."""
GLANCE = 200
"""Records written for a look while training, at most."""
_LONGEST = 128
"""Tokens written for a look while training, where the objective does not say."""
_CHUNK = 4
"""Times `TOGETHER` texts between two reports of progress: sorted by length, they are padded
little."""


@dataclass(frozen=True)
class Written:
    """One text beside what it should have been."""

    source: str
    said: str
    references: tuple[str, ...]
    rouge: float
    """ROUGE-L, 0 to 1."""


def measure(
    model: LanguageModel,
    records: Sequence[Record],
    *,
    objective: Seq2Seq | Instruct,
    metrics: Sequence[str] | None = None,
    decoding: Mapping[str, Any] | None = None,
    together: int = TOGETHER,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Judged:
    """What the model writes for each record, by these metrics (None: `DEFAULT`).

    objective: says how a record is put to a model that does not know itself. decoding: settings of
    generation other than the model's own; without a temperature nothing is drawn. Raises
    `ConfigError` for a metric or setting that there is not.
    """
    for name in metrics or ():
        if name not in METRICS:
            raise ConfigError(
                f"There is no metric {name!r} of written texts.{nearest(name, list(METRICS))} "
                f"Choose among {', '.join(METRICS)}."
            )
    if not isinstance(model, LanguageModel):
        raise InputError(f"{model.name} is {model.kind}, which writes nothing. Give one that does.")
    begin = time.perf_counter()
    writer = _writer(model, records, objective)
    settings = writer.settings(**_decided(writer, decoding or {}, seed))
    prompts, references, notes = _asked(writer, records, room=settings.max_new_tokens)
    said: list[str] = []
    step = TOGETHER * _CHUNK
    for first in range(0, len(prompts), step):
        some = prompts[first : first + step]
        found = generate(writer.network, writer.tokenizer, some, settings, together=together)
        said += [sequences[0].text.strip() for sequences in found]
        if progress is not None:
            progress(len(some))
    seconds = time.perf_counter() - begin
    way = signature(
        decode="beam" if settings.beams > 1 else "draw" if settings.draws else "greedy",
        beams=settings.beams if settings.beams > 1 else None,
        max=settings.max_new_tokens,
    )
    units = _units(tuple(metrics or DEFAULT), said, references, way)
    return Judged(
        name=model.name,
        metrics={name: of.score(seed=seed) for name, of in units.items()},
        units=units,
        predictions=said,
        details=_shown(records, said, references),
        seconds=seconds,
        notes=notes,
    )


def glance(
    network: Transformer, tokenizer: Tokenizer, objective: Any, records: Sequence[Record]
) -> dict[str, float]:
    """What is told while training: BLEU and chrF (where sacreBLEU is installed) and ROUGE-L, of
    `GLANCE` records at most. Nothing of conversations: a look would take longer than the steps
    between two."""
    if isinstance(objective, Instruct):
        return {}
    records = sampled(records, GLANCE)
    model = LanguageModel(network, tokenizer, name="model", defaults={"do_sample": False})
    names = ("bleu", "chrf", "rougeL") if find_spec("sacrebleu") else ("rougeL",)
    longest = getattr(objective, "target_length", None) or _LONGEST
    found = measure(
        model, records, objective=objective, metrics=names, decoding={"max_new_tokens": longest}
    )
    return {name: score.value for name, score in found.metrics.items()}


def _writer(
    model: LanguageModel, records: Sequence[Record], objective: Seq2Seq | Instruct
) -> LanguageModel:
    """The model as the objective asks it: with a template, where it has none of its own."""
    if isinstance(objective, Instruct):
        if model.tokenizer.chat_template is None:
            set_template(model.tokenizer, objective.template, records)
        return model
    if isinstance(model, Seq2SeqModel):
        return model
    pairs = [record for record in records if isinstance(record, PairRecord)]
    return Seq2SeqModel(
        model.network,
        model.tokenizer,
        name=model.name,
        defaults=model.defaults,
        template=objective.fitted(pairs, model.network.config).template,
    )


def _asked(
    model: LanguageModel, records: Sequence[Record], *, room: int
) -> tuple[list[list[int]], References, tuple[str, ...]]:
    """What the model reads for each record, what it should write, and what was cut.

    room: tokens that a decoder is to have left for writing.
    """
    chats = [record for record in records if isinstance(record, Conversation)]
    if chats:
        prompts = [
            model.tokenizer.encode_chat(
                list(chat.messages[:-1]), tools=list(chat.tools) if chat.tools else None
            )
            for chat in chats
        ]
        return prompts, [[str(chat.messages[-1].get("content", ""))] for chat in chats], ()
    assert isinstance(model, Seq2SeqModel)
    pairs = [record for record in records if isinstance(record, PairRecord)]
    prompts = model.template.read([pair.source.strip() for pair in pairs], model.tokenizer)
    references = [list(pair.targets) for pair in pairs]
    if model.context is None:
        return prompts, references, ()
    length = model.context
    if model.template.goes_on:
        length -= min(room, length // 2)
    long = [at for at, ids in enumerate(prompts) if len(ids) > length]
    for at in long:
        source = pairs[at].source.strip()
        prompts[at] = model.template.cut(source, model.tokenizer, length=length)
    note = (
        f"{len(long)} of {len(pairs)} sources are longer than {length} tokens and lose their end."
    )
    return prompts, references, (note,) if long else ()


def _decided(model: LanguageModel, decoding: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The settings with nothing left to chance that was not asked for."""
    decided = dict(decoding)
    if not model.settings(**decided).draws:
        return decided
    if decided.get("temperature"):
        return {"seed": seed} | decided
    return decided | {"temperature": 0}


def _units(
    names: Sequence[str], said: Sequence[str], references: References, way: str
) -> dict[str, Units]:
    single: dict[str, Callable[[], Units]] = {
        "bleu": partial(bleu_units, said, references),
        "chrf": partial(chrf_units, said, references),
        "chrf++": partial(chrf_units, said, references, word_order=2),
        "ter": partial(ter_units, said, references),
        "exact_match": lambda: mean(
            [
                text in [one.strip() for one in those]
                for text, those in zip(said, references, strict=True)
            ],
            about="match:exact|case:mixed",
        ),
    }
    variants = [name for name in names if name in VARIANTS]
    rouge = rouge_units(said, references, variants=variants) if variants else {}
    found = {}
    for name in names:
        units = rouge[name] if name in rouge else single[name]()
        about = f"{units.about}|{way}" if units.about else way
        found[name] = Units(units.statistics, units.function, about)
    return found


def _shown(
    records: Sequence[Record], said: Sequence[str], references: References
) -> tuple[Written, ...]:
    """All texts, those least like their references first."""
    values = rouge_values(said, references, variants=["rougeL"])["rougeL"]
    found = [
        Written(_source(record), text, tuple(those), float(value))
        for record, text, those, value in zip(records, said, references, values, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: one.rouge))


def _source(record: Record) -> str:
    if isinstance(record, PairRecord):
        return record.source
    return "\n".join(f"{m['role']}: {m.get('content', '')}" for m in record.messages[:-1])
