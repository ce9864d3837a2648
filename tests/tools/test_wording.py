import pytest

from ludus.tools.wording import did_you_mean, duration, environment_title, nearest, number, signed


def test_near_misses():
    assert nearest("pacmanchat", ["PacManChat", "Weather"]) == "PacManChat"
    assert nearest("zzz", ["PacManChat"]) is None
    assert did_you_mean("stps", ["steps", "seed"]) == "did you mean steps?"
    assert did_you_mean("zzz", ["steps"], otherwise="there is steps") == "there is steps"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.6131, "", "0.613"),
        (12345.4, "", "12,345"),
        (-2.5, "", "−2.50"),
        (3e-7, "", "3.0e−7"),
        (float("nan"), "", "–"),
        (0.756, "percent", "75.6%"),
        (12, "s", "12.0 s"),
    ],
)
def test_numbers(value, unit, text):
    assert number(value, unit) == text


def test_differences_have_a_sign():
    assert signed(0.25) == "+0.250"
    assert signed(-0.25) == "−0.250"
    assert signed(0.125, "percent") == "+12.5"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7.25, "7.2 s"), (59.97, "1 min 00 s"), (750, "12 min 30 s"), (3723, "1 h 02 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_environments_lose_only_our_namespace():
    assert environment_title("ludus/Weather-v0") == "Weather-v0"
    assert environment_title("example/Guess-v0") == "example/Guess-v0"
