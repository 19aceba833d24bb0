"""What holds for every objective: sums over micro-batches, padding without effect, learning."""

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pytest
import torch
from objective_cases import CASES, LENGTH, TEXTS, Case

from hanlin.data.batch import IGNORE, Batch
from hanlin.data.loader import Loader
from hanlin.training.objectives import OBJECTIVES, Objective
from hanlin.training.sections import ObjectiveName

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def gradients(
    objective: Objective, model: Any, batches: Sequence[Batch]
) -> tuple[float, torch.Tensor]:
    """The loss per target and its gradient, over the targets of all batches."""
    model.zero_grad()
    targets = sum(batch.target_tokens for batch in batches)
    total = 0.0
    for batch in batches:
        loss = objective.loss(model, batch)
        assert loss.shape == ()
        (loss / targets).backward()
        total += loss.item()
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return total / targets, torch.cat([grad.flatten() for grad in grads])


@each_case
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-11), (torch.float32, 2e-5)])
def test_micro_batches_and_ranks_add_up_to_one_batch(
    case: Case, dtype: torch.dtype, close: float
) -> None:
    examples = case.examples()
    model = case.model(dtype=dtype)
    objective = case.objective

    def read(*, micro: int | None, world: int) -> list[Batch]:
        loaders = [
            Loader(examples, objective.collate, sequences=12, micro=micro, seed=0,
                   rank=rank, world=world)
            for rank in range(world)
        ]  # fmt: skip
        return [batch for loader in loaders for batch in loader.step(1)]

    loss, whole = gradients(objective, model, read(micro=None, world=1))
    assert whole.norm() > 1e-3
    for micro, world in ((3, 1), (1, 1), (None, 3), (2, 2)):
        batches = read(micro=micro, world=world)
        again, summed = gradients(objective, model, batches)
        assert again == pytest.approx(loss, rel=close)
        assert (summed - whole).norm() <= close * whole.norm()


@each_case
def test_padding_changes_nothing(case: Case) -> None:
    """A short example alone has the loss that it has beside a longer one."""
    objective, model = case.objective, case.model(dtype=torch.float64)
    examples = [
        case.examples(TEXTS * 2, length=length).example(0, 0) for length in (12, LENGTH, 20)
    ]
    apart = [objective.loss(model, objective.collate([example])).item() for example in examples]
    together = objective.collate(examples)
    assert together.ids.shape[0] == 3
    assert objective.loss(model, together).item() == pytest.approx(sum(apart), rel=1e-11)


@each_case
def test_the_count_of_targets_is_the_count_of_targets(case: Case) -> None:
    loader = Loader(case.examples(), case.objective.collate, sequences=5, micro=2, seed=3)
    for n in range(3):
        for batch in loader.step(n):
            assert batch.target_tokens == int((batch.targets != IGNORE).sum())
            assert batch.ids.dtype == batch.targets.dtype == torch.int64


@each_case
def test_an_example_depends_on_seed_epoch_and_index_alone(case: Case) -> None:
    examples, again = case.examples(), case.examples()
    places = [(i, e) for e in (0, 1) for i in range(min(len(examples), 4))]
    first = [vars(examples.example(i, e)) for i, e in places]
    second = [vars(again.example(i, e)) for i, e in reversed(places)][::-1]
    for one, other in zip(first, second, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_the_table_of_objectives_names_them() -> None:
    names = list(get_args(ObjectiveName))
    assert list(OBJECTIVES) == names
    assert [OBJECTIVES[name].name for name in names] == names


def overfit(case: Case, texts: list[str], *, steps: int, lr: float, **fields: Any) -> Any:
    """A model that has read `texts` so often that it knows them."""
    model = case.model(**fields)
    objective = case.objective
    examples = case.examples(texts)
    loader = Loader(examples, objective.collate, sequences=8, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    model.train()
    losses = []
    for n, (batch,) in loader.prefetch(0, steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (n + 1) / 20, (steps - n) / (0.3 * steps))
        loss = objective.loss(model, batch) / batch.target_tokens
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    print(f"loss from {losses[0]:.3f} to {np.mean(losses[-10:]):.4f} in {steps} steps")
    return model.eval(), float(np.mean(losses[-10:]))


WIDE = {"hidden_size": 64, "num_heads": 4, "intermediate_size": 128}


@torch.no_grad()
def written(model: Any, ids: Sequence[int], *, end: int) -> list[int]:
    """What an encoder-decoder writes, the likeliest token each time."""
    source = torch.tensor([ids])
    out = [model.config.decoder_start_id]
    while out[-1] != end or len(out) == 1:
        out.append(int(model(source, None, torch.tensor([out])).logits[0, -1].argmax()))
        if len(out) > 60:
            break
    return out[1:]


@pytest.mark.slow
def test_a_causal_model_goes_on_with_the_text_it_has_learnt() -> None:
    case = CASES["causal"]
    texts = TEXTS[:4]
    model, loss = overfit(case, texts, steps=200, lr=3e-3, **WIDE)
    assert loss < 0.1
    ids = case.tokenizer.encode(texts[2], add_special_tokens=False)
    read = ids[:6]
    with torch.no_grad():
        while len(read) < min(len(ids), LENGTH):
            read.append(int(model(torch.tensor([read])).logits[0, -1].argmax()))
    assert read == ids[: len(read)]


@pytest.mark.slow
def test_a_masked_model_fills_the_masks_of_the_text_it_has_learnt() -> None:
    case = CASES["masked, documents packed"]
    texts = TEXTS[2:5]
    model, loss = overfit(case, texts, steps=200, lr=3e-3, **WIDE)
    assert loss < 0.05
    right = asked = 0
    for epoch in range(1000, 1010):
        batch = case.objective.collate([case.examples(texts).example(0, epoch)])
        with torch.no_grad():
            logits = model.head(model.hidden(batch.ids, batch.mask, segments=batch.segments))
        place = batch.targets != IGNORE
        right += int((logits.argmax(-1)[place] == batch.targets[place]).sum())
        asked += batch.target_tokens
    print(f"{right} of {asked} hidden tokens guessed")
    assert asked > 20
    assert right == asked


@pytest.mark.slow
def test_a_model_writes_the_spans_that_sentinels_stand_for() -> None:
    case = CASES["spans of documents"]
    texts = TEXTS[2:4]
    model, loss = overfit(case, texts, steps=300, lr=3e-3, **WIDE)
    assert loss < 0.05
    examples = case.examples(texts)
    for index in range(len(examples)):
        example = examples.example(index, 1000)
        targets = example.targets.tolist()
        assert written(model, example.ids.tolist(), end=targets[-1]) == targets


@pytest.mark.slow
def test_a_denoiser_repairs_the_text_it_has_learnt() -> None:
    case = CASES["denoising"]
    texts = TEXTS[:3]
    model, loss = overfit(case, texts, steps=150, lr=3e-3, **WIDE)
    assert loss < 0.05
    examples = case.examples(texts)
    for index in range(len(examples)):
        example = examples.example(index, 1000)
        targets = example.targets.tolist()
        assert example.ids.tolist() != targets
        assert written(model, example.ids.tolist(), end=targets[-1]) == targets


@pytest.mark.slow
def test_a_model_writes_the_targets_of_the_sources_it_has_learnt() -> None:
    case = CASES["seq2seq, smoothed"]
    texts = TEXTS[2:4]
    model, _ = overfit(case, texts, steps=150, lr=3e-3, **WIDE)
    examples = case.examples(texts)
    batch = case.objective.collate([examples.example(i, 0) for i in range(len(examples))])
    assert case.objective.loss(model, batch).item() / batch.target_tokens < 0.3
    for index in range(len(examples)):
        example = examples.example(index, 0)
        targets = example.targets.tolist()
        assert written(model, example.ids.tolist(), end=targets[-1]) == targets
