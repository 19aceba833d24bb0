"""Encoder-decoders agree with transformers: logits, labels, greedy and beam text, directories."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from against_transformers import (
    PAD,
    VOCABULARY,
    batch,
    check_round_trip,
    close,
    make,
    ours,
    pad,
    rows_of,
    same_tensors,
)
from torch import Tensor, nn

from hanlin.errors import ConfigError, FormatError, InputError
from hanlin.generation import Sampling, generate
from hanlin.models import load
from hanlin.models.directory import save_directory
from hanlin.models.families import family_of
from hanlin.models.transformer import Transformer

SEEDS = range(3)
ENDS = [2, 9, 13, 20, 27, 33, 41, 50, 58]


def _t5_size(draw: random.Random) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "d_model": draw.choice([9, 16, 20]),
        "d_kv": draw.choice([3, 4, 6]),
        "num_heads": draw.choice([3, 4, 5]),
        "d_ff": draw.choice([13, 24]),
        "num_layers": draw.choice([1, 2, 3]),
        "num_decoder_layers": draw.choice([1, 2, 3]),
        "relative_attention_num_buckets": draw.choice([4, 8, 32]),
        "relative_attention_max_distance": draw.choice([20, 31, 128]),
        "layer_norm_epsilon": draw.choice([1e-6, 1e-5]),
        "dropout_rate": draw.choice([0.0, 0.1]),
        "pad_token_id": PAD,
        "decoder_start_token_id": draw.choice([PAD, 1]),
        "eos_token_id": 2,
    }


def _t5(draw: random.Random) -> Any:
    return transformers.T5Config(**_t5_size(draw), feed_forward_proj="relu")


def _t5_v1_1(draw: random.Random) -> Any:
    kind = draw.choice(["gated-gelu", "gated-silu"])
    return transformers.T5Config(
        **_t5_size(draw), feed_forward_proj=kind, tie_word_embeddings=False
    )


def _mt5(draw: random.Random) -> Any:
    return transformers.MT5Config(**_t5_size(draw))


def _towers(draw: random.Random) -> dict[str, Any]:
    heads, more = draw.choice([(3, 5), (5, 3), (1, 15), (3, 3), (15, 5)])
    return {
        "vocab_size": VOCABULARY,
        "d_model": 15 * draw.choice([1, 2]),
        "encoder_layers": draw.choice([1, 2, 3]),
        "decoder_layers": draw.choice([1, 2, 3]),
        "encoder_attention_heads": heads,
        "decoder_attention_heads": more,
        "encoder_ffn_dim": draw.choice([13, 24]),
        "decoder_ffn_dim": draw.choice([17, 24]),
        "max_position_embeddings": 40,
        "activation_function": draw.choice(["gelu", "relu", "silu", "gelu_new"]),
        "scale_embedding": draw.random() < 0.5,
        "dropout": draw.choice([0.0, 0.1]),
        "attention_dropout": draw.choice([0.0, 0.2]),
        "pad_token_id": PAD,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "forced_eos_token_id": 2,
        "decoder_start_token_id": draw.choice([2, PAD, 7]),
    }


def _bart(draw: random.Random) -> Any:
    return transformers.BartConfig(**_towers(draw))


def _mbart(draw: random.Random) -> Any:
    return transformers.MBartConfig(**_towers(draw))


def _marian(draw: random.Random) -> Any:
    return transformers.MarianConfig(**_towers(draw))


@dataclass(frozen=True)
class Kind:
    """One kind of model: how to draw its config, its classes, and how it differs from the rest."""

    config: Callable[[random.Random], Any]
    lm: str
    none: str
    classify: str | None = None
    untied: bool = False
    relative: bool = False
    """Positions are relative, so transformers too does not mind padding on the left."""


KINDS = {
    "t5": Kind(
        _t5, "T5ForConditionalGeneration", "T5Model", "T5ForSequenceClassification", relative=True
    ),
    "t5-v1.1": Kind(_t5_v1_1, "T5ForConditionalGeneration", "T5Model", untied=True, relative=True),
    "t5-v1.1-tied": Kind(_t5_v1_1, "T5ForConditionalGeneration", "T5Model", relative=True),
    "mt5": Kind(
        _mt5,
        "MT5ForConditionalGeneration",
        "MT5Model",
        "MT5ForSequenceClassification",
        untied=True,
        relative=True,
    ),
    "bart": Kind(
        _bart, "BartForConditionalGeneration", "BartModel", "BartForSequenceClassification"
    ),
    "mbart": Kind(_mbart, "MBartForConditionalGeneration", "MBartModel"),
    "marian": Kind(_marian, "MarianMTModel", "MarianModel"),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def _theirs(kind: str, seed: int, head: str = "lm", **changes: Any) -> nn.Module:
    config = KINDS[kind].config(random.Random(f"{kind} {seed}"))
    for name, value in changes.items():
        setattr(config, name, value)
    print(kind, seed, head, config.to_json_string())
    model = make(getattr(KINDS[kind], head), config, seed)
    if head == "lm":
        with torch.no_grad():
            if KINDS[kind].untied:
                model.lm_head.weight = nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.4)
            if hasattr(model, "final_logits_bias"):
                model.final_logits_bias.normal_()
    return model


def _texts(seed: int, start: int) -> tuple[list[Tensor], list[Tensor]]:
    """Sources and, for the decoder, targets that begin with its start token."""
    targets = batch(seed + 1000, longest=9)
    return batch(seed), [torch.cat([torch.tensor([start]), t]) for t in targets]


@pytest.mark.parametrize("seed", SEEDS)
@torch.no_grad()
def test_logits_agree_whatever_the_padding(kind: str, seed: int, tmp_path: Path) -> None:
    theirs = _theirs(kind, seed)
    model = ours(theirs, tmp_path / "theirs")
    sources, targets = _texts(seed, theirs.config.decoder_start_token_id)
    alone = [
        theirs(s[None], decoder_input_ids=t[None], output_hidden_states=True)
        for s, t in zip(sources, targets, strict=True)
    ]
    assert 0.2 < torch.cat([a.logits.flatten() for a in alone]).std() < 30
    for side in ("right", "left"):
        for decoder_side in ("right", "left"):
            ids, mask = pad(sources, side)
            decoder_ids, decoder_mask = pad(targets, decoder_side)
            out = model(ids, mask, decoder_ids, decoder_mask=decoder_mask)
            assert out.logits is not None
            for row, (logits, hidden) in enumerate(
                zip(rows_of(out.logits, decoder_mask), rows_of(out.hidden, decoder_mask),
                    strict=True)
            ):  # fmt: skip
                what = f"row {row}, source padded on the {side}, target on the {decoder_side}"
                close(logits, alone[row].logits[0], what)
                close(hidden, alone[row].decoder_hidden_states[-1][0], f"hidden of {what}")


@pytest.mark.parametrize("seed", SEEDS[:2])
@torch.no_grad()
def test_padded_batches_agree(kind: str, seed: int, tmp_path: Path) -> None:
    """What transformers says of a padded batch; on the left only where it ignores the padding."""
    theirs = _theirs(kind, seed)
    model = ours(theirs, tmp_path / "theirs")
    sources, targets = _texts(seed + 50, theirs.config.decoder_start_token_id)
    for side in ("right", "left") if KINDS[kind].relative else ("right",):
        ids, mask = pad(sources, side)
        decoder_ids, decoder_mask = pad(targets, side)
        expected = theirs(
            ids,
            attention_mask=mask,
            decoder_input_ids=decoder_ids,
            decoder_attention_mask=decoder_mask,
        ).logits
        logits = model(ids, mask, decoder_ids, decoder_mask=decoder_mask).logits
        assert logits is not None
        real = decoder_mask.bool()
        close(logits[real], expected[real], f"padded on the {side}")


@torch.no_grad()
def test_bare_stacks_agree(kind: str, tmp_path: Path) -> None:
    theirs = _theirs(kind, 11, "none")
    model = ours(theirs, tmp_path / "theirs")
    sources, targets = _texts(11, 1)
    ids, mask = pad(sources, "left")
    decoder_ids, decoder_mask = pad(targets, "right")
    out = model(ids, mask, decoder_ids, decoder_mask=decoder_mask)
    for row, hidden in enumerate(rows_of(out.hidden, decoder_mask)):
        expected = theirs(sources[row][None], decoder_input_ids=targets[row][None])
        close(hidden, expected.last_hidden_state[0], f"row {row}")


@pytest.mark.parametrize("seed", SEEDS[:3])
@pytest.mark.parametrize("kind", [name for name, k in KINDS.items() if k.classify])
@torch.no_grad()
def test_classifiers_agree(kind: str, seed: int, tmp_path: Path) -> None:
    theirs = _theirs(kind, seed, "classify", num_labels=5)
    model = ours(theirs, tmp_path / "theirs")
    # The last end token counts, where there are several.
    sources = [torch.cat([s[:4], torch.tensor([2]), s[4:], torch.tensor([2])]) for s in batch(seed)]
    for side in ("right", "left"):
        ids, mask = pad(sources, side)
        logits = model(ids, mask).logits
        assert logits is not None
        for row, source in enumerate(sources):
            close(logits[row], theirs(source[None]).logits[0], f"row {row} padded on the {side}")
    with pytest.raises(InputError, match="decoder_ids"):
        model(ids, mask, ids)
    check_round_trip(KINDS[kind].classify or "", theirs, tmp_path)


@pytest.mark.parametrize("stem", ["T5", "MT5"])
@torch.no_grad()
def test_an_encoder_of_t5_agrees(stem: str, tmp_path: Path) -> None:
    kind = stem.lower()
    sources = batch(5)
    for cls in (f"{stem}EncoderModel", f"{stem}ForTokenClassification"):
        config = KINDS[kind].config(random.Random(5))
        config.num_decoder_layers = config.num_layers
        if cls.endswith("TokenClassification"):
            config.num_labels = 5
        theirs = make(cls, config, 5)
        model = ours(theirs, tmp_path / cls / "theirs")
        assert model.config.shape == "encoder"
        for side in ("right", "left"):
            ids, mask = pad(sources, side)
            out = model(ids, mask)
            for row, source in enumerate(sources):
                expected = theirs(source[None])
                if out.logits is None:
                    close(rows_of(out.hidden, mask)[row], expected[0][0], f"row {row}")
                else:
                    close(rows_of(out.logits, mask)[row], expected.logits[0], f"row {row}")
        check_round_trip(cls, theirs, tmp_path / cls)


class Numbers:
    """A vocabulary in which every token is one character."""

    eos_ids: tuple[int, ...] = ()

    def stream(self) -> "Numbers":
        return self

    def push(self, token: int) -> str:
        return chr(48 + token)

    def finish(self) -> str:
        return ""

    def token_bytes(self, token: int) -> bytes:
        return chr(48 + token).encode()

    def decode(self, tokens: list[int]) -> str:
        return "".join(map(self.push, tokens))


def _generation(directory: Path, **options: Any) -> Sampling:
    raw = json.loads((directory / "generation_config.json").read_text())
    return Sampling.from_generation_config(raw, **options)


@pytest.mark.parametrize(("beams", "n"), [(1, 1), (4, 3)])
@torch.no_grad()
def test_text_is_the_same_token_for_token(kind: str, beams: int, n: int, tmp_path: Path) -> None:
    finished = set()
    for seed in SEEDS[:2]:
        theirs = _theirs(kind, seed, eos_token_id=ENDS)
        save_directory(ours(theirs, tmp_path / "theirs"), tmp_path / "ours")
        assert _generation(tmp_path / "ours", beams=beams) == _generation(
            tmp_path / "theirs", beams=beams
        )
        if kind == "mbart":
            theirs.generation_config.forced_bos_token_id = 11
        model = ours(theirs, tmp_path / "theirs")
        sampling = _generation(tmp_path / "theirs", beams=beams, n=n, max_new_tokens=10)
        sources = batch(seed + 70)
        results = generate(model, Numbers(), [s.tolist() for s in sources], sampling)
        for source, answers in zip(sources, results, strict=True):
            # Without its cache, which cannot hold a decoder deeper than the encoder.
            expected = theirs.generate(
                source[None], max_new_tokens=10, num_beams=beams, num_return_sequences=n,
                do_sample=False, use_cache=False,
            )  # fmt: skip
            for answer, ids in zip(answers, expected[:, 1:].tolist(), strict=True):
                end = next((i + 1 for i, token in enumerate(ids) if token in ENDS), len(ids))
                assert list(answer.tokens) == ids[:end]
                finished.add(answer.finish_reason)
    assert "stop" in finished


@torch.no_grad()
def test_reading_in_pieces_is_reading_at_once(kind: str, tmp_path: Path) -> None:
    """A cache, extended by rows of different lengths, gives the logits of the whole target."""
    theirs = _theirs(kind, 7)
    model = ours(theirs, tmp_path / "theirs")
    sources, targets = _texts(7, theirs.config.decoder_start_token_id)
    cache = model.new_cache(len(sources), 2)
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        model.remember(cache, row, source)
        if len(target) > 2:
            model.extend(target[None, :-2], cache, rows=[row])
    last = torch.stack([target[-2:] for target in targets])
    for step in range(2):
        logits = model.extend(last[:, step : step + 1], cache)
        for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
            expected = theirs(source[None], decoder_input_ids=target[None]).logits[0, step - 2]
            close(logits[row], expected, f"row {row}, step {step}")


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_the_directory_round_trips_bit_for_bit(kind: str, seed: int, tmp_path: Path) -> None:
    theirs = _theirs(kind, seed)
    # transformers says of every T5 that it is tied; we say what is so.
    unsaid = ("tie_embeddings",) if KINDS[kind].untied else ()
    check_round_trip(KINDS[kind].lm, theirs, tmp_path, unsaid=unsaid)


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "marian"])
def test_the_directory_of_a_bare_stack_round_trips(kind: str, tmp_path: Path) -> None:
    check_round_trip(KINDS[kind].none, _theirs(kind, 3, "none"), tmp_path)


def test_stored_sinusoids_are_left_out(tmp_path: Path) -> None:
    """transformers stores those of a bare Marian, and computes them where they are missing."""
    theirs = _theirs("marian", 3, "none")
    model = ours(theirs, tmp_path / "theirs")
    save_directory(model, tmp_path / "ours")
    back = transformers.MarianModel.from_pretrained(tmp_path / "ours")
    for (name, p), (other, q) in zip(
        theirs.state_dict().items(), back.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(p, q), name


def test_half_precision_round_trips_bit_for_bit(kind: str, tmp_path: Path) -> None:
    theirs = _theirs(kind, 4).to(torch.bfloat16)
    theirs.save_pretrained(tmp_path / "theirs")
    model = load(tmp_path / "theirs", dtype="stored")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    save_directory(model, tmp_path / "ours")
    same_tensors(tmp_path / "theirs", tmp_path / "ours")
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["dtype"] == "bfloat16"


def _rewrite(directory: Path, **changes: Any) -> Path:
    path = directory / "config.json"
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in {**raw, **changes}.items() if v != "drop"}))
    return directory


def _stored_as(directory: Path, rename: dict[str, list[str]]) -> None:
    """Write the tensors again under other names, some of them several times."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(directory / "model.safetensors")
    out = {
        other: tensor.clone()
        for name, tensor in tensors.items()
        for other in rename.get(name, [name])
    }
    save_file(out, directory / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("kind", "base"), [("t5", ""), ("bart", "model."), ("mbart", "model."), ("marian", "model.")]
)
@torch.no_grad()
def test_one_matrix_is_found_under_any_of_its_names(kind: str, base: str, tmp_path: Path) -> None:
    theirs = _theirs(kind, 1)
    model = ours(theirs, tmp_path)
    shared = f"{base}shared.weight"
    copies = [f"{base}encoder.embed_tokens.weight", f"{base}decoder.embed_tokens.weight"]
    for names in ([shared, *copies, "lm_head.weight"], copies[1:], ["lm_head.weight"]):
        theirs.save_pretrained(tmp_path)
        _stored_as(tmp_path, {shared: names})
        again = load(tmp_path)
        assert again.config == model.config
        assert torch.equal(again.embedding.weight, model.embedding.weight)
    # Copies that differ are not one matrix.
    theirs.save_pretrained(tmp_path)
    _stored_as(tmp_path, {shared: [shared, copies[0]], f"{base}encoder.x": []})
    from safetensors.torch import load_file, save_file

    tensors = load_file(tmp_path / "model.safetensors")
    tensors[copies[0]] = tensors[copies[0]] + 1
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(FormatError, match="the weights differ"):
        load(tmp_path)


def test_a_t5_is_tied_as_its_weights_are(tmp_path: Path) -> None:
    """The same untied model by a config of Google's, and by one that transformers 5 wrote."""
    theirs = _theirs("t5-v1.1", 2)
    model = ours(theirs, tmp_path)
    assert not model.config.tie_embeddings
    old = load(_rewrite(tmp_path, tie_word_embeddings=False, scale_decoder_outputs="drop"))
    assert old.config == model.config
    with pytest.raises(FormatError, match="tie_word_embeddings"):
        load(_rewrite(tmp_path, tie_word_embeddings=True, scale_decoder_outputs=True))


def test_a_t5_with_the_exact_gelu_is_told_from_the_usual_one(tmp_path: Path) -> None:
    theirs = _theirs("t5-v1.1", 6)
    model = ours(theirs, tmp_path / "theirs")
    exact = Transformer(model.config.with_changes(activation="gelu"))
    exact.load_state_dict(model.state_dict())
    save_directory(exact, tmp_path / "ours")
    assert load(tmp_path / "ours").config == exact.config
    back = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "ours")
    source, target = batch(1, rows=2)
    expected = back(source[None], decoder_input_ids=target[None]).logits
    close(exact(source[None], None, target[None]).logits, expected, "exact GELU")


@torch.no_grad()
def test_an_output_bias_may_be_left_out(tmp_path: Path) -> None:
    theirs = _theirs("bart", 2)
    theirs.final_logits_bias.zero_()
    theirs.save_pretrained(tmp_path)
    _stored_as(tmp_path, {"final_logits_bias": []})
    model = load(tmp_path)
    source, target = batch(1, rows=2)
    expected = theirs(source[None], decoder_input_ids=target[None]).logits
    close(model(source[None], None, target[None]).logits, expected, "without a bias")
    save_directory(model, tmp_path / "ours")
    same_tensors(tmp_path, tmp_path / "ours")


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("marian", {"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings"),
        ("marian", {"decoder_vocab_size": VOCABULARY + 1}, "decoder_vocab_size"),
        ("marian", {"architectures": ["MarianForCausalLM"]}, "MarianForCausalLM"),
        ("bart", {"tie_word_embeddings": False}, "tie_word_embeddings"),
        ("bart", {"normalize_before": True}, "normalize_before"),
        ("bart", {"activation_function": "mish"}, "activation_function"),
        ("bart", {"d_model": 15.5}, "d_model"),
        ("bart", {"encoder_layers": "drop"}, "encoder_layers"),
        ("bart", {"decoder_attention_heads": 7}, "decoder_heads 7"),
        ("mbart", {"architectures": ["MBartForSequenceClassification"]}, "MBartForSequence"),
        ("t5", {"feed_forward_proj": "glued-gelu", "dense_act_fn": "drop"}, "feed_forward_proj"),
        ("t5", {"num_heads": 0}, "num_heads"),
        ("t5", {"is_sparse": True}, "is_sparse"),
    ],
)
def test_a_config_that_means_something_else_is_refused(
    kind: str, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    _theirs(kind, 0).save_pretrained(tmp_path)
    with pytest.raises((FormatError, ConfigError), match=said):
        load(_rewrite(tmp_path, **changes))


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        # Bookkeeping and settings of training, as published directories have them.
        ("t5", {"n_positions": 512, "output_past": True, "initializer_factor": 1.0}),
        ("t5", {"task_specific_params": {"summary": {"num_beams": 4}}, "is_gated_act": False}),
        ("bart", {"add_bias_logits": False, "add_final_layer_norm": False, "classif_dropout": 0.1,
                  "activation_dropout": 0.1, "normalize_before": False, "normalize_embedding": True,
                  "num_hidden_layers": 12, "gradient_checkpointing": False, "num_beams": 4,
                  "force_bos_token_to_be_generated": True, "static_position_embeddings": False,
                  "extra_pos_embeddings": 2, "encoder_layerdrop": 0.1, "output_past": True}),
        ("mbart", {"add_final_layer_norm": True, "normalize_before": True, "_num_labels": 3,
                   "normalize_embedding": True, "static_position_embeddings": False}),
        ("marian", {"normalize_before": False, "normalize_embedding": False, "num_beams": 6,
                    "static_position_embeddings": True, "bad_words_ids": [[58100]],
                    "activation_function": "swish", "extra_pos_embeddings": 58101}),
    ],
)  # fmt: skip
def test_published_configs_are_read(kind: str, extra: dict[str, Any], tmp_path: Path) -> None:
    _theirs(kind, 0).save_pretrained(tmp_path)
    assert load(_rewrite(tmp_path, **extra)).config.family == kind


def test_what_a_family_cannot_say_is_not_written(tmp_path: Path) -> None:
    model = ours(_theirs("bart", 0), tmp_path / "theirs")
    config = model.config
    for changes, said in (
        ({"position": "sinusoidal"}, "position"),
        ({"tie_embeddings": False}, "tie_embeddings"),
        ({"norm_place": "before"}, "norm_place"),
        ({"embedding_scale": 3.0}, "embedding_scale"),
        ({"family": "marian"}, "position"),
    ):
        wrong = Transformer(config.with_changes(**changes))
        with pytest.raises(ConfigError, match=said):
            save_directory(wrong, tmp_path / "ours")
        assert not (tmp_path / "ours").exists()
    assert family_of("bart").read(family_of("bart").write(config)) == config
