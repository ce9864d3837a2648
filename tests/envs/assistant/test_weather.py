"""`ludus/Weather-v0`."""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ludus  # noqa: F401 (registers the environments)
from ludus.envs.assistant.service_env import calling
from ludus.envs.assistant.weather import narrow
from ludus.envs.assistant.weather.goals import UNITS, Hour, Number, OneOf, Order, convert, read_unit
from ludus.envs.assistant.weather.phrases import read_day, read_place, read_question, say_day
from ludus.envs.assistant.weather.questions import KINDS, RANKED, precipitation_tolerance
from ludus.envs.assistant.weather.results import read_places
from ludus.envs.chat import Chat, content_text
from ludus.envs.conformance import check
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.tools.services import connect
from ludus.tools.services.weather import WeatherClient, WeatherService


def make(**arguments: Any) -> Any:
    return gymnasium.make("ludus/Weather-v0", disable_env_checker=True, **arguments).unwrapped


def play(env: Any, name: str = "oracle", seed: int = 0) -> tuple[bool, float, list[Chat]]:
    """Whether a scripted agent succeeded, its return, and what it observed."""
    agent = env.scripted[name](env, 0)
    observation, info = env.reset(seed=seed)
    agent.begin()
    seen, total = [observation], 0.0
    while True:
        observation, reward, terminated, truncated, info = env.step(agent.act(observation, info))
        seen.append(observation)
        total += reward
        if terminated or truncated:
            return info["success"], total, seen


@pytest.mark.parametrize(
    "arguments",
    [
        {"narrow": True, "milestones": True},
        pytest.param({"places": "real", "ambiguity": 1.0}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_it_conforms_with_other_arguments(arguments: dict[str, Any]) -> None:
    only = ("spaces", "info", "rewards", "limits", "malformed replies", "hostile replies", "seeds")
    only += ("snapshots", "anchors", "scripted agents")
    report = check("ludus/Weather-v0", episodes=25, only=only, **arguments)
    assert report.passed, report


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("places", ["invented", "real"])
def test_every_kind_is_solved_through_the_tools(kind: str, places: str) -> None:
    env = make(kinds=[kind], places=places, horizon=14)
    for seed in range(6):
        success, total, seen = play(env, seed=seed)
        assert success
        assert total > 0.9
        assert read_question(content_text(seen[0][-1]))[0] == kind


def test_seeds_give_many_tasks() -> None:
    env = make()
    tasks = [env.task_name for seed in range(300) if env.reset(seed=seed)]
    assert len(set(tasks)) == 300
    kinds = Counter(task.split(":")[0] for task in tasks)
    assert set(kinds) == set(KINDS)


def test_an_answer_that_was_not_looked_up_is_worth_nothing() -> None:
    env = make(kinds="high")
    _, _, seen = play(env)
    assert content_text(seen[-1][0]) == "Correct."
    env.reset(seed=0)
    state = env.snapshot()
    goal = state[0].question.goal
    observation, reward, terminated, _, info = env.step(calling(env, ("submit", {"value": goal.value})))
    assert terminated
    assert not info["success"]
    assert reward < 0
    assert "did not look up" in content_text(observation[0])


@pytest.mark.parametrize("narrow_form", [False, True])
def test_what_would_have_been_right_is_not_told(narrow_form: bool) -> None:
    env = make(narrow=narrow_form)
    for seed in range(8):
        agent = env.scripted["oracle"](env, 0)
        observation, info = env.reset(seed=seed)
        begun = env.snapshot()
        agent.begin()
        action = agent.act(observation, info)
        submitting = env.toolbox.namings["submit"].name
        while action["tool_calls"][0]["function"]["name"] != submitting:
            observation, *_, info = env.step(action)
            action = agent.act(observation, info)
        wrong = calling(env, ("submit", {"value": "nonsense"}))
        assert content_text(env.step(wrong)[0][0]) == "Wrong."
        said = set()
        for submission in (wrong, action):
            env.restore(begun)
            said.add(content_text(env.step(submission)[0][0]))
        # An agent that has not looked does not learn whether its guess was good, either.
        assert said == {"Wrong: you did not look up the forecasts that the answer follows from."}


def test_the_forecast_of_a_namesake_is_not_the_one_that_was_asked_for() -> None:
    env = make(kinds=["high", "low"], ambiguity=1.0)
    wrong = 0
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        kind, words = read_question(content_text(observation[-1]))
        name, region, country = read_place(words["place"])
        assert region
        assert country
        observation, *_ = env.step(calling(env, ("geocode", {"name": name})))
        found = read_places(content_text(observation[0]))
        assert sum(place[0] == name for place in found) > 1
        assert sum(place[1:3] == (region, country) for place in found) == 1
        # The first hit, whatever the question says.
        _, first_region, first_country, latitude, longitude = found[0]
        need = env.snapshot()[0].question.needs[0]
        day = need.day.isoformat()
        variable = "temperature_2m_max" if kind == "high" else "temperature_2m_min"
        asked = {"latitude": latitude, "longitude": longitude, "start_date": day, "end_date": day}
        env.step(calling(env, ("forecast", {**asked, "daily": [variable]})))
        goal = env.snapshot()[0].question.goal
        *_, info = env.step(calling(env, ("submit", {"value": goal.value})))
        is_right_place = (first_region, first_country) == (region, country)
        assert info["success"] == is_right_place
        wrong += not is_right_place
    assert wrong >= 5


def test_milestones_add_up_to_one_and_are_paid_once() -> None:
    env = make(kinds="warmest", milestones=True)
    oracle = env.scripted["oracle"](env, 0)
    observation, info = env.reset(seed=3)
    total, again = 0.0, 0.0
    while True:
        action = oracle.act(observation, info)
        before = env.snapshot()
        observation, _, terminated, _, info = env.step(action)
        total += info["reward_terms"]["milestones"]
        if terminated:
            break
        if info["reward_terms"]["milestones"]:
            *_, repeated = env.step(action)
            again += repeated["reward_terms"]["milestones"]
            env.restore(before)
            env.step(action)
    assert total == pytest.approx(1.0)
    assert again == 0.0


@pytest.mark.parametrize(
    "faults",
    [{"refused": 0.3}, {"broken": 0.3}, {"timeout": 0.2, "slow": 0.3}, {"stale": 0.4, "seed": 5}],
    ids=str,
)
def test_the_oracle_gets_over_faults(faults: dict[str, float]) -> None:
    env = make(faults=faults)
    for seed in range(15):
        assert play(env, seed=seed)[0]


def test_an_old_forecast_says_so_and_may_mislead() -> None:
    env = make(kinds="high", faults={"stale": 1.0}, horizon=3)
    with pytest.raises(EnvironmentFault, match="none of 40 questions could be answered"):
        env.reset(seed=0)
    env = make(kinds="high", faults={"stale": 0.5})
    told = [content_text(messages[0]) for seed in range(12) for messages in play(env, seed=seed)[2][1:]]
    assert any("24 hours old: ask again" in text for text in told)


@pytest.mark.parametrize("narrow_form", [False, True])
def test_an_old_forecast_and_no_other_says_so_in_its_last_line(narrow_form: bool) -> None:
    env = make(narrow=narrow_form, faults={"stale": 0.5})
    variable = narrow.WIND if narrow_form else "temperature_2m"
    told: Counter[bool] = Counter()
    for seed in range(30):
        env.reset(seed=seed)
        need = env.snapshot()[0].question.needs[0]
        place = {"latitude": need.latitude, "longitude": need.longitude}
        span = {"start_date": need.day.isoformat(), "end_date": need.day.isoformat()}
        arguments = {**place, **span, "hourly": [variable]}
        if narrow_form:
            name = next(town.name for town in env.towns if town.latitude == need.latitude)
            arguments = {"place": name, "day": narrow.name_of(need.day)}
        # The client of the services alone meets no faults.
        client = WeatherClient(connect(env.services["weather"]))
        values = client.forecast(**place, **span, hourly=variable, timezone="auto")["hourly"][variable]
        current = f"wind {narrow.strongest(values)}" if narrow_form else " ".join(map(str, values))
        for _ in range(4):
            text = content_text(env.step(calling(env, ("forecast", arguments)))[0][0])
            is_old = text.splitlines()[-1].startswith("This forecast is 24 hours old: ask again")
            told[is_old] += 1
            assert is_old == ("old" in text)
            assert is_old or current in text
    assert min(told.values()) > 20


def test_the_rules_say_how_an_old_forecast_is_recognised() -> None:
    env = make()
    assert "says so in its last line" in content_text(env.reset(seed=0)[0][0])


def _served(env: Any, need: Any, **options: Any) -> dict[str, Any]:
    """The service's own forecast of a need's day."""
    client = WeatherClient(connect(env.services["weather"]))
    return client.forecast(
        need.latitude, need.longitude, timezone="auto", start_date=need.day, end_date=need.day, **options
    )


def test_a_total_of_precipitation_is_right_from_values_in_either_unit() -> None:
    env = make(kinds="rain")
    for seed in range(300):
        env.reset(seed=seed)
        (need,), goal = env.snapshot()[0].question.needs, env.snapshot()[0].question.goal
        for parameter in ("mm", "inch"):
            told = _served(
                env, need, hourly="precipitation", daily="precipitation_sum", precipitation_unit=parameter
            )
            for total in (sum(told["hourly"]["precipitation"]), *told["daily"]["precipitation_sum"]):
                answer = convert(total, parameter, goal.unit)
                for decimals in (1, 2, 3) if goal.unit == "mm" else (2, 3):
                    assert goal.is_met(f"{answer:.{decimals}f}", ""), (seed, str(goal), total, parameter)


@given(st.sampled_from(["mm", "inch"]), st.lists(st.integers(0, 60), min_size=24, max_size=24))
@settings(max_examples=300)
def test_the_tolerance_of_a_total_admits_every_rounding(unit: str, tenths: list[int]) -> None:
    hours = [tenth / 10 for tenth in tenths]
    goal = Number(
        round(convert(sum(hours), "mm", unit), 3),
        unit,
        precipitation_tolerance(unit, sum(map(bool, hours))),
    )
    inches = [round(hour / 25.4, 3) for hour in hours]
    for total in (sum(inches), round(sum(hours) / 25.4, 3)):
        for decimals in (1, 2, 3) if unit == "mm" else (2, 3):
            assert goal.is_met(f"{convert(total, 'inch', unit):.{decimals}f}", "")


@pytest.mark.parametrize("kind", ["high", "low", "at_hour", "gusts", "difference"])
def test_a_measured_answer_is_right_from_values_in_any_unit(kind: str) -> None:
    env = make(kinds=[kind])
    variable, key, units = "temperature_2m", "temperature_unit", {"celsius": "°C", "fahrenheit": "°F"}
    if kind == "gusts":
        variable, key = "wind_gusts_10m", "wind_speed_unit"
        units = {"kmh": "km/h", "ms": "m/s", "mph": "mph", "kn": "kn"}
    for seed in range(80):
        observation, _ = env.reset(seed=seed)
        question = env.snapshot()[0].question
        _, words = read_question(content_text(observation[-1]))
        for parameter, unit in units.items():
            days = [
                _served(env, need, hourly=variable, **{key: parameter})["hourly"][variable]
                for need in question.needs
            ]
            if kind == "at_hour":
                found = days[0][int(words["hour"])]
            else:
                found = min(days[0]) if kind == "low" else max(days[0])
            answer = convert(found, unit, question.goal.unit)
            if kind == "difference":
                answer -= convert(max(days[1]), unit, question.goal.unit)
            assert question.goal.is_met(f"{answer:.1f}", ""), (seed, str(question.goal), answer, unit)


@pytest.mark.parametrize("kind", KINDS)
def test_requests_name_units_and_hours_as_people_do(kind: str) -> None:
    env = make(kinds=[kind])
    texts = [content_text(env.reset(seed=seed)[0][-1]) for seed in range(60)]
    assert not [
        text for text in texts if re.search(r"\binch\b|\bkn\b|\b\d:00|\bIn how many\b|\brains?\b", text)
    ]


def test_renamed_tools_and_distractors_change_names_only() -> None:
    plain, other = make(), make(renamed=7, distractors=4)
    assert len(other.tools) == len(plain.tools) + 4
    assert not {tool.name for tool in plain.tools} & {tool.name for tool in other.tools}
    for seed in range(5):
        assert plain.reset(seed=seed)[0][-1] == other.reset(seed=seed)[0][-1]
        assert play(other, seed=seed)[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kinds": ["hihg"]}, "kinds: 'hihg' is unknown; did you mean high"),
        ({"kinds": []}, "is empty"),
        ({"kinds": "high", "narrow": True}, "kinds: 'high' is unknown.*wind_on"),
        ({"places": "mars"}, "places: 'mars' is unknown.*invented, real"),
        ({"ambiguity": 2}, "ambiguity=2: give a number from 0 to 1"),
        ({"horizon": 15}, "horizon=15: give an integer from 1 to 14"),
        ({"towns": 0}, "towns=0"),
        ({"world": -1}, "world=-1"),
        ({"geocoding_url": "http://x"}, "without url"),
        ({"url": "localhost:8000/weather"}, "url='localhost:8000/weather': give a URL"),
        ({"url": 5}, "url=5: give a URL"),
        ({"faults": {"fire": 1}}, "faults: 'fire' is unknown"),
        ({"weights": {"correctness": 1}}, "weights: 'correctness' is unknown"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        make(**arguments)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("geocode", {"name": "Xqzw"}), "No place is called 'Xqzw'"),
        (("geocode", {"name": ""}), "No place is called"),
        (("forecast", {"latitude": 1, "longitude": 1}), "start_date"),
        (
            ("forecast", {"latitude": 1, "longitude": 1, "start_date": "2031-13-01", "end_date": "x"}),
            "Error: forecast: start_date",
        ),
        (
            ("forecast", {"latitude": 1, "longitude": 1, "start_date": "2031-03-04",
                          "end_date": "2031-03-04"}),
            "hourly, daily, or both",
        ),
        (
            ("forecast", {"latitude": 1, "longitude": 1, "start_date": "2031-03-01", "end_date": "2031-03-09",
                          "hourly": ["precipitation"]}),
            "at most 3 variables over 7 days",
        ),
        (
            ("forecast", {"latitude": 99, "longitude": 1, "start_date": "2031-03-01",
                          "end_date": "2031-03-01", "daily": ["sunrise"]}),
            "Latitude must be in range",
        ),
        (
            ("forecast", {"latitude": 9, "longitude": 1, "start_date": "1999-03-01", "end_date": "1999-03-01",
                          "daily": ["sunrise"]}),
            "out of allowed range",
        ),
        (
            ("forecast", {"latitude": 9, "longitude": 1, "start_date": "2099-03-01", "end_date": "2099-03-01",
                          "daily": ["rain"]}),
            "daily.0",
        ),
    ],
)  # fmt: skip
def test_wrong_calls_are_explained(call: tuple[str, dict[str, Any]], said: str) -> None:
    env = make()
    env.reset(seed=0)
    observation, _, terminated, *_ = env.step(calling(env, call))
    assert said in content_text(observation[0])
    assert not terminated


def test_one_reply_may_hold_several_calls() -> None:
    env = make(kinds="warmest")
    observation, _ = env.reset(seed=1)
    _, words = read_question(content_text(observation[-1]))
    names = [read_place(place)[0] for place in words["places"].split("; ")]
    observation, *_ = env.step(calling(env, *(("geocode", {"name": name}) for name in names)))
    assert [message["tool_call_id"] for message in observation] == [f"call_{i}" for i in range(RANKED)]
    for name, message in zip(names, observation, strict=True):
        assert name in content_text(message)


# Days, places and answers in words.


@given(st.integers(0, 13), st.dates(date(2020, 1, 1), date(2080, 1, 1)), st.integers(0, 2**32))
@settings(max_examples=400)
def test_days_are_read_as_they_were_said(ahead: int, today: date, seed: int) -> None:
    day = today + timedelta(ahead)
    said = say_day(np.random.default_rng(seed), today, day)
    assert read_day(said, today) == day


def test_every_way_to_name_a_day_says_its_date() -> None:
    rng, today = np.random.default_rng(0), date(2031, 12, 25)
    ways = set()
    for _ in range(3000):
        day = today + timedelta(int(rng.integers(14)))
        said = say_day(rng, today, day)
        ways.add(said)
        assert f"{day.day} {day:%B}" in said or day.isoformat() in said
        if "day" in said.replace("today", ""):
            assert f"{day:%A}, {day.day} {day:%B}" in said
    assert {"today (Thursday, 25 December)", "on Friday, 2 January", "on Friday, 2 January 2032"} <= ways


_RELATIVE = re.compile(
    r"\b(?:next|this|last|coming|following) (?:\w*day|week\w*|month)\b|\bin \d+ days\b|\bday after\b"
    r"|\bon the \d+(?:st|nd|rd|th)\b|\bweekend\b|\btonight\b"
)


@pytest.mark.parametrize("kind", KINDS)
def test_no_question_leaves_open_which_day_is_meant(kind: str) -> None:
    env = make(kinds=[kind], horizon=14)
    for seed in range(40):
        text = content_text(env.reset(seed=seed)[0][-1])
        assert not _RELATIVE.search(text)
        assert re.search(r"\d{1,2} (?:[A-Z][a-z]+)|\d{4}-\d\d-\d\d", text)


@pytest.mark.parametrize(
    ("value", "unit", "is_met"),
    [
        ("20", "", True), ("20.2", "", True), ("20.3", "", False), ("20 °C", "", True), ("68", "°F", True),
        ("68 F", "", True), ("68", "", False), ("20", "km/h", False), ("20", "bananas", False),
        ("20 or 21", "", False), ("19, 20, 21", "", False), ("nan", "", False), ("inf", "", False),
        ("", "", False), ("2e1", "", False), ("9" * 400, "", False), ("−20", "", False), ("+20.0", "", True),
    ],
)  # fmt: skip
def test_a_number_is_one_number_in_a_unit_of_its_kind(value: str, unit: str, is_met: bool) -> None:
    assert Number(20.0, "°C", 0.2).is_met(value, unit) is is_met


@given(st.sampled_from(list(UNITS)), st.sampled_from(list(UNITS)), st.floats(-1e4, 1e4))
def test_units_convert_there_and_back(one: str, other: str, value: float) -> None:
    if UNITS[one][0] == UNITS[other][0]:
        assert convert(convert(value, one, other), other, one) == pytest.approx(value, abs=1e-6)
    assert read_unit(one) == one
    assert read_unit(f" {one.upper()} ") in UNITS


@pytest.mark.parametrize(
    ("value", "is_met"),
    [
        ("Mora", True), ("mora in Vesk", True), ("It is Mora.", True), ("Tamora", False), ("Lin", False),
        ("Mora, Lin", False), ("Mora or Pel", False), ("", False),
    ],
)  # fmt: skip
def test_a_place_is_named_alone(value: str, is_met: bool) -> None:
    assert OneOf("Mora", ("Lin", "Pel")).is_met(value, "") is is_met


@pytest.mark.parametrize(
    ("value", "is_met"),
    [("2031-03-04T15:00", True), (" 2031-03-04 15:00 ", True), ("2031-03-04T15:00:00", True),
     ("2031-03-04", False), ("2031-03-04T16:00", False), ("2031-03-04T15:30", False), ("15:00", False),
     ("2031-03-04T15:00, 2031-03-04T16:00", False)],
)  # fmt: skip
def test_an_hour_has_a_date_and_a_time(value: str, is_met: bool) -> None:
    assert Hour(datetime(2031, 3, 4, 15)).is_met(value, "") is is_met


@pytest.mark.parametrize(
    ("value", "is_met"),
    [("Mora, Lin, Pel", True), ("1. mora\n2. Lin\n3. Pel", True), ("Mora > Lin > Pel", True),
     ("Lin, Mora, Pel", False), ("Mora, Lin", False), ("Mora, Lin, Pel, Lin, Mora", False), ("", False)],
)  # fmt: skip
def test_an_order_names_everything_once(value: str, is_met: bool) -> None:
    assert Order(("Mora", "Lin", "Pel")).is_met(value, "") is is_met


# The small form.


@pytest.mark.parametrize("kind", narrow.KINDS)
def test_the_small_form_takes_two_calls_and_few_words(kind: str) -> None:
    env = make(narrow=True, kinds=kind)
    assert [tool.name for tool in env.tools] == ["forecast", "submit"]
    for seed in range(10):
        success, total, seen = play(env, seed=seed)
        assert success
        assert total == pytest.approx(0.98 if kind == "wind_on" else 0.97)
        assert len(seen) == 3
        assert all(len(content_text(message)) < 60 for chat in seen for message in chat)


def test_the_small_form_knows_its_towns() -> None:
    env = make(narrow=True, towns=3)
    env.reset(seed=0)
    for place, day, said in (("Nowhere", "Mon", "no such place; there is "), ("", "x", "no such place")):
        observation, *_ = env.step(calling(env, ("forecast", {"place": place, "day": day})))
        assert content_text(observation[0]).startswith(f"Error: {said}")
    place = env.towns[0].name
    observation, *_ = env.step(calling(env, ("forecast", {"place": place, "day": "yesterday"})))
    assert content_text(observation[0]).startswith("Error: no such day; there are ")


def test_the_small_form_is_solved_when_its_service_fails_now_and_then() -> None:
    env = make(narrow=True, faults={"refused": 0.3, "broken": 0.1})
    assert all(play(env, seed=seed)[0] for seed in range(20))


# Somebody's server.


@contextmanager
def served(service: WeatherService) -> Iterator[str]:
    """The service on a port, for as long as the block lasts."""
    http = connect(service)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = http.get(self.path)
            self.send_response(answer.status_code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("narrow_form", [False, True])
def test_a_server_by_url_asks_and_answers_with_its_own_weather(narrow_form: bool) -> None:
    with served(WeatherService(seed=4)) as url:
        env = make(url=url, places="real", narrow=narrow_form)
        solved = [play(env, seed=seed) for seed in range(4)]
        if not narrow_form:
            assert "Today is Monday, 3 March 2031" in content_text(solved[0][2][0][0])
        assert all(success for success, _, _ in solved)
        # Today is the server's, and its world is not ours.
        with pytest.raises(EnvironmentFault, match=r"does not know .* is its world another one"):
            make(url=url, places="invented", world=9).reset(seed=0)


def test_no_server_is_a_fault() -> None:
    with pytest.raises(EnvironmentFault, match=r"127\.0\.0\.1:9"):
        make(url="http://127.0.0.1:9").reset(seed=0)


def test_a_server_of_something_else_is_a_fault() -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(["no", "weather"]).encode())

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with pytest.raises(EnvironmentFault, match="no task can be drawn"):
            make(url=f"http://127.0.0.1:{server.server_port}").reset(seed=0)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
