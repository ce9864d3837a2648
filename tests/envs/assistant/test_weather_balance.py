"""`ludus/Weather-v0`: no answer is one to bet on."""

from collections import Counter

import pytest

from ludus.envs.assistant.weather.environment import Weather


@pytest.mark.parametrize("kind", ["hours_above", "first_rain", "first_gust", "wet_hours", "warmest"])
def test_no_answer_is_one_to_bet_on(kind: str) -> None:
    env = Weather(kinds=[kind])
    answers: Counter[str] = Counter()
    for seed in range(120):
        env.reset(seed=seed)
        answers[str(env.snapshot()[0].question.goal)] += 1
    assert answers.most_common(1)[0][1] <= 18
