"""SentencePiece's ``.model`` file: a protocol buffer, read into a `PieceTable`.

The schema is ``sentencepiece_model.proto`` of google/sentencepiece; the numbers below are its field
numbers.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from hanlin.errors import FormatError
from hanlin.formats.protobuf import read_fields
from hanlin.tokenizers.sentencepiece import NORMAL, PieceTable

_MODELS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}


@dataclass(frozen=True, kw_only=True)
class SentencePieceFile:
    """A ``.model`` file: its vocabulary, and which pieces are unknown, beginning, end, padding."""

    table: PieceTable
    unk: int = 0
    """Ids; -1 where the model has no such piece."""
    bos: int = 1
    eos: int = 2
    pad: int = -1

    def piece(self, token_id: int) -> str | None:
        """Return the text of the piece with this id, or None for -1."""
        return self.table.pieces[token_id] if 0 <= token_id < len(self.table.pieces) else None


def read_model(path: Path) -> SentencePieceFile:
    """Read a ``.model`` file. Raises `FormatError` where it is not one of an encodable kind."""
    try:
        return parse_model(path.read_bytes())
    except FormatError as error:
        raise FormatError(f"{path.name} is not a SentencePiece model: {error}") from error


def parse_model(content: bytes) -> SentencePieceFile:
    """Read the bytes of a ``.model`` file; see `read_model`."""
    pieces: list[str] = []
    scores: list[float] = []
    kinds: list[int] = []
    model_type = 1
    ids = {"unk": 0, "bos": 1, "eos": 2, "pad": -1}
    charsmap = b""
    flags = {"prefix": True, "squeeze": True, "escape": True, "suffix": False}
    for field in read_fields(content):
        if field.number == 1:
            piece, score, kind = _piece(field.data())
            pieces.append(piece)
            scores.append(score)
            kinds.append(kind)
        elif field.number == 2:  # trainer_spec
            for inner in read_fields(field.data()):
                match inner.number:
                    case 3:
                        model_type = inner.integer()
                    case 24:
                        flags["suffix"] = inner.boolean()
                    case 40 | 41 | 42 | 43:
                        ids[("unk", "bos", "eos", "pad")[inner.number - 40]] = inner.integer()
        elif field.number == 3:  # normalizer_spec
            for inner in read_fields(field.data()):
                match inner.number:
                    case 2:
                        charsmap = bytes(inner.data())
                    case 3:
                        flags["prefix"] = inner.boolean()
                    case 4:
                        flags["squeeze"] = inner.boolean()
                    case 5:
                        flags["escape"] = inner.boolean()
    model = _MODELS.get(model_type)
    if model not in ("unigram", "bpe"):
        raise FormatError(
            f"Its algorithm is {model or model_type!r}, and hanlin reads unigram and bpe. "
            "Train the model with --model_type=unigram or bpe."
        )
    if flags["suffix"]:
        raise FormatError(
            "It writes spaces after words (treat_whitespace_as_suffix), which hanlin does not "
            "read. Train the model without that option."
        )
    table = PieceTable(
        model="unigram" if model == "unigram" else "bpe",
        pieces=tuple(pieces),
        scores=tuple(scores),
        kinds=tuple(kinds),
        charsmap=charsmap,
        add_dummy_prefix=flags["prefix"],
        remove_extra_whitespaces=flags["squeeze"],
        escape_whitespaces=flags["escape"],
    )
    return SentencePieceFile(table=table, **ids)


def _piece(message: memoryview) -> tuple[str, float, int]:
    piece, score, kind = "", 0.0, NORMAL
    for field in read_fields(message):
        match field.number:
            case 1:
                piece = field.text()
            case 2:
                score = field.float32()
            case 3:
                kind = field.integer()
    return piece, score, kind


def fairseq_order(table: PieceTable, *, after: tuple[str, ...]) -> PieceTable:
    """Renumber pieces as fairseq's models (XLM-R, mBART) do.

    ``<s> <pad> </s> <unk>`` come first whatever the file says, its own pieces follow from its third
    on, and the tokens of `after` come last.
    """
    from hanlin.tokenizers.sentencepiece import CONTROL, UNKNOWN

    return replace(
        table,
        pieces=("<s>", "<pad>", "</s>", "<unk>", *table.pieces[3:], *after),
        scores=(0.0, 0.0, 0.0, 0.0, *table.scores[3:], *(0.0 for _ in after)),
        kinds=(CONTROL, CONTROL, CONTROL, UNKNOWN, *table.kinds[3:], *(CONTROL for _ in after)),
    )


def append_tokens(table: PieceTable, tokens: tuple[str, ...]) -> PieceTable:
    """Add control tokens behind the file's own pieces, as T5 adds its ``<extra_id_N>``."""
    from hanlin.tokenizers.sentencepiece import CONTROL

    return replace(
        table,
        pieces=(*table.pieces, *tokens),
        scores=(*table.scores, *(0.0 for _ in tokens)),
        kinds=(*table.kinds, *(CONTROL for _ in tokens)),
    )
