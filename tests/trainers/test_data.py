"""Data of one's own: what is read, what is trained on, and what is refused by its place."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.agents.bench.player import PlayerChoice
from ludus.agents.bench.run import Plan, bench
from ludus.agents.episode import Episode, StopReason, TrainingSequence
from ludus.agents.models import LoadedModel
from ludus.agents.policy import ScriptedPolicy
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout
from ludus.agents.store import write_episodes
from ludus.envs.chat import assistant, system, user
from ludus.tools.errors import DataError, UserError
from ludus.tools.tables import Row
from ludus.trainers.algorithms.sft import demonstrate
from ludus.trainers.config.run import RunConfig
from ludus.trainers.config.sft import SftSection
from ludus.trainers.data.chat import read_dialogue
from ludus.trainers.data.read import Reserved, context_of, held_out_openings, read_data
from ludus.trainers.data.token_rows import TokenRows
from ludus.trainers.errors import ConfigError
from ludus.trainers.mixture import make_environment
from ludus.trainers.tasks import Task

CHAT = [system("Add."), user("1 + 1 = ?"), assistant("2"), user("2 + 2 = ?"), assistant("4")]
CALL = {"id": "a", "type": "function", "function": {"name": "add", "arguments": '{"x": 1, "y": 2}'}}
TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}},
}
CALLING = [
    user("1 + 2 = ?"),
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "a", "content": "3"},
    assistant("3"),
]


def section(*paths: Path, **values: Any) -> SftSection:
    return SftSection(data=[str(path) for path in paths], **{"heldout_share": 0.0, **values})


def write_lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def said(policy: LoadedModel, row: TrainingSequence) -> str:
    """The text of what is trained on."""
    return "".join(
        policy.format.decode([id for id, sampled in zip(row.ids, row.sampled, strict=True) if sampled])
    )


def oracle(count: int, first: int = 0, id: str = "ludus/Arithmetic-v0", **arguments: Any) -> list[Episode]:
    starts = [EpisodeStart(seed) for seed in range(first, first + count)]
    return rollout(ScriptedPolicy("oracle"), EnvironmentSpec(id, arguments), starts)


# --- what is read


def test_only_the_assistants_own_tokens_are_trained_on(policy: LoadedModel, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "chat.jsonl", {"messages": CHAT})
    (row,) = read_data(section(path), policy).train
    assert said(policy, row) == "2<|end|>4<|end|>"
    assert "".join(policy.format.decode(row.ids)).startswith("<|system|>Add.<|end|><|user|>1 + 1 = ?<|end|>")
    (row,) = read_data(section(path, train_on="last"), policy).train
    assert said(policy, row) == "4<|end|>"


def test_a_reply_of_weight_0_is_context(policy: LoadedModel, tmp_path: Path) -> None:
    messages = [*CHAT[:2], {**CHAT[2], "weight": 0}, *CHAT[3:4], {**CHAT[4], "weight": 1}]
    path = write_lines(tmp_path / "chat.jsonl", {"messages": messages})
    (row,) = read_data(section(path), policy).train
    assert said(policy, row) == "4<|end|>"
    whole = write_lines(tmp_path / "whole.jsonl", {"messages": CHAT})
    assert read_data(section(whole), policy).train[0].ids == row.ids


def test_reasoning_comes_before_the_content(policy: LoadedModel, tmp_path: Path) -> None:
    messages = [user("1 + 1 = ?"), {**assistant("2"), "reasoning_content": "one more than 1"}]
    (row,) = read_data(section(write_lines(tmp_path / "a.jsonl", {"messages": messages})), policy).train
    assert said(policy, row) == "<think>\none more than 1\n</think>\n\n2<|end|>"


@pytest.fixture(scope="module")
def calling_policy() -> LoadedModel:
    from ludus.agents.models import load_model
    from ludus.agents.small_model import SmallModelShape, build_small_model

    shape = SmallModelShape(hidden=32, layers=1, heads=2, kv_heads=1, head_dim=16, intermediate=64)
    return load_model(build_small_model([EnvironmentSpec("ludus/Weather-v0")], shape))


def test_tool_calls_are_written_in_the_models_format(calling_policy: LoadedModel, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "calls.jsonl", {"messages": CALLING, "tools": [TOOL], "id": 7})
    (row,) = read_data(section(path), calling_policy).train
    assert said(calling_policy, row) == "<|call|>add(x=1, y=2)<|/call|><|end|>3<|end|>"
    assert "<|tools|>add(x?: integer)<|end|>" in "".join(calling_policy.format.decode(row.ids))


def test_results_without_ids_answer_the_calls_in_their_order() -> None:
    calls = [{"function": {"name": name, "arguments": {}}} for name in ("a", "b", "a")]
    results = [{"role": "tool", "name": name, "content": name} for name in ("b", "a", "a")]
    messages = [user("?"), {"role": "assistant", "tool_calls": calls}, *results, assistant("!")]
    turns = read_dialogue(Row("here", {"messages": messages})).turns
    ids = [call["id"] for call in turns[0].reply["tool_calls"]]
    assert len(set(ids)) == 3
    assert [message["tool_call_id"] for message in turns[1].observation] == [ids[1], ids[0], ids[2]]


def save_dataset(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """As `datasets.Dataset.save_to_disk` writes it, in two files."""
    folder.mkdir(parents=True)
    names = []
    for part in range(2):
        name = f"data-{part:05d}-of-00002.arrow"
        table = pa.Table.from_pylist(rows)
        half = table.slice(0, len(rows) // 2) if part == 0 else table.slice(len(rows) // 2)
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(half)
        names.append({"filename": name})
    (folder / "state.json").write_text(json.dumps({"_data_files": names, "_fingerprint": "0"}))
    return folder


def test_every_form_of_the_same_rows_gives_the_same_tokens(
    calling_policy: LoadedModel, tmp_path: Path
) -> None:
    rows = [
        {"messages": CHAT, "tools": None},
        {"messages": CALLING, "tools": [TOOL]},
        {"messages": [user("?"), assistant("!")], "tools": None},
    ]
    lines = write_lines(tmp_path / "rows.jsonl", "", *rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    as_json = [{"messages": json.dumps(row["messages"]), "tools": json.dumps(row["tools"])} for row in rows]
    as_json[0]["tools"] = as_json[2]["tools"] = None  # type: ignore[call-overload]
    pq.write_table(pa.Table.from_pylist(as_json), tmp_path / "json.parquet")
    saved = save_dataset(tmp_path / "saved", rows)
    save_dataset(tmp_path / "splits" / "train", rows)
    (tmp_path / "splits" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    sources = [lines, tmp_path / "rows.parquet", tmp_path / "json.parquet", saved, tmp_path / "splits"]
    digests = {read_data(section(source), calling_policy).train.digest for source in sources}
    assert len(digests) == 1
    twice = read_data(section(lines, saved), calling_policy)
    assert (len(twice.train), twice.tally.read) == (6, 6)


def test_episodes_give_the_tokens_of_demonstrations(
    policy: LoadedModel, tiny: RunConfig, tmp_path: Path
) -> None:
    """The same rows in the same order: what is trained from them is the same to the bit."""
    spec = tiny.played[0].spec
    shown = demonstrate([Task(spec, seed) for seed in range(6)], policy.format, tiny)
    episodes = rollout(ScriptedPolicy("oracle"), spec, [EpisodeStart(seed) for seed in range(6)])
    path = write_episodes(tmp_path / "episodes.parquet", episodes)
    read = read_data(section(path), policy).train
    assert [(row.ids, row.sampled) for row in read] == [(row.ids, row.sampled) for row in shown]
    lines = [
        {"messages": [m for turn in episode.turns for m in (*turn.observation, turn.reply)]}
        for episode in episodes
    ]
    assert read_data(section(write_lines(tmp_path / "e.jsonl", *lines)), policy).train.digest == read.digest


def test_any_scripted_agent_demonstrates(policy: LoadedModel, tiny: RunConfig) -> None:
    tasks = [Task(tiny.played[0].spec, seed) for seed in range(6)]
    wandering = tiny.model_copy(update={"sft": tiny.sft.model_copy(update={"demonstrator": "random"})})
    shown = demonstrate(tasks, policy.format, wandering)
    episodes = rollout(ScriptedPolicy("random"), tasks[0].spec, [EpisodeStart(seed) for seed in range(6)])
    replies = [e.turns[0].reply["content"] for e in episodes]
    said = [
        "".join(policy.format.decode([i for i, s in zip(row.ids, row.sampled, strict=True) if s]))
        for row in shown
    ]
    assert all(reply in text for reply, text in zip(replies, said, strict=True))
    with pytest.raises(ConfigError, match=r"no scripted agent 'oracel'.*it has null, random, oracle"):
        make_environment(tasks[0].spec, "environment", "oracel")


def test_episodes_bring_their_environments_tools(calling_policy: LoadedModel, tmp_path: Path) -> None:
    path = write_episodes(tmp_path / "weather.parquet", oracle(2, id="ludus/Weather-v0"))
    for row in read_data(section(path), calling_policy).train:
        assert "<|tools|>" in "".join(calling_policy.format.decode(row.ids))


def test_a_benchmarks_folder_is_read_and_filtered_by_success(policy: LoadedModel, tmp_path: Path) -> None:
    player = PlayerChoice("scripted:random", "direct", 0.0, 64, 0, "", False)
    folder = tmp_path / "bench"
    bench(
        Plan("ludus/Arithmetic-v0", player, 40, 1, 8, arguments={"operations": ["add"], "digits": 1}), folder
    )
    everything = read_data(section(folder), policy).tally
    assert (everything.read, everything.trained) == (40, 40)
    assert everything.failed > 0
    assert "only_successes = true drops them" in str(everything)
    won = read_data(section(folder, least_reward=0.9), policy).tally if everything.failed < 40 else None
    if won is not None:
        assert won.trained == 40 - everything.failed


# --- what is kept


def test_every_dropped_conversation_is_counted_with_its_reason(
    policy: LoadedModel, tmp_path: Path, episode: Callable[..., Episode]
) -> None:
    episodes = [
        episode(1.0),
        episode(0.0),
        episode(1.0, stop=StopReason.ENVIRONMENT_FAULT),
        episode(1.0, stop=StopReason.REFUSED),
        episode(1.0, finish="length"),
    ]
    path = write_episodes(tmp_path / "episodes.parquet", episodes)
    tally = read_data(section(path, only_successes=True), policy).tally
    assert (tally.read, tally.trained, tally.failed) == (5, 1, 0)
    assert tally.dropped == {
        "that did not succeed": 1,
        "broke off by a fault": 1,
        "refused by the server": 1,
        "with a reply that was cut off or unreadable": 1,
    }
    told = str(read_data(section(path, least_reward=0.5), policy).tally)
    assert told.startswith("data: 5 conversations read, 1 to train on, 0 held out; dropped 4: ")
    assert "1 with a reward below 0.5" in told
    with pytest.raises(DataError, match=r"nothing is left to train on .* 5 with a reward below 2"):
        read_data(section(write_episodes(path, [episode(1.0)] * 5), least_reward=2.0), policy)


def test_rows_are_filtered_by_their_columns(policy: LoadedModel, tmp_path: Path) -> None:
    rows = [{"messages": CHAT, "success": index % 2 == 0, "reward": index / 4} for index in range(4)]
    path = write_lines(tmp_path / "rows.jsonl", *rows)
    assert read_data(section(path, only_successes=True), policy).tally.trained == 2
    assert read_data(section(path, least_reward=0.5), policy).tally.trained == 2
    bare = write_lines(tmp_path / "bare.jsonl", {"messages": CHAT})
    with pytest.raises(DataError, match=r"bare.jsonl, line 1: its success is not recorded"):
        read_data(section(bare, only_successes=True), policy)
    with pytest.raises(DataError, match=r"bare.jsonl, line 1: its reward is not recorded"):
        read_data(section(bare, least_reward=0.0), policy)


def test_what_is_longer_than_the_context_is_dropped_and_counted(policy: LoadedModel, tmp_path: Path) -> None:
    long = [user("1 " * context_of(policy)), assistant("1")]
    path = write_lines(tmp_path / "rows.jsonl", {"messages": CHAT}, {"messages": long})
    data = read_data(section(path), policy)
    assert len(data.train) == 1
    assert str(data.tally).endswith("dropped 1: 1 longer than the model's context of 4,096 tokens")


def test_tasks_of_the_evaluation_are_never_trained_on(policy: LoadedModel, tmp_path: Path) -> None:
    episodes = oracle(4)
    path = write_episodes(tmp_path / "episodes.parquet", episodes)
    by_task = Reserved({"ludus/Arithmetic-v0": {episodes[1].task}})
    assert read_data(section(path), policy, by_task).tally.dropped == {"on tasks held out for evaluation": 1}
    opening = read_dialogue(Row("", {"messages": CHAT})).opening
    lines = write_lines(
        tmp_path / "rows.jsonl", {"messages": CHAT}, {"messages": [user("?"), assistant("!")]}
    )
    tally = read_data(section(lines), policy, Reserved(openings={opening})).tally
    assert (tally.trained, tally.dropped.total()) == (1, 1)


def test_the_held_out_share_parts_openings_and_not_conversations(policy: LoadedModel, tmp_path: Path) -> None:
    rows = [
        {"messages": [user(f"{task} = ?"), assistant(str(reply))]} for task in range(20) for reply in range(3)
    ]
    path = write_lines(tmp_path / "rows.jsonl", *rows)
    data = read_data(section(path, heldout_share=0.2), policy)
    assert (data.tally.trained, data.tally.held_out) == (48, 12)
    openings = [{row.ids[: row.sampled.index(True)] for row in part} for part in (data.train, data.heldout)]
    assert not openings[0] & openings[1]
    backwards = write_lines(tmp_path / "backwards.jsonl", *reversed(rows))
    again = read_data(section(backwards, heldout_share=0.2), policy)
    assert {row.ids for row in again.heldout} == {row.ids for row in data.heldout}


@given(st.lists(st.binary(min_size=1, max_size=1), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_some_but_never_all_openings_are_held_out(openings: list[bytes], share: float) -> None:
    held = held_out_openings(openings, share)
    assert len(held) < len(set(openings))
    assert bool(held) == (len(set(openings)) > 1)
    assert not held_out_openings(openings, 0.0)


@given(st.lists(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.booleans()), min_size=1, max_size=9)))
def test_token_rows_are_the_rows_that_went_in(content: list[list[tuple[int, bool]]]) -> None:
    rows = [
        TrainingSequence(tuple(i for i, _ in row), tuple(s for _, s in row), (0.0,) * len(row))
        for row in content
    ]
    kept = TokenRows(rows)
    assert list(kept) == rows
    assert [kept[index] for index in range(-len(rows), 0)] == rows
    assert list(kept[1:]) == rows[1:]
    assert kept.sampled == sum(sum(row.sampled) for row in rows)
    with pytest.raises(IndexError):
        kept[len(rows)]


# --- what is refused


TOOL_MESSAGE = {"role": "tool", "tool_call_id": "a", "content": "3"}
CALL_MESSAGE = {"role": "assistant", "content": "", "tool_calls": [CALL]}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"messages": [', r"line 2: not JSON \(.*, column 1[45]\)"),
        ("[1]", "line 2: a JSON list, not an object"),
        ("NaN", "line 2: a JSON number, not an object"),
        ({"mesages": CHAT}, "line 2: there is no messages; did you mean mesages"),
        ({"prompt": "a", "completion": "b"}, "line 2: there is no messages; it has prompt, completion"),
        ({"messages": "no"}, "line 2: messages is a text that is no JSON"),
        ({"messages": {"role": "user"}}, "line 2: messages is no list"),
        ({"messages": []}, "line 2: messages is empty"),
        ({"messages": ["hello"]}, r"line 2: messages\[0\] is no object with role and content, but 'hello'"),
        (
            {"messages": [{"role": "usr", "content": ""}]},
            r"messages\[0\] has the role 'usr', .*did you mean user",
        ),
        ({"messages": [{"role": "developer", "content": ""}]}, "'developer', .*write system"),
        ({"messages": [{"content": ""}]}, "has the role None"),
        ({"messages": [{"role": ["user"], "content": ""}]}, r"has the role \['user'\], which is not one of"),
        ({"messages": [{**user("a"), "contents": "b"}]}, "unknown key 'contents'; did you mean content"),
        (
            {"messages": [{**user("a"), "name": "Jo"}]},
            "unknown key 'name'; those of role user are role, content",
        ),
        ({"messages": [user("a"), {"role": "assistant"}]}, r"messages\[1\] has no content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "sound"}]}]},
            r"content\[0\] is neither a text part",
        ),
        ({"messages": [user("a")]}, "the last message has the role user"),
        ({"messages": [*CHAT, user("a")]}, "the last message has the role user"),
        ({"messages": [*CALLING[:-1]]}, "the last message has the role tool"),
        ({"messages": [system("a"), system("b"), *CHAT[1:]]}, r"messages\[1\] is a second system message"),
        ({"messages": [*CHAT, system("b")]}, r"messages\[5\] is a second system message"),
        ({"messages": [user("a"), system("b")]}, r"messages\[1\] is a system message after a user message"),
        ({"messages": [system("a"), assistant("b")]}, "the assistant's, but nobody spoke before it"),
        ({"messages": [*CHAT, assistant("b")]}, r"messages\[5\] is a second assistant message in a row"),
        (
            {"messages": [user("a"), TOOL_MESSAGE, assistant("b")]},
            "result of a call 'a' .* no call is waiting",
        ),
        (
            {"messages": [user("a"), CALL_MESSAGE, {**TOOL_MESSAGE, "tool_call_id": "b"}]},
            "result of a call 'b' .*; waiting are 'a'",
        ),
        (
            {"messages": [user("a"), {"role": "tool", "name": "f", "content": ""}]},
            "result of a call of f that was not made just before it; no call",
        ),
        (
            {"messages": [user("a"), CALL_MESSAGE, user("b"), assistant("c")]},
            "before the result of the call 'a'",
        ),
        (
            {"messages": [user("a"), {**CALL_MESSAGE, "tool_calls": [CALL, CALL]}]},
            "two calls with the id 'a'",
        ),
        (
            {"messages": [user("a"), {**CALL_MESSAGE, "tool_calls": [{"name": "f"}]}]},
            r"messages\[1\].tool_calls\[0\] is no call",
        ),
        (
            {
                "messages": [
                    user("a"),
                    {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
                ]
            },
            "the arguments of f are no JSON: '{'",
        ),
        (
            {
                "messages": [
                    user("a"),
                    {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[]"}}]},
                ]
            },
            "the arguments of f are no object",
        ),
        ({"messages": [user("a"), {**assistant("b"), "weight": 2}]}, "weight is 2"),
        ({"messages": [user("a"), {**assistant("b"), "weight": 0}]}, "every reply has weight 0"),
        ({"messages": [user("a\ud800"), assistant("b")]}, "half of a surrogate pair"),
        ({"messages": CHAT, "tools": [{"name": "f"}]}, r"tools\[0\] is no tool"),
        ({"messages": CHAT, "success": "yes"}, "success is 'yes'"),
        ({"messages": CHAT, "reward": "high"}, "reward is 'high'"),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], '
            '"reward": NaN}',
            "reward is 'nan'",
        ),
        ({"messages": CHAT, "reward": 10**400}, "reward is '1000*'"),
        (
            {"messages": [*CALLING[:2], {"role": "tool", "tool_call_id": ["a"], "content": "3"}]},
            r"messages\[2\] is the result of a call .* waiting are 'a'",
        ),
        (
            {"messages": CALLING, "tools": [{"function": {"name": "add", "parameters": "{}"}}]},
            r"tools\[0\]: parameters of add is '\{\}'; it is a JSON schema, or left out",
        ),
        (
            {"messages": CALLING, "tools": [TOOL]},
            "line 2: this small model was made for environments without",
        ),
    ],
)
def test_a_wrong_line_is_named_with_what_is_wrong(
    policy: LoadedModel, tmp_path: Path, line: Any, problem: str
) -> None:
    path = write_lines(tmp_path / "data.jsonl", {"messages": CHAT}, line)
    with pytest.raises(DataError, match=problem) as refused:
        read_data(section(path), policy)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_text_without_a_token_is_refused(policy: LoadedModel, tmp_path: Path) -> None:
    (unknown,) = policy.format.demonstrate(assistant("#"))[:-1]
    policy.tokenizer.unk_token = policy.tokenizer.convert_ids_to_tokens(unknown)
    asked = write_lines(tmp_path / "asked.jsonl", {"messages": [user("#"), assistant("1")]})
    read_data(section(asked), policy)
    path = write_lines(tmp_path / "said.jsonl", {"messages": [user("1"), assistant("1 #")]})
    with pytest.raises(DataError, match=r"said.jsonl, line 1: reply 1 has text .* no token for: '1 #'"):
        read_data(section(path), policy)


def test_ids_of_calls_may_be_numbers_and_what_is_null_is_left_out() -> None:
    messages = [
        CALLING[0],
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": 5}]},
        {"role": "tool", "tool_call_id": 5, "content": "3"},
        CALLING[3],
    ]
    tools = [{"type": "function", "function": {"name": "add", "description": None, "parameters": None}}]
    dialogue = read_dialogue(Row("file, line 1", {"messages": messages, "tools": tools}))
    assert dialogue.turns[1].observation == [{"role": "tool", "tool_call_id": "5", "content": "3"}]
    assert dialogue.tools[0]["function"] == {"name": "add", "description": "", "parameters": {}}


def test_files_that_are_none_are_refused(policy: LoadedModel, tmp_path: Path) -> None:
    def refused(path: Path, problem: str) -> None:
        with pytest.raises(UserError, match=problem) as error:
            read_data(section(path), policy)
        assert "\n" not in str(error.value)

    refused(tmp_path / "nowhere.jsonl", "nowhere.jsonl: there is no such file or folder")
    (tmp_path / "empty.jsonl").touch()
    refused(tmp_path / "empty.jsonl", "empty.jsonl is empty")
    refused(write_lines(tmp_path / "blank.jsonl", "", " "), "blank.jsonl is empty")
    (tmp_path / "latin.jsonl").write_bytes('{"messages": "ä"}\n'.encode("latin-1"))
    refused(tmp_path / "latin.jsonl", "latin.jsonl, line 1: not UTF-8")
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(b'{"messages": []}'))
    refused(tmp_path / "packed.jsonl.gz", "line 1: not UTF-8 .*, not compressed")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "neither one that `ludus bench` wrote")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1torn")
    refused(tmp_path / "torn.parquet", "torn.parquet cannot be read")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "text.parquet")
    refused(tmp_path / "text.parquet", "text.parquet, row 1: there is no messages; it has text")
    rows = [{"messages": CHAT}, {"messages": CHAT[:2]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    refused(tmp_path / "rows.parquet", "rows.parquet, row 2: the last message has the role user")
    good, torn = json.dumps(CHAT).encode(), b"\xff\xfe"
    buffers = [
        None,
        pa.array([0, len(good), len(good) + 2], pa.int32()).buffers()[1],
        pa.py_buffer(good + torn),
    ]
    texts = pa.Array.from_buffers(pa.string(), 2, buffers)
    pq.write_table(pa.table({"messages": texts}), tmp_path / "bytes.parquet")
    refused(tmp_path / "bytes.parquet", "bytes.parquet, row 2: cannot be read .*utf-8")
    ages = pa.array([2**60], pa.timestamp("us"))
    pq.write_table(pa.table({"messages": [CHAT], "reward": ages}), tmp_path / "ages.parquet")
    refused(tmp_path / "ages.parquet", "ages.parquet, row 1: cannot be read .*out of range")
    saved = save_dataset(tmp_path / "saved", rows)
    refused(saved, "saved, row 2: the last message has the role user")
    (saved / "data-00001-of-00002.arrow").unlink()
    refused(saved, "data-00001-of-00002.arrow cannot be read")
    (saved / "state.json").write_text("{}")
    refused(saved, "state.json is missing or damaged")
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "dataset_dict.json").write_text('{"splits": ["test"]}')
    refused(
        tmp_path / "splits",
        r"no split train, only test: name the folder of one of them, such as .*splits/test",
    )


def test_an_episode_of_an_unknown_environment_is_named(
    policy: LoadedModel, tmp_path: Path, episode: Callable[..., Episode]
) -> None:
    from dataclasses import replace

    episodes = [episode(1.0), replace(episode(1.0), environment="nobody/Knows-v0", seed=5)]
    path = write_episodes(tmp_path / "e.parquet", episodes)
    with pytest.raises(DataError, match=r"e.parquet, episode 2 \(nobody/Knows-v0, seed 5\): its environment"):
        read_data(section(path), policy)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["role", "content", "tool_calls", "tool_call_id", "weight", "reasoning_content", "name"]
)
ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
MESSAGE = st.builds(
    lambda role, rest: {"content": "a", **rest, "role": role},
    ROLES | JSON,
    st.dictionaries(KEYS, JSON | st.lists(st.just(CALL), max_size=2), max_size=2),
)


@given(
    st.fixed_dictionaries(
        {"messages": JSON | st.lists(MESSAGE | JSON, max_size=5)},
        optional={"tools": JSON, "reward": JSON | st.integers(), "success": JSON},
    )
)
def test_any_row_is_read_or_refused_by_its_place(values: dict[str, Any]) -> None:
    try:
        dialogue = read_dialogue(Row("file, line 1", values))
    except DataError as error:
        placed = str(error).startswith("file, line 1: ")
    else:
        placed = bool(dialogue.turns)
        assert all(turn.observation and turn.reply["role"] == "assistant" for turn in dialogue.turns)
    assert placed


@given(
    st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), min_size=1, max_size=4),
    st.none() | st.text(max_size=6),
)
def test_what_was_said_is_what_is_trained_on(
    exchanges: list[tuple[str, str]], instructions: str | None
) -> None:
    opening = [] if instructions is None else [system(instructions)]
    messages = [*opening, *(m for asked, answer in exchanges for m in (user(asked), assistant(answer)))]
    dialogue = read_dialogue(Row("", {"messages": messages}))
    assert [turn.reply["content"] for turn in dialogue.turns] == [answer for _, answer in exchanges]
    assert [m for turn in dialogue.turns for m in (*turn.observation, turn.reply)] == messages
