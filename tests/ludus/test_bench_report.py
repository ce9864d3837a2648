"""The report of a benchmark: everything is in one file, and nothing that an episode says is run."""

import base64
import json
import re
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ludus.agents.bench.journal import encode, read_journal
from ludus.agents.bench.player import PlayerChoice
from ludus.agents.bench.run import Plan, bench, read_outcome
from ludus.agents.episode import Episode, StopReason
from ludus.report.bench.page import render, write_bench_report

ARITHMETIC = "ludus/Arithmetic-v0"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
HOSTILE = '</script><script>document.title="run"</script><img src=x onerror=\'document.title="run"\'>'


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def run_of(folder: Path, count: int = 3, **changes: Any) -> tuple[Path, list[Episode]]:
    """A run whose episodes have these fields."""
    outcome = bench(Plan(ARITHMETIC, PlayerChoice("scripted:oracle"), count=count), folder)
    episodes = [replace(episode, **changes) for episode in read_journal(outcome.folder.journal)]
    outcome.folder.journal.write_bytes(b"".join(map(encode, episodes)))
    return folder, episodes


def hostile(episode: Episode) -> Episode:
    call = {"id": "1", "type": "function", "function": {"name": HOSTILE, "arguments": {HOSTILE: HOSTILE}}}
    reply: Any = {"role": "assistant", "content": HOSTILE, "tool_calls": [call]}
    turn = replace(episode.turns[0], reply=reply)
    return replace(
        episode, turns=(turn,), task_name=HOSTILE, failure=HOSTILE, expected=HOSTILE, success=False
    )


def index_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="episodes-index">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def transcripts_of(page: str) -> list[Any]:
    chunks = re.findall(r'<script type="text/plain" class="chunk">([A-Za-z0-9+/=]*)</script>', page)
    return [each for chunk in chunks for each in json.loads(zlib.decompress(base64.b64decode(chunk)))]


def test_every_episode_is_in_the_page_with_what_was_expected_and_why_it_failed(tmp_path: Path) -> None:
    changes = {"success": False, "expected": "42", "failure": "said 41", "task_kind": "product"}
    folder, episodes = run_of(tmp_path / "run", 5, **changes)
    page = render(read_outcome(folder))
    index = index_of(page)
    rows = [dict(zip(index["fields"], row, strict=True)) for row in index["rows"]]
    assert [row["seed"] for row in rows] == [episode.seed for episode in episodes]
    assert {(row["expected"], row["failure"], row["kind"], row["verdict"]) for row in rows} == {
        ("42", "said 41", "product", "wrong")
    }
    transcripts = transcripts_of(page)
    assert len(transcripts) == 5
    said = transcripts[2]["turns"][0]["observed"][-1]["blocks"][0][0]
    assert said == episodes[2].turns[0].observation[-1]["content"]
    assert rows[2]["place"] == 2
    line = json.loads((folder / "results.jsonl").read_text().splitlines()[0])
    assert "verdict" in line


def test_a_refusal_and_its_reason_stand_beside_the_figures(tmp_path: Path) -> None:
    folder, _ = run_of(tmp_path / "run", stop=StopReason.REFUSED, fault="moderated: violence", success=False)
    page = render(read_outcome(folder))
    assert "INCOMPLETE" in page
    assert "0/3<small>3 refused</small>" in page
    assert "3 refused by the server" in page
    assert index_of(page)["rows"][0][10] == "moderated: violence"


def test_nothing_of_an_episode_is_markup(tmp_path: Path) -> None:
    folder, episodes = run_of(tmp_path / "run", 1)
    outcome = read_outcome(folder)
    outcome.folder.journal.write_bytes(encode(hostile(episodes[0])))
    page = render(read_outcome(folder))
    assert 'document.title="run"' not in page.replace("\\u003c", "").split("episodes-index")[0]
    assert "<img" not in page
    assert page.count("<script") == 3
    assert transcripts_of(page)[0]["turns"][0]["reply"]["calls"][0][1] == [[HOSTILE, HOSTILE]]


# --- in a browser


@pytest.fixture(scope="module")
def chromium() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import chromium as module
    finally:
        sys.path.remove(str(BENCHMARKS))
    if module.find() is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    return module


def shown(module: Any, page: Any, report: Path) -> None:
    page.send("Page.navigate", url=report.resolve().as_uri())
    page.wait_for("document.documentElement?.dataset.shown")


def test_a_browser_shows_episodes_runs_nothing_of_theirs_and_loads_nothing(
    chromium: Any, tmp_path: Path
) -> None:
    folder, episodes = run_of(tmp_path / "run", 3, success=False, failure="said 41")
    outcome = read_outcome(folder)
    outcome.folder.journal.write_bytes(b"".join(map(encode, [hostile(episodes[0]), *episodes[1:]])))
    report = write_bench_report(read_outcome(folder))
    with chromium.chromium() as page:
        shown(chromium, page, report)
        assert page.evaluate("document.title") == f"{ARITHMETIC} · scripted:oracle · Ludus"
        assert HOSTILE in page.evaluate("document.querySelector('#episode-pane').textContent")
        assert page.evaluate("document.querySelectorAll('#episode-pane :is(img, script)').length") == 0
        assert page.evaluate("document.querySelectorAll('#episode-list button').length") == 3
        page.evaluate("document.querySelectorAll('#episode-list button')[1].click()")
        page.wait_for("document.querySelector('#episode-pane h3').textContent === 'Episode 2'")
        assert "said 41" in page.evaluate("document.querySelector('#episode-pane .about').textContent")
        page.evaluate(
            f"(() => {{ const field = document.querySelector('#find-search'); field.value = "
            f"'{episodes[2].seed}'; field.dispatchEvent(new Event('input')); }})()"
        )
        page.wait_for("document.querySelectorAll('#episode-list button').length === 1")
        page.wait_for("document.querySelector('#episode-pane h3').textContent === 'Episode 3'")
        asked = [event["params"]["request"]["url"] for event in page.events if "request" in event["params"]]
        assert [url for url in asked if not url.startswith(("file:", "data:", "about:", "blob:"))] == []
        assert len([url for url in asked if url.startswith("file:")]) == 1
        assert [event for event in page.events if event["method"] == "Runtime.exceptionThrown"] == []


def test_forty_turns_are_read_in_a_browser(chromium: Any, tmp_path: Path) -> None:
    folder, episodes = run_of(tmp_path / "run", 1)
    long: Any = {"role": "user", "content": "words " * 2_000}
    turns = tuple(replace(episodes[0].turns[0], observation=[long]) for _ in range(40))
    read_outcome(folder).folder.journal.write_bytes(encode(replace(episodes[0], turns=turns)))
    report = write_bench_report(read_outcome(folder))
    with chromium.chromium() as page:
        shown(chromium, page, report)
        assert page.evaluate("document.querySelectorAll('.turn').length") == 40
        assert "turn 40 of 40" in page.evaluate("document.querySelector('#episode-pane').textContent")
        folded = "document.querySelectorAll('.turn')[39].querySelector('details.said')"
        assert page.evaluate(f"{folded}.open") is False
        page.evaluate(f"{folded}.open = true")
        page.wait_for(f"{folded}.textContent.length > 10000")
