"""The committed table of guessers: whoever looks and then guesses is rarely right, in any kind of task."""

import json
from pathlib import Path

from ludus.envs.assistant.calendar.kinds import KINDS as CALENDAR_KINDS
from ludus.envs.assistant.office.tasks import KINDS as ASSISTANT_KINDS
from ludus.envs.assistant.weather.questions import KINDS as WEATHER_KINDS

TABLE = Path(__file__).resolve().parents[3] / "benchmarks" / "results" / "guessers.json"
SAID = {"book", "book_series", "move", "cancel", "cancel_occurrence", "reschedule_series"}
"""Kinds of `ludus/Calendar-v0` whose requests say what to do: there is nothing to guess."""


def test_no_guesser_is_right_more_than_one_time_in_ten() -> None:
    rows = {(row["id"], row["kind"]): row for row in json.loads(TABLE.read_text())["kinds"]}
    assert set(rows) == {
        *(("ludus/Weather-v0", kind) for kind in WEATHER_KINDS),
        *(("ludus/Calendar-v0", kind) for kind in CALENDAR_KINDS),
        *(("ludus/Assistant-v0", kind) for kind in ASSISTANT_KINDS),
        *(("ludus/Search-v0", f"{hops} hops") for hops in range(1, 5)),
    }
    for (id, kind), row in rows.items():
        assert row["seeds"] >= 300
        if id == "ludus/Calendar-v0" and kind in SAID:
            assert row["uniform"] is row["constant"] is None
        else:
            assert max(row["uniform"], row["constant"]) <= 0.1, (id, kind)
