"""Sequence to sequence: pairs from files, cut and counted, smoothed as PyTorch smooths."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import tokenizers as rust
import torch
import torch.nn.functional as F
from objective_cases import CASES, TEXTS, Case, tokenizer_of

from hanlin.data.batch import IGNORE
from hanlin.data.framing import Frame
from hanlin.data.loader import Loader
from hanlin.data.pairs import PairRecord, read_pair_records, read_pairs
from hanlin.errors import ConfigError, FormatError, HanlinError, InputError
from hanlin.tokenizers import SpecialTokens, Tokenizer, train
from hanlin.tokenizers.bytelevel import around
from hanlin.training.objectives import Seq2Seq

PAIRS = [("a cat", "一只猫"), ("two dogs", "两只狗"), ("it is 3.14", "是 3.14")]


def records(pairs: Iterable[tuple[str, str]]) -> list[PairRecord]:
    return [PairRecord(source, (target,)) for source, target in pairs]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("family", ["bart", "t5", "marian"])
def test_the_loss_is_that_of_pytorch(smoothing: float, family: str) -> None:
    case = Case(Seq2Seq(smoothing=smoothing), family)
    model = case.model(dtype=torch.float64).train()
    if model.head.projection.bias is not None:
        torch.nn.init.normal_(model.head.projection.bias)
    batch = Loader(case.examples(), case.objective.collate, sequences=5, seed=0).step(0)[0]

    def expected() -> torch.Tensor:
        decoder = model.shift(batch.targets.clamp(min=0))
        logits = model(batch.ids, batch.mask, decoder).logits.flatten(0, 1)
        return F.cross_entropy(
            logits, batch.targets.flatten(), reduction="sum", label_smoothing=smoothing
        )

    parameters = [p for p in model.parameters() if p.requires_grad]
    ours, theirs = case.objective.loss(model, batch), expected()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    mine = torch.autograd.grad(ours, parameters, allow_unused=True)
    plain = torch.autograd.grad(theirs, parameters, allow_unused=True)
    for one, other in zip(mine, plain, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_validation_is_not_smoothed() -> None:
    case = CASES["seq2seq, smoothed"]
    model = case.model(dtype=torch.float64).eval()
    batch = case.objective.collate([case.examples().example(0, 0)])
    plain = Seq2Seq().loss(model, batch)
    assert case.objective.loss(model, batch).item() == plain.item()
    assert case.objective.loss(model.train(), batch).item() != plain.item()


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
def test_texts_stand_in_the_frame_of_their_tokenizer(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    examples = Seq2Seq().examples(
        records((t, t[:9]) for t in TEXTS), tokenizer=tokenizer, length=64, seed=0
    )
    end = tokenizer.eos_id if tokenizer.eos_id is not None else tokenizer.sep_id
    for index, text in enumerate(TEXTS):
        example = examples.example(index, 0)
        for ids, whole in ((example.ids, text), (example.targets, text[:9])):
            encoded = tokenizer.encode(whole)
            assert ids.tolist() == (encoded if encoded[-1] == end else [*encoded, end])
    assert examples.truncated == 0
    assert examples.lengths.tolist() == [
        [len(examples.example(i, 0).ids), len(examples.example(i, 0).targets)]
        for i in range(len(examples))
    ]


def test_what_is_too_long_is_cut_and_counted() -> None:
    tokenizer = tokenizer_of("bpe")
    pairs = records([("cat " * 30, "dog"), ("cat", "dog " * 30), ("cat", "dog")])
    examples = Seq2Seq(target_length=8).examples(pairs, tokenizer=tokenizer, length=12, seed=0)
    assert examples.truncated == 2
    assert examples.notes[0].startswith("2 of 3 pairs are longer than 12 or 8 tokens")
    read = [examples.example(i, 0) for i in range(3)]
    assert len(read[0].ids) == 12
    assert len(read[1].targets) == 8
    assert all(r.ids[-1] == r.targets[-1] == tokenizer.eos_id for r in read)
    assert examples.lengths.tolist() == [[len(r.ids), len(r.targets)] for r in read]


def test_padding_is_small_and_masked() -> None:
    generator = np.random.default_rng(0)
    tokenizer = tokenizer_of("bpe")
    texts = ["cat " * int(n) for n in generator.integers(1, 60, 3000)]
    pairs = records((text, text) for text in texts)
    objective = Seq2Seq()
    examples = objective.examples(pairs, tokenizer=tokenizer, length=512, seed=0)
    loader = Loader(examples, objective.collate, sequences=16, seed=0)
    batches = [loader.step(n)[0] for n in range(64)]
    places = sum(batch.targets.numel() for batch in batches)
    wasted = 1 - sum(batch.target_tokens for batch in batches) / places
    print(f"padding {wasted:.3f}")
    assert wasted < 0.05
    assert loader.notes == (f"About {wasted:.1%} of the tokens read will be padding.",)
    for batch in batches[:5]:
        assert batch.decoder_ids is not None
        real = torch.ones_like(batch.ids, dtype=torch.bool) if batch.mask is None else batch.mask
        assert (batch.ids[~real] == 0).all()
        assert ((batch.targets == batch.decoder_ids) | (batch.targets == IGNORE)).all()


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_pairs_are_read_from_columns(tmp_path: Path) -> None:
    tsv = write(tmp_path / "a.tsv", "".join(f"{a}\tx\t{b}\n" for a, b in PAIRS))
    assert list(read_pairs(tsv, source="1", target="3")) == PAIRS
    csv = write(tmp_path / "b.csv", "en,zh\n" + "".join(f"{a},{b}\n" for a, b in PAIRS))
    assert list(read_pairs(csv, source="zh", target="en")) == [(b, a) for a, b in PAIRS]
    lines = [json.dumps({"t": {"en": a, "zh": b}}) + "\n" for a, b in PAIRS]
    jsonl = write(tmp_path / "c.jsonl", "".join(lines))
    assert list(read_pairs([jsonl], source="t.en", target="t.zh")) == PAIRS


def test_pairs_are_read_from_two_files_line_by_line(tmp_path: Path) -> None:
    first = tmp_path / "train.en.gz"
    first.write_bytes(gzip.compress("\n".join(["a cat", "", "two dogs"]).encode()))
    second = write(tmp_path / "train.zh", "一只猫\r\n\r\n两只狗\r\n")
    assert list(read_pairs([first, second])) == [
        ("a cat", "一只猫"),
        ("", ""),
        ("two dogs", "两只狗"),
    ]
    short = write(tmp_path / "short.zh", "一只猫\n")
    with pytest.raises(FormatError, match="more texts"):
        list(read_pairs([first, short]))


def test_pairs_are_read_from_translations(tmp_path: Path) -> None:
    po = write(
        tmp_path / "a.po",
        'msgid ""\nmsgstr "Language: zh"\n\nmsgid "a cat"\nmsgstr "一只猫"\n\n'
        '#, fuzzy\nmsgid "x"\nmsgstr "y"\n\nmsgid "untranslated"\nmsgstr ""\n',
    )
    assert list(read_pairs(po)) == [("a cat", "一只猫")]
    assert list(read_pairs(po, source="msgstr", target="msgid")) == [("一只猫", "a cat")]


def test_half_a_pair_is_refused_with_its_place(tmp_path: Path) -> None:
    jsonl = write(tmp_path / "a.jsonl", '{"a": "x", "b": "y"}\n{"a": "x", "b": null}\n')
    with pytest.raises(FormatError, match=r"both sides.*line 2"):
        list(read_pairs(jsonl, source="a", target="b"))
    with pytest.raises(HanlinError, match="no column"):
        list(read_pairs(write(tmp_path / "b.csv", "en,zh\na,b\n"), source="en", target="de"))
    with pytest.raises(FormatError, match="no columns"):
        list(read_pairs(write(tmp_path / "c.txt", "a\n"), source="1", target="2"))
    with pytest.raises(InputError, match="belong together"):
        list(read_pairs(write(tmp_path / "d.tsv", "a\tb\n")))


def test_a_real_set_of_translations_is_read(shared_data: Path) -> None:
    folder = shared_data / "multi30k"
    files = sorted(folder.rglob("val.en.gz")) + sorted(folder.rglob("val.de.gz"))
    pairs = list(read_pairs(files))
    assert len(pairs) == 1014
    tokenizer = train(
        (text for pair in pairs for text in pair),
        kind="bpe",
        vocab_size=2000,
        special_tokens=["<pad>", "</s>"],
    )
    examples = Seq2Seq().examples(records(pairs), tokenizer=tokenizer, length=64, seed=0)
    for index in (0, 500, 1013):
        example = examples.example(index, 0)
        assert tokenizer.decode(example.ids[:-1].tolist()) == pairs[index][0]
        assert tokenizer.decode(example.targets[:-1].tolist()) == pairs[index][1]


def test_frames() -> None:
    assert Frame.of(tokenizer_of("bpe")) == Frame((), (tokenizer_of("bpe").eos_id,))
    wordpiece = tokenizer_of("wordpiece")
    assert Frame.of(wordpiece) == Frame((wordpiece.cls_id,), (wordpiece.sep_id,))


def test_a_frame_is_found_where_latin_letters_are_unknown() -> None:
    backend = rust.Tokenizer(rust.models.BPE({"<s>": 0, "</s>": 1, "词": 2}, []))
    backend.add_special_tokens(["<s>", "</s>"])
    around(backend, before=["<s>"], after=["</s>"])
    tokenizer = Tokenizer(backend, special=SpecialTokens(bos="<s>", eos="</s>"))
    assert tokenizer.encode("a", add_special_tokens=False) == []
    assert Frame.of(tokenizer) == Frame((0,), (1,))


def test_records_are_read_from_every_layout(tmp_path: Path) -> None:
    told: list[str] = []
    expected = records(PAIRS)
    tsv = write(tmp_path / "a.txt", "".join(f"{a}\t{b}\tCC BY\n" for a, b in PAIRS))
    assert read_pair_records(tsv, columns={"source": "1", "target": "2"}, tell=told.append) == (
        expected
    )
    named = write(tmp_path / "b.csv", "原文,译文\n" + "".join(f"{a},{b}\n" for a, b in PAIRS))
    assert read_pair_records(named, columns={}) == expected
    lines = [json.dumps({"translation": {"en": a, "zh": b}}) + "\n" for a, b in PAIRS]
    nested = write(tmp_path / "c.jsonl", "".join(lines))
    columns = {"source": "translation.en", "target": "translation.zh"}
    assert read_pair_records(nested, columns=columns) == expected
    sides = [
        write(tmp_path / f"{side}.txt", "".join(f" {pair[at]} \n" for pair in PAIRS))
        for at, side in enumerate(("en", "zh"))
    ]
    assert read_pair_records(sides, columns={}) == expected
    po = write(tmp_path / "a.po", 'msgid "a cat"\nmsgstr "一只猫"\n')
    assert read_pair_records(po, columns={}) == expected[:1]


def test_several_references_are_kept_and_the_first_is_learnt(tmp_path: Path) -> None:
    row = {"dialogue": "A: hi", "summary1": "They greet.", "summary2": "A says hi."}
    path = write(tmp_path / "a.jsonl", json.dumps(row) + "\n")
    [record] = read_pair_records(path, columns={"target": "summary1, summary2"})
    assert record == PairRecord("A: hi", ("They greet.", "A says hi."))
    assert record.target == "They greet."
    [record] = read_pair_records(path, columns={})
    assert record.targets == ("They greet.",)
    listed = write(tmp_path / "b.jsonl", '{"source": "hi", "target": ["你好", "嗨"]}\n')
    assert read_pair_records(listed, columns={}) == [PairRecord("hi", ("你好", "嗨"))]
    with pytest.raises(InputError, match="target is null"):
        read_pair_records(
            write(tmp_path / "c.jsonl", '{"source": "hi", "target": [null]}'), columns={}
        )


def test_bad_rows_are_counted_and_left_out_when_asked(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        '{"source": "x", "target": "y"}\n{"source": "x"}\nnonsense\n'
        '{"source": " ", "target": "y"}\n',
    )
    with pytest.raises(InputError, match=r"3 of 4 rows.*row 2.*target"):
        read_pair_records(path, columns={})
    told: list[str] = []
    assert read_pair_records(path, columns={}, skip_bad=True, tell=told.append) == [
        PairRecord("x", ("y",))
    ]
    assert "3 of 4" in told[-1]


def test_a_prefix_stands_before_every_source() -> None:
    tokenizer = tokenizer_of("unigram")
    objective = Seq2Seq(template="say it: {source} !")
    pairs = [("A token is a word.", "词元"), ("A token is a word. " * 20, "词元")]
    examples = objective.examples(records(pairs), tokenizer=tokenizer, length=40, seed=0)
    whole = examples.example(0, 0).ids.tolist()
    assert whole == tokenizer.encode("say it: A token is a word. !") or whole == [
        *tokenizer.encode("say it: A token is a word. !"),
        tokenizer.eos_id,
    ]
    cut = examples.example(1, 0).ids.tolist()
    assert len(cut) == 40
    assert tokenizer.decode(cut).startswith("say it: A token is a word.")
    assert tokenizer.decode(cut[:-1]).endswith("!")
    assert cut[-1] == whole[-1] == tokenizer.eos_id
    assert examples.truncated == 1


def test_a_decoder_learns_the_target_alone(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("bpe")
    objective = Seq2Seq(template="{source}\n=> {target}")
    pairs = [("a cat", "一只猫"), ("What is a token?", "什么是词元？"), ("cat " * 40, "dog " * 40)]
    examples = objective.examples(records(pairs), tokenizer=tokenizer, length=32, seed=0)
    batch = objective.collate([examples.example(i, 0) for i in range(3)])
    assert batch.ids.shape == batch.targets.shape
    assert batch.ids.shape[1] <= 31
    assert examples.truncated == 1
    for row, (source, target) in enumerate(pairs[:2]):
        asked = batch.targets[row] != IGNORE
        assert tokenizer.decode(batch.targets[row][asked].tolist()[:-1]) == f" {target}"
        assert batch.targets[row][asked][-1] == tokenizer.eos_id
        first = int(asked.nonzero()[0])
        # What the model has read when it is asked for the first token.
        assert tokenizer.decode(batch.ids[row, : first + 1].tolist()) == f"{source}\n=>"
        assert batch.ids[row, first + 1 :][: int(asked.sum()) - 1].tolist() == (
            batch.targets[row][asked][:-1].tolist()
        )
    assert batch.target_tokens == int((batch.targets != IGNORE).sum())
    long = examples.example(2, 0)
    assert tokenizer.decode(long.ids.tolist()).endswith("\n=>")
    assert long.targets[-1] == tokenizer.eos_id


def test_a_decoders_loss_is_that_of_the_targets_given_all_before(tmp_path: Path) -> None:
    case = Case(Seq2Seq(template="{source}\n=> {target}"), "llama")
    model = case.model(dtype=torch.float64).eval()
    examples = case.examples()
    batch = case.objective.collate([examples.example(i, 0) for i in range(len(examples))])
    expected = 0.0
    for i in range(len(examples)):
        example = examples.example(i, 0)
        ids = torch.from_numpy(np.concatenate([example.ids, example.targets]))[None]
        logits = model(ids).logits.log_softmax(-1)
        for at, token in enumerate(example.targets, start=len(example.ids)):
            expected -= float(logits[0, at - 1, token])
    assert case.objective.loss(model, batch).item() == pytest.approx(expected, rel=1e-9)


def test_the_template_must_suit_the_model() -> None:
    case = Case(Seq2Seq(), "llama")
    decoder, both = case.model().config, Case(Seq2Seq(), "t5", "unigram").model().config
    assert Seq2Seq().fitted([], decoder).template == "{source}\n=> {target}"
    assert Seq2Seq().fitted([], both).template == "{source}"
    with pytest.raises(ConfigError, match=r"end it with \{target\}"):
        Seq2Seq(template="Say: {source}").fitted([], decoder)
    with pytest.raises(ConfigError, match="leave"):
        Seq2Seq(template="{source} => {target}").fitted([], both)
    for wrong in ("no place", "{source} {source}", "{source} {target} so", "{target}"):
        with pytest.raises(ConfigError, match="template"):
            Seq2Seq(template=wrong)


def test_the_length_of_decoding_is_that_of_nearly_all_targets() -> None:
    tokenizer = tokenizer_of("bpe")
    targets = ["a " * n for n in [3] * 990 + [40] * 10]
    objective = Seq2Seq(beams=3, length_penalty=0.6)
    examples = objective.examples(
        records(("cat", target) for target in targets), tokenizer=tokenizer, length=99, seed=0
    )
    sizes = sorted(len(examples.example(i, 0).targets) for i in range(1000))
    found = objective.decoding(examples)
    assert found == {
        "do_sample": False,
        "num_beams": 3,
        "length_penalty": 0.6,
        "max_new_tokens": sizes[995],
    }
