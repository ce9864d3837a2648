"""`ludus/Calendar-v0`: its tasks, its rewards, damage, its options."""

import itertools
import json
import os
import pickle
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.envs.assistant.calendar.arguments import same_answer
from ludus.envs.assistant.calendar.environment import WEIGHTS, Calendar
from ludus.envs.assistant.calendar.kinds import KINDS
from ludus.envs.assistant.calendar.scripted import SCRIPTED, Oracle
from ludus.envs.assistant.calendar.world import at_work
from ludus.envs.assistant.service_env import calling
from ludus.envs.chat import content_text
from ludus.envs.conformance import check
from ludus.envs.errors import ArgumentError


def play(env: Calendar, seed: int, agent: str = "oracle") -> tuple[bool, float, dict]:
    player = SCRIPTED[agent](env, seed)
    observation, info = env.reset(seed=seed)
    player.begin()
    total, ended = 0.0, False
    while not ended:
        observation, reward, terminated, truncated, info = env.step(player.act(observation, info))
        total, ended = total + reward, terminated or truncated
    return info["success"], total, info


def call(env: Calendar, name: str, **arguments):
    """What a tool answers, and what the step paid."""
    observation, reward, *_, info = env.step(calling(env, (name, arguments)))
    text = content_text(observation[0])
    return (json.loads(text) if text[:1] in "[{" else text), reward, info


def own_events(env: Calendar) -> list[dict]:
    now = datetime.fromisoformat(
        re.findall(r"such as (\S+);", env.reset(seed=env._np_random_seed)[0][0]["content"])[0]
    )
    events, *_ = call(env, "list_events", start=f"{now:%Y-%m-%d}", end=f"{now + timedelta(days=21):%Y-%m-%d}")
    return events


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_solved_and_no_cheater_solves_it(kind: str) -> None:
    env = Calendar(kinds=(kind,))
    for seed in range(6):
        success, total, info = play(env, seed)
        assert success, seed
        assert total == pytest.approx(
            1 + env.rubric.weights["calls"] * info["reward_terms"]["calls"], abs=0.2
        )
    for name in SCRIPTED:
        if name not in ("oracle", "random"):
            assert not any(play(env, seed, name)[0] for seed in range(2)), name


def test_tasks_are_many_and_evenly_drawn() -> None:
    env = Calendar()
    tasks = [env.task_name for seed in range(110) if env.reset(seed=seed)]
    assert len(set(tasks)) == len(tasks)
    kinds = Counter(task.partition(":")[0] for task in tasks)
    assert set(kinds) == set(KINDS)
    assert max(kinds.values()) < 30


def test_the_texts_agree_with_what_the_oracle_reads() -> None:
    env = Calendar()
    system, request = (message["content"] for message in env.reset(seed=1)[0])
    assert "call `finish`" in system
    assert request


def test_damage_costs_by_how_much_there_is_and_is_no_success() -> None:
    env = Calendar(kinds=("ask_minutes",))
    oracle = Oracle(env)
    observation, info = env.reset(seed=3)
    oracle.begin()
    observation, *_ = env.step(oracle.act(observation, info))
    state = env.snapshot()
    (finish,) = oracle.act(observation, info)["tool_calls"]
    answer = finish["function"]["arguments"]["answer"]
    returns = []
    for damaged in range(6):
        env.restore(state)
        paid = 0.0
        for number in range(damaged):
            *_, info = call(
                env, "create_event", title=f"Extra {number}", start="2031-06-02T12:00", minutes=30
            )
            assert info["reward_terms"]["damage"] == (0.25 if number < 4 else 0.0)
            paid -= info["reward_terms"]["damage"]
        *_, reward, terminated, _, info = env.step(calling(env, ("finish", {"answer": answer})))
        returns.append(paid + reward)
        assert terminated
        assert info["success"] == (damaged == 0)
        assert info["reward_terms"]["goal"] == 1
        assert info["reward_terms"]["damage"] == 0
        assert paid == -min(1, damaged / 4)
    assert returns == sorted(returns, reverse=True)
    assert returns[0] - returns[4] == pytest.approx(1)


def test_what_is_done_and_undone_is_no_damage() -> None:
    env = Calendar(kinds=("cancel",))
    env.reset(seed=5)
    made, _, info = call(env, "create_event", title="Oops", start="2031-03-05T12:00", minutes=30)
    assert info["reward_terms"]["damage"] == 0.25
    begun = env.snapshot()
    *_, info = call(env, "cancel_event", event=made["event"])
    assert info["reward_terms"]["damage"] == -0.25
    *_, info = call(env, "finish")
    assert info["reward_terms"]["damage"] == 0
    assert info["reward_terms"]["goal"] == 0
    env.restore(begun)
    both = calling(env, ("cancel_event", {"event": made["event"]}), ("finish", {}))
    assert env.step(both)[4]["reward_terms"]["damage"] == -0.25


def test_who_damages_everything_and_never_finishes_pays_for_it() -> None:
    env = Calendar(kinds=("cancel",))
    env.reset(seed=5)
    events = dict.fromkeys(entry["event"] for entry in own_events(env))
    every = calling(env, *(("cancel_event", {"event": event}) for event in events))
    damage, truncated = env.step(every)[4]["reward_terms"]["damage"], False
    assert damage == 1
    while not truncated:
        *_, truncated, info = env.step("Nothing more.")
        damage += info["reward_terms"]["damage"]
    assert damage == 1


def test_who_has_not_looked_has_not_answered() -> None:
    env = Calendar(kinds=["ask_slot", "ask_minutes"])
    for seed in range(8):
        env.reset(seed=seed)
        goal, now, people = env._state.goal, env._state.now, [*env._state.people]
        begun = env.snapshot()
        assert env.step(calling(env, ("finish", {"answer": goal.answer})))[4]["success"] is False
        env.restore(begun)
        asked = {"start": now.isoformat(), "end": (now + timedelta(weeks=4)).isoformat()}
        call(env, "list_events", **asked)
        if goal.kind == "ask_slot":
            half = env.snapshot()
            assert env.step(calling(env, ("finish", {"answer": goal.answer})))[4]["success"] is False
            env.restore(half)
            for person in people[1:]:
                call(env, "free_busy", people=[person], **asked)
        assert env.step(calling(env, ("finish", {"answer": goal.answer})))[4]["success"] is True


def test_the_same_call_again_makes_no_second_event() -> None:
    env = Calendar(kinds=("book",))
    env.reset(seed=5)
    arguments = {"title": "Twice", "start": "2031-03-05T12:00", "minutes": 30}
    first, *_ = call(env, "create_event", **arguments)
    second, *_ = call(env, "create_event", **arguments)
    assert "event" in first
    assert "already" in second


def test_a_meeting_that_is_made_anew_instead_of_moved_loses_the_answers_of_the_guests() -> None:
    env = Calendar(kinds=("move",))
    env.reset(seed=2)
    request = env.reset(seed=2)[0][1]["content"]
    title = re.findall(r'"(.+)"', request)[0]
    oracle = Oracle(env)
    observation, info = env.reset(seed=2)
    oracle.begin()
    moved = None
    while moved is None:
        reply = oracle.act(observation, info)
        calls = {made["function"]["name"]: made["function"]["arguments"] for made in reply["tool_calls"]}
        moved = calls.get("move_event")
        if moved is None:
            observation, *_ = env.step(reply)
    old = next(entry for entry in own_events(env) if entry["event"] == moved["event"])
    length = datetime.fromisoformat(old["end"]) - datetime.fromisoformat(old["start"])
    call(env, "cancel_event", event=old["event"])
    call(
        env, "create_event", title=title, start=moved["start"], minutes=int(length.total_seconds() // 60),
        attendees=[*old["attendees"]],
    )  # fmt: skip
    *_, info = call(env, "finish")
    assert not info["success"]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        (
            "list_events",
            {"start": "soon", "end": "2031-03-05"},
            "start='soon' is no time; write ISO 8601, as in 20",
        ),
        ("list_events", {"start": "2031-03-06", "end": "2031-03-05"}, "the end must come after the start"),
        ("list_events", {"start": "2031-03-06", "end": "9999-12-31T23:59+00:00"}, "too far away"),
        ("list_events", {"start": "0001-01-01T00:00+14:00", "end": "2031-01-01"}, "start="),
        (
            "free_busy",
            {"people": ["Nobody"], "start": "2031-03-05", "end": "2031-03-06"},
            "is nobody here; there are",
        ),
        ("create_event", {"title": " ", "start": "2031-03-05T10:00", "minutes": 30}, "title is empty"),
        ("create_event", {"title": "T", "start": "2031-03-05T10:00", "minutes": 0}, "minutes=0"),
        (
            "create_event",
            {"title": "T", "start": "2031-03-05T10:00", "minutes": 30, "times": 5},
            "2 to 60 times",
        ),
        (
            "create_event",
            {"title": "T", "start": "2031-03-05T10:00", "minutes": 30, "repeat": "weekly"},
            "2 to 60 times",
        ),
        (
            "create_event",
            {"title": "T", "start": "2031-03-05T10:00", "minutes": 30, "zone": "Mars"},
            "'Mars' is no time zone",
        ),
        ("move_event", {"event": "none", "start": "2031-03-05T10:00"}, "no event 'none'"),
        ("move_event", {"event": "../x", "start": "2031-03-05T10:00"}, "no event '../x'"),
        ("cancel_event", {"event": "none", "following": True}, "following needs an occurrence"),
        ("answer_invitation", {"event": "none", "answer": "accept"}, "no event 'none'"),
    ],
)
def test_wrong_arguments_are_explained_and_change_nothing(name: str, arguments: dict, words: str) -> None:
    env = Calendar()
    env.reset(seed=0)
    before = env.services["calendar"].state
    said, reward, _ = call(env, name, **arguments)
    assert words in said
    assert reward == pytest.approx(env.rubric.weights["calls"])
    assert env.services["calendar"].state is before


def test_only_the_organizer_changes_a_meeting_and_only_guests_answer() -> None:
    env = Calendar(kinds=("answer_invitations",))
    env.reset(seed=4)
    events = own_events(env)
    invitation = next(event for event in events if event.get("your_answer") == "needs-action")
    own = next(event for event in events if "organizer" not in event)
    assert "can change it" in call(env, "move_event", event=invitation["event"], start="2031-03-05T10:00")[0]
    assert "can change it" in call(env, "cancel_event", event=invitation["event"])[0]
    assert "not invited" in call(env, "answer_invitation", event=own["event"], answer="accept")[0]
    occurrence = own.get("occurrence", own["start"])
    nothing = (datetime.fromisoformat(occurrence) + timedelta(minutes=7)).isoformat()
    assert "no occurrence" in call(env, "cancel_event", event=own["event"], occurrence=nothing)[0]


def test_people_are_found_by_address_name_and_what_is_theirs_alone() -> None:
    env = Calendar(people=12)
    env.reset(seed=0)
    people, *_ = call(env, "people")
    assert len(people) == 12
    guest = people[5]
    for name in (
        guest["address"],
        guest["name"],
        guest["name"].split()[0],
        guest["name"].upper(),
        "mailto:" + guest["address"],
    ):
        found, *_ = call(env, "free_busy", people=[name], start="2031-03-05", end="2031-03-06")
        assert [*found] == [guest["address"]]
    user = next(person for person in people if person.get("you_work_for"))
    made, *_ = call(
        env, "create_event", title="T", start="2031-03-05T12:00", minutes=30,
        attendees=[user["name"], guest["name"], guest["address"]],
    )  # fmt: skip
    assert made["invited"] == [guest["address"]]


def test_others_see_their_own_clock_and_series_keep_the_zone_they_are_booked_in() -> None:
    env = Calendar(zones=2)
    env.reset(seed=0)
    made, *_ = call(
        env, "create_event", title="T", start="2031-03-03T16:00", minutes=30, repeat="weekly", times=6,
        zone="America/New_York",
    )  # fmt: skip
    events, *_ = call(env, "list_events", start="2031-03-01", end="2031-05-01")
    mine = [datetime.fromisoformat(event["start"]) for event in events if event["event"] == made["event"]]
    assert {start.astimezone(ZoneInfo("America/New_York")).hour for start in mine} == {16}
    assert len(mine) == 6


@pytest.mark.parametrize(
    ("expected", "given", "right"),
    [
        ("14:30", "14:30", True),
        ("09:30", " 9:30. ", True),
        ("09:30", "2031-03-04T09:30+01:00", True),
        ("09:30", "09:30, 10:00", False),
        ("09:30", "9", False),
        ("09:30", "between 8:00 and 18:00", False),
        ("90", "90", True),
        ("90", "90 minutes", True),
        ("90", "090", True),
        ("90", "60 or 90", False),
        ("90", "-90", False),
        ("90", "9" * 5000, False),
        ("90", "", False),
        ("90", "٩٠x", False),
    ],
)
def test_an_answer_is_one_value(expected: str, given: str, right: bool) -> None:
    assert same_answer(expected, given) is right


@pytest.mark.parametrize(
    "arguments",
    [
        {
            "people": 2,
            "zones": 1,
            "busyness": 0,
            "recurrence": 0,
            "lookalikes": 0,
            "kinds": ("book", "move", "repair"),
        },
        *(
            pytest.param(arguments, marks=pytest.mark.slow)
            for arguments in (
                {"people": 8, "zones": 4, "busyness": 0.7, "recurrence": 3, "lookalikes": 8},
                {"renamed": 3, "distractors": 6, "milestones": True},
                {"faults": {"refused": 0.1, "broken": 0.1, "slow": 0.1, "timeout": 0.05, "seed": 1}},
            )
        ),
    ],
    ids=str,
)
def test_it_conforms_with_other_arguments(arguments: dict) -> None:
    report = check(
        "ludus/Calendar-v0",
        episodes=8,
        only=("rewards", "snapshots", "seeds", "scripted agents"),
        **arguments,
    )
    assert report.passed, str(report)


def test_milestones_are_paid_for_what_is_there() -> None:
    env = Calendar(kinds=("answer_invitations",), milestones=True)
    env.reset(seed=4)
    pending = [entry for entry in own_events(env) if entry.get("your_answer") == "needs-action"]
    state = env.snapshot()
    progress = set()
    for answer in ("accept", "decline"):
        env.restore(state)
        call(env, "answer_invitation", event=pending[0]["event"], answer=answer)
        *_, info = call(env, "finish")
        progress.add(info["reward_terms"]["milestones"])
    # The waiting entry is gone either way; only one of the answers is the right one.
    assert len(progress) == 2
    assert 0 < max(progress) < 1
    assert "milestones" not in Calendar().rubric.weights
    assert Calendar(milestones=True).rubric.weights["milestones"] == WEIGHTS["milestones"]


def test_a_snapshot_is_cheap_and_travels() -> None:
    env, other = Calendar(), Calendar()
    env.reset(seed=7)
    call(env, "people")
    taken = pickle.loads(pickle.dumps(env.snapshot()))
    other.restore(taken)
    span = {"start": "2031-01-01", "end": "2031-12-01"}
    assert call(env, "list_events", **span)[0] == call(other, "list_events", **span)[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kinds": ("bok",)}, "did you mean book"),
        ({"kinds": ()}, "is empty"),
        ({"people": 1}, "people=1: give an integer from 2 to 12"),
        ({"people": True}, "people=True"),
        ({"zones": 9}, "from 1 to 4"),
        ({"busyness": 0.9}, "busyness=0.9: give a number from 0 to 0.8"),
        ({"busyness": "low"}, "busyness='low'"),
        ({"lookalikes": -1}, "lookalikes=-1"),
        ({"faults": {"broke": 0.1}}, "broke"),
        ({"weights": {"gaol": 1}}, "weights: 'gaol' is unknown"),
    ],
)
def test_the_wrong_argument_is_named(arguments: dict, words: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(words)):
        Calendar(**arguments)


def test_what_cannot_be_reached_is_said() -> None:
    env = Calendar(faults={"broken": 1.0})
    with pytest.raises(ArgumentError, match="could be reached: give less"):
        env.reset(seed=0)


TEXTS = st.text(max_size=12) | st.sampled_from(
    [
        "",
        "x\x0b",
        "\ud800",
        "\ufffe",
        "2031-03-05T10:00",
        "2031-10-26T02:30+01:00",
        "0001-01-01",
        "9999-12-31T23:59",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.parametrize("name", [tool.name for tool in Calendar.tools])
def test_no_call_breaks_the_environment_for_whoever_reads_afterwards(name: str) -> None:
    """A fault caused by an agent's actions would remove its failures from the figures."""
    env = Calendar()
    env.reset(seed=3)
    begun = env.snapshot()
    listed, *_ = call(env, "list_events", start="2031-01-01", end="2032-02-01")
    own = [event["event"] for event in listed if isinstance(event, dict)][:5] or ["x"]
    likely = [st.just("2031-03-05T10:00"), st.sampled_from(own), st.integers(-5, 2000)]
    keys = next(tool for tool in Calendar.tools if tool.name == name).parameters["properties"]

    @settings(max_examples=40, database=None)
    @given(st.fixed_dictionaries({}, optional={key: st.one_of(*likely, TEXTS, VALUES) for key in keys}))
    def try_it(arguments: dict) -> None:
        env.restore(begun)
        env.step(calling(env, (name, arguments)))
        env.restore(begun)
        if name != "finish":
            env.step(calling(env, (name, arguments)))
            listed, *_ = call(env, "list_events", start="2031-01-01", end="2032-02-01")
            assert isinstance(listed, list) or "more: ask for a shorter time" in listed

    try_it()


def test_a_title_that_no_calendar_can_carry_is_the_agents_own_error() -> None:
    env = Calendar(kinds=("book",))
    env.reset(seed=0)
    answer, *_ = call(env, "create_event", title="x\u000b", start="2031-03-05T10:00", minutes=30)
    assert "U+000B" in answer
    listed, *_ = call(env, "list_events", start="2031-03-01", end="2031-03-20")
    assert not isinstance(listed, str) or listed[:1] == "["


def test_a_series_lasts_as_long_as_was_asked_for_each_time() -> None:
    env = Calendar(zones=1)
    seed = next(seed for seed in range(200) if "Europe/Berlin" in content_text(env.reset(seed=seed)[0][0]))
    env.reset(seed=seed)
    span = {"start": "2031-03-29T21:59", "end": "2031-04-01T12:00"}
    made = {"title": "Night", "start": "2031-03-29T22:00", "minutes": 480, "repeat": "daily", "times": 3}
    call(env, "create_event", **made)
    listed, *_ = call(env, "list_events", **span)
    nights = [event for event in listed if event["title"] == "Night"]
    lengths = [
        datetime.fromisoformat(night["end"]) - datetime.fromisoformat(night["start"]) for night in nights
    ]
    assert lengths == [timedelta(hours=8)] * 3


# Requests that can be read in one way only.


def _overlap(event: dict, other: dict) -> bool:
    return event["start"] < other["end"] and other["start"] < event["end"]


@pytest.mark.parametrize("arguments", [{}, {"busyness": 0.8, "recurrence": 3, "lookalikes": 10}], ids=str)
def test_open_invitations_never_overlap_each_other(arguments: dict) -> None:
    env = Calendar(kinds=("answer_invitations",), **arguments)
    for seed in range(40):
        env.reset(seed=seed)
        asked = [event for event in own_events(env) if event.get("your_answer") == "needs-action"]
        times = [
            {key: datetime.fromisoformat(event[key]).timestamp() for key in ("start", "end")}
            for event in asked
        ]
        assert len(times) >= 5
        assert not any(_overlap(*pair) for pair in itertools.combinations(times, 2)), seed


def _first_free(env: Calendar, addresses: list[str], day: datetime, length: timedelta) -> datetime:
    """The first slot of a day in which people work and are free."""
    people, until = env._state.people, day + timedelta(days=1)
    found, *_ = call(env, "free_busy", people=addresses, start=day.isoformat(), end=until.isoformat())
    busy = [
        [datetime.fromisoformat(text) for text in taken.split("/")]
        for address in addresses
        for taken in found[address]
    ]
    slots = [day + timedelta(minutes=30 * number) for number in range(48)]
    return next(
        start
        for start in slots
        if all(at_work(people[address], start, int(length / timedelta(minutes=30))) for address in addresses)
        and not any(low < start + length and start < high for low, high in busy)
    )


def test_a_repaired_date_goes_to_the_same_slot_whether_or_not_its_own_time_counts_as_free() -> None:
    env = Calendar(kinds=("repair",))
    for seed in range(40):
        env.reset(seed=seed)
        user, goal = env._state.user, env._state.goal
        gone, new = (
            next(entry for entry in entries if entry[0] == user.address) for entries in (goal.gone, goal.new)
        )
        was, to, until = (
            datetime.fromisoformat(text).astimezone(user.clock) for text in (gone[2], new[2], new[3])
        )
        day = was.replace(hour=0, minute=0)
        until_next = (day + timedelta(days=1)).isoformat()
        listed, *_ = call(env, "list_events", start=day.isoformat(), end=until_next)
        event = next(each for each in listed if each["title"].casefold() == gone[1])
        addresses = [user.address, *event["attendees"]]
        assert _first_free(env, addresses, day, until - to) == to, seed
        call(env, "cancel_event", event=event["event"], occurrence=event["occurrence"])
        assert _first_free(env, addresses, day, until - to) == to, seed


def test_a_series_is_booked_on_the_day_of_the_clock_that_is_named() -> None:
    env = Calendar(kinds=("book_series",), zones=4)
    clocks = set()
    for seed in range(40):
        rules, request = (content_text(message) for message in env.reset(seed=seed)[0])
        assert "the day that goes with it is on that clock" in rules
        day, at, whose = re.findall(r"first on (.+) at (\d\d:\d\d) (.+?)(?:'s)? time, and then", request)[0]
        assert "on the same weekday at the same time on that clock" in request
        people = env._state.people.values()
        zone = next((person.clock for person in people if person.name == whose), env._state.user.clock)
        mine = sorted(entry[2] for entry in env._state.goal.new if entry[0] == env._state.user.address)
        starts = [datetime.fromisoformat(text).astimezone(zone) for text in mine]
        assert f"{starts[0]:%A}, {starts[0].day} {starts[0]:%B %Y}" == day
        assert {f"{start:%A %H:%M}" for start in starts} == {f"{starts[0]:%A} {at}"}
        clocks.add(whose == "my")
    assert clocks == {True, False}


def test_nothing_is_to_be_moved_to_the_day_on_which_it_is() -> None:
    env = Calendar(kinds=("move",))
    for seed in range(60):
        request = content_text(env.reset(seed=seed)[0][1])
        old, new = re.findall(r"(?:from|to) (\w+, \d+ \w+ \d{4})", request)
        assert old != new


def test_the_tools_say_how_dates_that_moved_are_named() -> None:
    env = Calendar()
    env.reset(seed=0)
    weeks = {"start": "2031-03-01", "end": "2031-05-01"}
    made, *_ = call(
        env, "create_event", title="T", start="2031-03-03T10:00", minutes=30, repeat="weekly", times=6
    )

    def dates(event: str) -> list[tuple[str, str]]:
        listed, *_ = call(env, "list_events", **weeks)
        return [(each["occurrence"][:16], each["start"][:16]) for each in listed if each["event"] == event]

    # Alone: the date keeps its name.
    which = dates(made["event"])[1][0]
    call(env, "move_event", event=made["event"], occurrence=which, start="2031-03-11T12:00")
    assert ("2031-03-10T10:00", "2031-03-11T12:00") in dates(made["event"])
    # With all later ones: they are a new series, which the result names, with names of its own.
    moved, *_ = call(
        env, "move_event", event=made["event"], occurrence="2031-03-24T10:00", following=True,
        start="2031-03-24T14:00",
    )  # fmt: skip
    assert moved["moved"] != made["event"]
    assert len(dates(made["event"])) == 3
    later = [f"2031-{day}T14:00" for day in ("03-24", "03-31", "04-07")]
    assert dates(moved["moved"]) == [(start, start) for start in later]
    texts = {tool.name: str(tool.openai) for tool in env.tools}
    assert "new series" in texts["list_events"]
    assert "`event` the result gives under `moved`" in " ".join(texts["move_event"].split())


def test_what_a_record_says_does_not_depend_on_the_process() -> None:
    """Sets have another order under each hash seed."""
    program = (
        "from ludus.envs.assistant.calendar.environment import Calendar\n"
        "env = Calendar()\n"
        "agent = env.scripted['cheater-move-all'](env)\n"
        "for seed in range(4):\n"
        "    observation, info = env.reset(seed=seed)\n"
        "    agent.begin()\n"
        "    ended = False\n"
        "    while not ended:\n"
        "        observation, _, terminated, truncated, info = env.step(agent.act(observation, info))\n"
        "        ended = terminated or truncated\n"
        "    print(env.verdict)\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
