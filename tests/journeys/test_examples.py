"""Every example has settings that are accepted, and says the same in both languages."""

import re
from pathlib import Path

import pytest

from hanlin.config import read_config
from hanlin.models.named import NAMED
from hanlin.models.new import new_config
from hanlin.training.config import TrainConfig

EXAMPLES = sorted(path.parent for path in Path(__file__).parents[2].glob("examples/*/train.yaml"))


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_the_index_leads_to_each(name: str) -> None:
    index = (EXAMPLES[0].parent / name).read_text(encoding="utf-8")
    assert {path.name for path in EXAMPLES} == set(re.findall(r"\[([\w-]+)\]\(\1\)", index))


@pytest.mark.parametrize(
    "config",
    [config for example in EXAMPLES for config in sorted(example.glob("train*.yaml"))],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_its_settings_are_accepted_as_they_stand(config: Path) -> None:
    settings = read_config(config, into=TrainConfig)
    objective = settings.objective.build()
    if isinstance(settings.model, str):
        # Others would have to be there already, or are made by another example.
        assert settings.model in NAMED or settings.model.startswith("runs/")
        return
    fields = dict(settings.model)
    size = 1000
    if isinstance(settings.tokenizer, dict):
        size = settings.tokenizer["vocab_size"]
    else:
        assert settings.tokenizer is not None
        assert settings.tokenizer.startswith("runs/")
    built = new_config(fields.pop("family"), vocab_size=size, **fields)
    assert built.shape in objective.shapes


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_both_languages_show_the_same_commands(example: Path) -> None:
    english, chinese = (
        re.findall(r"^    (.*)", (example / name).read_text(encoding="utf-8"), re.M)
        for name in ("README.md", "README.zh.md")
    )
    plain = [[re.sub(r"\s*#.*", "", line) for line in lines] for lines in (english, chinese)]
    assert plain[0] == plain[1]
    assert any(line.startswith("hanlin train") for line in plain[0])
