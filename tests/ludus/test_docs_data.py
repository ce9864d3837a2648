"""The page's example of data of one's own runs as it is written."""

import json
import re
import shlex
from pathlib import Path

import pytest

from ludus.tools.tables import Row
from ludus.trainers.data.chat import read_dialogue
from ludus.trainers.metrics import read_metrics

REPOSITORY = Path(__file__).parents[2]


def test_the_example_of_ones_own_data_runs(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (REPOSITORY / "docs" / "training.md").read_text(encoding="utf-8")
    section = page.partition("## Fine-tune on your own data")[2].partition("\n## ")[0]
    lines, with_calls = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    commands = re.findall(r"^    ludus (.*)$", section, re.MULTILINE)
    (told,) = re.findall(r"^    (data: .*)$", section, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["train", "eval", "train"]
    dialogue = read_dialogue(Row("the page", json.loads(with_calls)))
    assert (len(dialogue.turns), dialogue.tools[0]["function"]["name"]) == (2, "forecast")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    (tmp_path / "sums.jsonl").write_text(lines)
    for command in commands:
        result = run(*shlex.split(command))
        assert result.code == 0, result.err
        if "sums" in command:
            assert told in " ".join(result.out.split())
    assert read_metrics(tmp_path / "runs" / "sums")[-1]["heldout_loss"] > 0
    counts = json.loads((tmp_path / "runs" / "student" / "data.json").read_text())
    assert (counts["read"], counts["trained"] + counts["held_out"]) == (32, 32)
    assert "Conversations" in (tmp_path / "runs" / "student" / "report.html").read_text()


@pytest.mark.parametrize("name", ["sft", "rft"])
def test_the_configs_are_of_the_common_task(name: str) -> None:
    from ludus.trainers.config.reading import load_config

    config, main = (load_config(REPOSITORY / "configs" / f"{n}.toml") for n in (name, "arithmetic"))
    assert (config.environment, config.rollout, config.evaluation) == (
        main.environment,
        main.rollout,
        main.evaluation,
    )
    assert config.grpo.steps == 0
