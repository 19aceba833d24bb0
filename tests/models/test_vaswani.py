"""The original Transformer is torch.nn.Transformer with sinusoids, and transformers' Marian."""

import math
from pathlib import Path

import pytest
import torch
import transformers
from against_transformers import PAD, VOCABULARY, batch, close, pad, rows_of
from torch import Tensor, nn

from hanlin.models import load
from hanlin.models.config import ModelConfig
from hanlin.models.directory import save_directory
from hanlin.models.new import new_config
from hanlin.models.transformer import Transformer


def fresh(
    hidden: int, layers: int, heads: int, width: int, *, vocab_size: int, pad_id: int = 0,
    eos_id: int = 1,
) -> ModelConfig:  # fmt: skip
    """A fresh model of these sizes."""
    return new_config(
        "vaswani", vocab_size=vocab_size, hidden_size=hidden, num_layers=layers, num_heads=heads,
        intermediate_size=width, pad_id=pad_id, eos_ids=(eos_id,), decoder_start_id=pad_id,
    )  # fmt: skip


def _model(seed: int, **changes: object) -> Transformer:
    torch.manual_seed(seed)
    config = fresh(128, 2, 4, 512, vocab_size=VOCABULARY, pad_id=PAD, eos_id=2)
    small = {"hidden_size": 30, "num_heads": 3, "num_kv_heads": 3, "head_dim": 10}
    more = {"intermediate_size": 17, "decoder_layers": 3, "decoder_heads": 5}
    scale = {"decoder_intermediate_size": 23, "embedding_scale": math.sqrt(30)}
    model = Transformer(config.with_changes(**{**small, **more, **scale, **changes})).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * 0.3 + (1.0 if "norm.weight" in name else 0.0))
    return model


def _tower(stack: nn.Module, heads: int, width: int, hidden: int) -> nn.Module:
    """PyTorch's own stack of post-norm layers, with the weights of ours."""
    decoder = bool(stack.causal)
    cls = nn.TransformerDecoderLayer if decoder else nn.TransformerEncoderLayer
    layers = nn.ModuleList(
        cls(hidden, heads, width, dropout=0.0, activation="relu", batch_first=True)
        for _ in stack.layers
    )
    with torch.no_grad():
        for mine, theirs in zip(stack.layers, layers, strict=True):
            _copy(theirs.self_attn, mine.attention.qkv, mine.attention.out)
            norms = [mine.attention_norm]
            if decoder:
                cross = theirs.multihead_attn
                cross.in_proj_weight.copy_(torch.cat([mine.cross.q.weight, mine.cross.kv.weight]))
                cross.in_proj_bias.copy_(torch.cat([mine.cross.q.bias, mine.cross.kv.bias]))
                cross.out_proj.load_state_dict(mine.cross.out.state_dict())
                norms.append(mine.cross_norm)
            norms.append(mine.mlp_norm)
            theirs.linear1.load_state_dict(mine.mlp.up.state_dict())
            theirs.linear2.load_state_dict(mine.mlp.down.state_dict())
            for number, norm in enumerate(norms, 1):
                getattr(theirs, f"norm{number}").load_state_dict(norm.state_dict())
    return layers.eval()


def _copy(theirs: nn.MultiheadAttention, joined: nn.Linear, out: nn.Linear) -> None:
    theirs.in_proj_weight.copy_(joined.weight)
    theirs.in_proj_bias.copy_(joined.bias)
    theirs.out_proj.load_state_dict(out.state_dict())


def _embed(model: Transformer, ids: Tensor) -> Tensor:
    """Scaled embeddings plus the paper's sinusoids, in tensor2tensor's order, number by number."""
    width = model.config.hidden_size
    table = torch.zeros(len(ids), width)
    for position in range(len(ids)):
        for pair in range(width // 2):
            angle = position / 10000 ** (2 * pair / width)
            table[position, pair] = math.sin(angle)
            table[position, width // 2 + pair] = math.cos(angle)
    return (model.embedding.weight[ids] * math.sqrt(width) + table)[None]


@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_logits_are_those_of_pytorchs_own_transformer(seed: int) -> None:
    model = _model(seed)
    c = model.config
    assert c.decoder_heads is not None
    encoder = _tower(model.encoder, c.num_heads, c.intermediate_size, c.hidden_size)
    decoder = _tower(model.decoder, c.decoder_heads, 23, c.hidden_size)
    sources, targets = batch(seed), batch(seed + 1)
    ids, mask = pad(sources, "left")
    decoder_ids, decoder_mask = pad(targets, "right")
    logits = model(ids, mask, decoder_ids, decoder_mask=decoder_mask).logits
    for row, mine in enumerate(rows_of(logits, decoder_mask)):
        memory, x = _embed(model, sources[row]), _embed(model, targets[row])
        for layer in encoder:
            memory = layer(memory)
        causal = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        for layer in decoder:
            x = layer(x, memory, tgt_mask=causal, tgt_is_causal=True)
        close(mine, x[0] @ model.embedding.weight.T, f"row {row}")


@torch.no_grad()
def test_transformers_reads_what_we_write(tmp_path: Path) -> None:
    odd = {"hidden_size": 15, "head_dim": 5, "embedding_scale": 15**0.5}
    for seed, changes in enumerate([{}, {"lm_head_bias": True}, odd]):
        model = _model(seed, **changes)
        save_directory(model, tmp_path / "model")
        theirs = transformers.MarianMTModel.from_pretrained(tmp_path / "model")
        for source, target in zip(batch(seed), batch(seed + 9), strict=True):
            expected = theirs(source[None], decoder_input_ids=target[None]).logits
            close(model(source[None], None, target[None]).logits, expected, "Marian's reading")
        back = load(tmp_path / "model")
        assert back.config == model.config.with_changes(family="marian")
        for (name, p), (other, q) in zip(
            model.named_parameters(), back.named_parameters(), strict=True
        ):
            assert name == other
            assert torch.equal(p, q), name


@pytest.mark.parametrize(
    ("sizes", "millions"), [((512, 6, 8, 2048), 65), ((1024, 6, 16, 4096), 213)]
)
def test_the_sizes_are_those_of_the_paper(sizes: tuple[int, int, int, int], millions: int) -> None:
    """Base and big of table 3, with the 37,000 tokens that English and German share there."""
    config = fresh(*sizes, vocab_size=37_000)
    with torch.device("meta"):
        model = Transformer(config)
    assert abs(sum(p.numel() for p in model.parameters()) / 1e6 - millions) < 2.1


@torch.no_grad()
def test_fresh_weights_are_of_a_size_to_train() -> None:
    torch.manual_seed(0)
    model = Transformer(fresh(128, 2, 4, 512, vocab_size=500)).eval()
    source, target = torch.randint(2, 500, (2, 4, 20))
    logits = model(source, None, model.shift(target)).logits
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
    assert abs(loss.item() - math.log(500)) < 1.0
    assert model.shift(target)[:, 0].eq(0).all()
    assert model.shift(target)[:, 1:].equal(target[:, :-1])
