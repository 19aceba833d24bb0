"""A model trained on pairs is a function that decodes as it was trained, whatever the batch."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import hanlin
from hanlin.errors import ConfigError, InputError
from hanlin.generation import Sampling, generate
from hanlin.tasks import LanguageModel, Seq2SeqModel
from hanlin.training.run import train
from tiny_models import CORPUS, save_decoder

WORDS = [word for text in CORPUS[:5] for word in text.split()]
TINY = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "max_context": 64}


def pairs(count: int, seed: int) -> list[tuple[str, str]]:
    draw = random.Random(seed)
    sources = [" ".join(draw.choices(WORDS, k=draw.randint(1, 8))) for _ in range(count)]
    return [(source, " ".join(reversed(source.split()))) for source in sources]


def learnt(folder: Path, model: Any, **objective: Any) -> Path:
    """The directory of a model that reverses words, badly: it has seen 12 steps."""
    for side in (0, 1):
        text = "".join(f"{pair[side]}\n" for pair in pairs(60, 0))
        (folder / f"{side}.txt").write_text(text, encoding="utf-8")
    config: dict[str, Any] = {
        "model": model,
        "objective": {"name": "seq2seq", "beams": 3, **objective},
        "data": {"train": [str(folder / "0.txt"), str(folder / "1.txt")], "validation": "10%"},
        "batch": {"tokens": 300, "length": 60},
        "average": 0.9,
        "duration": "12 steps",
        "optimizer": {"lr": 0.01},
        "output": str(folder / "run"),
    }
    if isinstance(model, dict):
        config["tokenizer"] = {"kind": "bpe", "vocab_size": 380}
    result = train(config, watchers=[])
    assert result.finished
    return folder / "run"


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learnt(
        tmp_path_factory.mktemp("translator"),
        {"family": "vaswani", **TINY},
        template="turn: {source}",
        smoothing=0.1,
    )


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decoder")
    base = save_decoder(folder / "base", chat=False)
    return learnt(folder, str(base))


def test_what_was_trained_is_remembered(translator: Path, decoder: Path) -> None:
    for directory, template in (
        (translator, "turn: {source}"),
        (decoder, "{source}\n=> {target}"),
    ):
        task = json.loads((directory / "hanlin.json").read_text())["task"]
        assert (task["name"], task["template"], task["pairs"]) == ("seq2seq", template, 54)
        generation = json.loads((directory / "generation_config.json").read_text())
        assert generation["num_beams"] == 3
        assert generation["do_sample"] is False
        model = hanlin.load(directory)
        assert isinstance(model, Seq2SeqModel)
        assert isinstance(model, LanguageModel)
        longest = max(
            len(model.tokenizer.encode(target, add_special_tokens=False)) + 1
            for _, target in pairs(60, 0)
        )
        assert 0.5 * longest < generation["max_new_tokens"] <= longest + 1


def test_a_text_gives_a_text_and_a_list_a_list(translator: Path, decoder: Path) -> None:
    for directory in (translator, decoder):
        model = hanlin.load(directory, dtype="float32")
        one = model("one token after the other")
        assert isinstance(one, str)
        assert one == one.strip()
        assert model(["one token after the other"]) == [one]
        assert model([]) == []


def test_it_tells_which_texts_it_can_read(translator: Path, decoder: Path) -> None:
    for directory in (translator, decoder):
        model = hanlin.load(directory, dtype="float32")
        texts = [("one " * length).strip() for length in range(1, 130)]
        fits = model.fits(texts)
        longest = fits.index(False)
        assert fits == [True] * longest + [False] * (129 - longest)
        told: list[int] = []
        model(texts[longest - 1 : longest], max_new_tokens=1, progress=told.append)
        assert told == [1]
        with pytest.raises(InputError, match="Shorten or split"):
            model(texts[longest])


def wild(directory: Path) -> Any:
    """The model with weights that make every text another one."""
    model = hanlin.load(directory, dtype="float32")
    torch.manual_seed(11)
    for parameter in model.network.parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randn(parameter.shape) * 0.3
    return model


@pytest.mark.parametrize("sampling", [{}, {"beams": 1}, {"beams": 5, "length_penalty": 0.4}])
def test_the_batch_changes_nothing(
    translator: Path, decoder: Path, sampling: dict[str, Any]
) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    sources = [source for source, _ in pairs(33, seed)]
    for directory in (translator, decoder):
        model = wild(directory)
        alone = [model(source, **sampling) for source in sources]
        assert len(set(alone)) > 10
        for together in (1, 32, 128):
            assert model(sources, together=together, **sampling) == alone


def test_it_decodes_what_its_template_makes(translator: Path, decoder: Path) -> None:
    text = "one token after"
    model = hanlin.load(translator, dtype="float32")
    ids = model.tokenizer.encode(f"turn: {text}")
    assert ids[-1] == model.tokenizer.eos_id
    [[expected]] = generate(model.network, model.tokenizer, [ids], model.settings())
    assert model(text) == expected.text.strip()
    assert expected.prompt_tokens == len(ids)
    model = hanlin.load(decoder, dtype="float32")
    ids = model.tokenizer.encode(f"{text}\n=>", add_special_tokens=False)
    settings = Sampling(beams=3, temperature=0.0, max_new_tokens=model.settings().max_new_tokens)
    [[expected]] = generate(model.network, model.tokenizer, [ids], settings)
    assert model(text) == expected.text.strip()


def test_decoding_can_be_overridden(translator: Path) -> None:
    model = hanlin.load(translator, dtype="float32")
    assert model.settings().beams == 3
    short = model("one token after the other", max_new_tokens=2)
    assert len(model.tokenizer.encode(short, add_special_tokens=False)) <= 3
    assert model("one token", beams=1) == model("one token", beams=1, together=1)
    assert model.generate("one token")[0].text is not None
    with pytest.raises(ConfigError, match="one text for each"):
        model("one", n=2, beams=2)
    with pytest.raises(ConfigError, match="beems"):
        model("one", beems=2)
    with pytest.raises(InputError, match="number 2 is empty"):
        model(["one", " "])


def test_an_encoder_decoder_without_a_task_is_a_function_too(
    translator: Path, tmp_path: Path
) -> None:
    network = hanlin.models.load(translator)
    model = hanlin.load(translator)
    hanlin.models.directory.save_directory(network, tmp_path / "bare", tokenizer=model.tokenizer)
    bare = hanlin.load(tmp_path / "bare", dtype="float32")
    assert isinstance(bare, Seq2SeqModel)
    assert bare.template.text == "{source}"
    assert bare.settings().temperature == 0
    assert isinstance(bare("one token", max_new_tokens=5), str)


def test_a_template_of_another_shape_is_refused(translator: Path) -> None:
    model = hanlin.load(translator)
    with pytest.raises(ConfigError, match="does not go with its template"):
        Seq2SeqModel(model.network, model.tokenizer, name="x", template="{source} => {target}")


def test_evaluation_and_use_have_the_averaged_weights(translator: Path) -> None:
    checkpoint = max((translator / "checkpoints").glob("step-*"))
    raw = hanlin.models.load(checkpoint)
    found = hanlin.models.load(translator)
    assert not torch.equal(raw.embedding.weight, found.embedding.weight)
