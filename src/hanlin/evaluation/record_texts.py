"""What can be read in a record of any task: what is looked for in training text."""

from collections.abc import Sequence

from hanlin.data.classify_records import ClassifyRecord
from hanlin.data.conll import TaggedText
from hanlin.data.conversations import Conversation
from hanlin.data.pairs import PairRecord
from hanlin.data.preferences import Preference
from hanlin.data.squad import Question
from hanlin.tokenizers.chat import Message
from hanlin.training.objectives.embed import EmbedRecord

Record = (
    ClassifyRecord | TaggedText | Question | PairRecord | Conversation | EmbedRecord | Preference
)


def texts_in(record: Record) -> list[str]:
    """The texts of a record, each of which may stand in a training text by itself."""
    match record:
        case ClassifyRecord():
            return [record.text, *([] if record.text_pair is None else [record.text_pair])]
        case TaggedText():
            return [record.text]
        case Question():
            return [record.question, record.context]
        case PairRecord():
            return [record.source, *record.targets]
        case EmbedRecord():
            return [record.anchor, record.positive]
        case Preference():
            return [_said([*record.messages, record.chosen])]
        case Conversation():
            return [_said(record.messages)]


def _said(messages: Sequence[Message]) -> str:
    return "\n".join(str(message.get("content") or "") for message in messages)
