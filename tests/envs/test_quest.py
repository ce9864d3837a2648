"""`ludus/Quest-v0`: every errand can be done, and only doing it earns anything."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.envs.chat import content_text
from ludus.envs.errors import ArgumentError
from ludus.envs.text.quest.environment import Quest, QuestState, read_command
from ludus.envs.text.quest.house import (
    CARRIED,
    Command,
    Errand,
    House,
    Situation,
    done,
    draw_house,
    obey,
    shortest_way,
)

HOUSE = House(
    rooms=("hall", "cellar", "attic"),
    exits=((("east", 1, ""), ("west", 2, "red")), (("west", 0, ""),), (("east", 0, "red"),)),
    things=("crown", "red key", "lamp"),
    errands=(Errand("crown", 1),),
)
START = Situation(0, (2, 1, 0))


def play(env: Any, *commands: str) -> list[tuple[str, float, bool]]:
    """What each command led to: the last message, the reward, whether the episode ended."""
    told = []
    for command in commands:
        observation, reward, terminated, truncated, _ = env.step(f"<action>{command}</action>")
        told.append((content_text(observation[-1]), reward, terminated or truncated))
    return told


def test_the_random_agent_gives_every_command_that_can_be_given_and_no_other() -> None:
    env = Quest(rooms=4, doors=2, trinkets=1)
    verbs, refused, opened = set(), 0, 0
    for seed in range(40):
        agent = Quest.scripted["random"](env, seed)
        observation, info = env.reset(seed=seed)
        agent.begin()
        ended = False
        while not ended:
            reply = agent.act(observation, info)
            observation, _, terminated, truncated, info = env.step(reply)
            ended = terminated or truncated
            verbs.add(reply.split()[0])
            refused += info["reward_terms"]["refused"]
            opened += "unlock" in content_text(observation[-1])
    assert verbs == {"<action>go", "<action>take"}
    assert refused == 0
    assert opened > 10


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32), rooms=st.integers(2, 12), data=st.data())
def test_every_errand_can_be_done_and_every_door_takes_its_key(seed: int, rooms: int, data: Any) -> None:
    doors = data.draw(st.integers(0, min(4, rooms - 1)))
    house, now = draw_house(np.random.default_rng(seed), rooms, doors, trinkets=3)
    assert not done(house, now)
    assert now.places[0] != house.errands[0].target
    assert len({colour for exits in house.exits for _, _, colour in exits if colour}) == doors
    for room, exits in enumerate(house.exits):
        for _, other, colour in exits:  # every way leads back, through the same door
            assert any(back == room and shade == colour for _, back, shade in house.exits[other])
    way = shortest_way(house, now)
    for command in way:
        after, _ = obey(house, now, command)
        assert after != now
        now = after
    assert done(house, now)
    # Without its keys nothing behind a locked door is reached.
    keyless = Situation(0, (now.places[0], *(-2 for _ in house.things[1:])))
    reached, waiting = {0}, [0]
    while waiting:
        for direction, other, colour in house.exits[waiting[-1]]:
            after, _ = obey(house, Situation(waiting[-1], keyless.places), Command("go", direction))
            assert after.room == (waiting[-1] if colour else other)
        room = waiting.pop()
        waiting += [other for _, other, colour in house.exits[room] if not colour and other not in reached]
        reached |= {other for _, other, colour in house.exits[room] if not colour}


def test_the_shortest_way_by_hand() -> None:
    way = [str(command) for command in shortest_way(HOUSE, START)]
    assert way == ["go east", "take red key", "go west", "go west", "take crown", "go east", "go east"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (Command("go", "north"), "There is no way north."),
        (Command("go", "west"), "The red door is locked."),
        (Command("take", "crown"), "There is no crown here."),
        (Command("take", "sword"), "You see no sword."),
        (Command("drop", "lamp"), "You do not carry the lamp."),
    ],
)
def test_a_command_that_cannot_be_done_changes_nothing(command: Command, said: str) -> None:
    assert obey(HOUSE, START, command) == (START, said)


def test_a_door_that_was_opened_stays_open_without_its_key() -> None:
    now = Situation(0, (2, CARRIED, 0))
    now, said = obey(HOUSE, now, Command("go", "west"))
    assert said == "You unlock the red door."
    now, _ = obey(HOUSE, now, Command("drop", "red key"))
    now, _ = obey(HOUSE, now, Command("go", "east"))
    assert obey(HOUSE, now, Command("go", "west"))[0].room == 2


def test_the_same_situation_by_two_ways_is_one_state() -> None:
    ways = [("take lamp", "go east"), ("go east", "go west", "take lamp", "go east")]
    ends = []
    for way in ways:
        now = START
        for command in way:
            verb, _, thing = command.partition(" ")
            now, _ = obey(HOUSE, now, Command(verb, thing))
        ends.append(now)
    assert ends[0] == ends[1]


def test_nothing_is_earned_before_the_end() -> None:
    env = gymnasium.make("ludus/Quest-v0").unwrapped
    for seed in range(20):
        env.reset(seed=seed)
        told = play(env, *map(str, env.way()))
        assert [reward for _, reward, _ in told] == [0.0] * (len(told) - 1) + [1.0]
        assert [ended for _, _, ended in told] == [False] * (len(told) - 1) + [True]
        assert told[-1][0].endswith("The errand is done.")


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), rooms=st.integers(2, 8), errands=st.integers(2, 6))
def test_each_of_several_errands_earns_its_part(seed: int, rooms: int, errands: int) -> None:
    env = Quest(rooms=rooms, doors=min(2, rooms - 1), errands=errands)
    env.reset(seed=seed)
    told: list[tuple[str, float, bool]] = []
    while not told or not told[-1][2]:
        told += play(env, str(env.way()[0]))
    paid = [text for text, reward, _ in told if reward]
    assert len(paid) == errands
    assert all("The errand is done. Now find the " in text for text in paid[:-1])
    assert sum(reward for _, reward, _ in told) == pytest.approx(1.0)
    assert not env.verdict.failure
    things = env.verdict.expected.split(", ")
    assert len({thing.split()[1] for thing in things}) == errands


def test_an_errand_whose_thing_is_there_already_is_done_with_the_one_before() -> None:
    house = House(HOUSE.rooms, HOUSE.exits, ("crown", "ring"), (Errand("crown", 1), Errand("ring", 1)))
    env = Quest(errands=2)
    state = QuestState(house, Situation(1, (1, CARRIED)))
    outcome = env.respond(state, "<action>take crown</action>")
    assert outcome.terms["done"] == 1.0
    assert outcome.terms["success"] == 1.0
    assert content_text(outcome.messages[-1]) == (
        "Taken. The errand is done. Now find the ring and bring it to the cellar. The errand is done."
    )


def test_a_later_errand_draws_nothing_of_the_first() -> None:
    for seed in range(20):
        (one, _), (three, now) = (
            draw_house(np.random.default_rng(seed), 5, 1, 2, errands) for errands in (1, 3)
        )
        assert (one.rooms, one.exits, one.errands[0]) == (three.rooms, three.exits, three.errands[0])
        assert all(now.places[i] != errand.target for i, errand in enumerate(three.errands))


def test_weights_pay_for_the_way() -> None:
    env = Quest(doors=0, weights={"found": 0.5, "refused": -0.1})
    env.reset(seed=1)
    rewards = [reward for _, reward, _ in play(env, *map(str, env.way()))]
    assert sum(rewards) == 1.5
    env.reset(seed=1)
    assert play(env, "take moon")[0][1] == -0.1


def test_an_errand_that_was_not_done_says_where_the_thing_is() -> None:
    env = Quest(max_turns=1)
    env.reset(seed=0)
    play(env, "drop lamp")
    assert "lies in the" in env.verdict.failure
    assert env.verdict.expected.startswith("the ")


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("<action>go north</action>", Command("go", "north")),
        ("I need it. <action> Take  the RED key </action>", Command("take", "red key")),
        ("<action>go</action>", None),
        ("<action>go north</action><action>go south</action>", None),
        ("go north", None),
        ("<action>" * 9999, None),
    ],
)
def test_replies_are_read_in_one_form(text: str, command: Command | None) -> None:
    assert read_command(text)[0] == command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rooms": 1}, "rooms"),
        ({"rooms": 3, "doors": 3}, "3 rooms have at most 2 doors"),
        ({"doors": 5}, "doors"),
        ({"trinkets": -1}, "trinkets"),
        ({"errands": 0}, "errands"),
        ({"errands": 7}, "errands"),
        ({"weights": {"gold": 1}}, "gold"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Quest(**arguments)
