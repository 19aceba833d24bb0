"""Judging what a model writes for a text: translations, summaries, answers of an assistant.

Everything is decoded first, likeliest tokens or beams, and then held against the references. What
is written for a text does not depend on what else is in the batch.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from hanlin.data.conversations import Conversation
from hanlin.data.pairs import PairRecord
from hanlin.data.records import sampled
from hanlin.errors import InputError
from hanlin.evaluation.judged import Judged, refuse_kind
from hanlin.evaluation.written_metrics import References, Scorer
from hanlin.generation import Sampling, generate
from hanlin.metrics.score import signature
from hanlin.metrics.summaries import rouge_values
from hanlin.metrics.units import Units
from hanlin.models.transformer import Transformer
from hanlin.tasks.language import LanguageModel
from hanlin.tasks.model import Model
from hanlin.tasks.writing import Seq2SeqModel
from hanlin.tokenizers import Tokenizer
from hanlin.training.objectives.instruct import Instruct, set_template
from hanlin.training.objectives.seq2seq import Seq2Seq

Record = PairRecord | Conversation
TOGETHER = 64
"""Sequences written at a time; changes no text."""
GLANCE = 200
"""Records written for a look while training, at most."""
_LONGEST = 128
"""Tokens written for a look while training, where the objective does not say."""


@dataclass(frozen=True)
class Written:
    """One text beside what it should have been."""

    source: str
    said: str
    references: tuple[str, ...]
    rouge: float
    """ROUGE-L, 0 to 1."""


def measure(
    model: Model,
    records: Sequence[Record],
    *,
    objective: Seq2Seq | Instruct,
    metrics: Sequence[str] | None = None,
    metric_settings: Mapping[str, Mapping[str, Any]] | None = None,
    decoding: Mapping[str, Any] | None = None,
    together: int = TOGETHER,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Judged:
    """What the model writes for each record, by these metrics (None: `written_metrics.DEFAULT`).

    objective: says how a record is put to a model that does not know itself. metric_settings: of
    metrics, by their name (see `written_metrics.MetricSettings`). decoding: settings of generation
    other than the model's own; without a temperature nothing is drawn. Sources that are too long
    lose their end, conversations their oldest turns; records that are still too long are left out.
    All of that is told. Raises `ConfigError` for a metric or setting that there is not,
    `InputError` for a model that writes nothing and where every record is too long.
    """
    scorer = Scorer.of(metrics, metric_settings)
    begin = time.perf_counter()
    writer, settings = _prepared(model, records, objective, decoding, seed)
    asked = _asked(writer, records, room=settings.max_new_tokens)
    records = [record for record, fits in zip(records, asked.fit, strict=True) if fits]
    prompts = [ids for ids, fits in zip(asked.prompts, asked.fit, strict=True) if fits]
    references = [those for those, fits in zip(asked.references, asked.fit, strict=True) if fits]
    notes = (*asked.notes, *scorer.notes(references))
    if not records:
        raise InputError(
            f"Every record is longer than the {writer.context} tokens that {model.name} reads. "
            "Give shorter ones."
        )
    if out := len(asked.fit) - len(records):
        notes += (f"{out} of {len(asked.fit)} records are too long for the model and left out.",)
    scorer.check(references)
    found = generate(
        writer.network, writer.tokenizer, prompts, settings, together=together, progress=progress
    )
    said = [sequences[0].text.strip() for sequences in found]
    seconds = time.perf_counter() - begin
    way = signature(
        decode="beam" if settings.beams > 1 else "draw" if settings.draws else "greedy",
        beams=settings.beams if settings.beams > 1 else None,
        max=settings.max_new_tokens,
    )
    units = {
        name: Units(of.statistics, of.function, f"{of.about}|{way}")
        for name, of in scorer.units(said, references).items()
    }
    scores, missing = scorer.of_texts(said)
    scores |= {name: of.score(seed=seed) for name, of in units.items()}
    return Judged(
        name=model.name,
        metrics={name: scores[name] for name in scorer.names if name in scores},
        units=units,
        predictions=said,
        details=_shown(records, said, references),
        seconds=seconds,
        notes=(*notes, *missing),
    )


def usable(
    model: Model,
    records: Sequence[Record],
    *,
    objective: Seq2Seq | Instruct,
    decoding: Mapping[str, Any] | None = None,
    seed: int = 0,
    **settings: Any,
) -> list[bool]:
    """Whether the model can read each record, cut as far as it can be. Raises as `measure` does."""
    writer, sampling = _prepared(model, records, objective, decoding, seed)
    return _asked(writer, records, room=sampling.max_new_tokens).fit


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


def _prepared(
    model: Model,
    records: Sequence[Record],
    objective: Seq2Seq | Instruct,
    decoding: Mapping[str, Any] | None,
    seed: int,
) -> tuple[LanguageModel, Sampling]:
    """The model as it is asked, and how it decodes."""
    refuse_kind(model, LanguageModel, lacks="writes nothing", remedy="Give one that does.")
    assert isinstance(model, LanguageModel)
    writer = _writer(model, records, objective)
    return writer, writer.settings(**_decided(writer, decoding or {}, seed))


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


@dataclass(frozen=True)
class _Asked:
    """What a model reads for each record, and what it should write."""

    prompts: list[list[int]]
    references: References
    fit: list[bool]
    """Whether the model can read it and has a token left to write."""
    notes: tuple[str, ...]
    """What was cut."""


def _asked(model: LanguageModel, records: Sequence[Record], *, room: int) -> _Asked:
    """The records as the model reads them, those that are too long as far as they can be cut.

    room: tokens that a decoder is to have left for writing.
    """
    length = most = model.context
    if length is not None and model.network.config.shape == "decoder":
        length, most = length - min(room, length // 2), length - 1
    chats = [record for record in records if isinstance(record, Conversation)]
    pairs = [record for record in records if isinstance(record, PairRecord)]
    if chats:
        found = [_chat(model, chat, length) for chat in chats]
        prompts, cut = [ids for ids, _ in found], sum(shorter for _, shorter in found)
        references = [[str(chat.messages[-1].get("content", ""))] for chat in chats]
        said = f"conversations are longer than {length} tokens and lose their oldest turns."
    else:
        assert isinstance(model, Seq2SeqModel)
        prompts = model.template.read([pair.source.strip() for pair in pairs], model.tokenizer)
        references = [list(pair.targets) for pair in pairs]
        long = [at for at, ids in enumerate(prompts) if length is not None and len(ids) > length]
        for at in long:
            assert length is not None
            source = pairs[at].source.strip()
            prompts[at] = model.template.cut(source, model.tokenizer, length=length)
        cut = len(long)
        said = f"sources are longer than {length} tokens and lose their end."
    fit = [most is None or len(ids) <= most for ids in prompts]
    return _Asked(prompts, references, fit, (f"{cut} of {len(records)} {said}",) if cut else ())


def _chat(model: LanguageModel, chat: Conversation, length: int | None) -> tuple[list[int], bool]:
    """A conversation up to its last answer, and whether turns were left out: the oldest, until it
    has `length` tokens or begins with the last question. The system's instructions stay."""
    tools = list(chat.tools) if chat.tools else None
    messages = list(chat.messages[:-1])
    first = next((at for at, one in enumerate(messages) if one["role"] != "system"), 0)
    questions = [at for at, one in enumerate(messages) if one["role"] == "user" and at > first]
    ids = model.tokenizer.encode_chat(messages, tools=tools)
    shorter = False
    for at in questions:
        if length is None or len(ids) <= length:
            break
        ids = model.tokenizer.encode_chat(messages[:first] + messages[at:], tools=tools)
        shorter = True
    return ids, shorter


def _decided(model: LanguageModel, decoding: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The settings with nothing left to chance that was not asked for."""
    decided = dict(decoding)
    if not model.settings(**decided).draws:
        return decided
    if decided.get("temperature"):
        return {"seed": seed} | decided
    return decided | {"temperature": 0}


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
