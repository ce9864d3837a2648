"""`ludus/Weather-v0`: no answer is one to bet on."""

from collections import Counter

import pytest

from ludus.envs.assistant.weather.environment import Weather


@pytest.mark.parametrize("kind", ["wet_days", "calm_day", "dry_afternoon"])
def test_no_answer_is_right_most_of_the_time(kind: str) -> None:
    env = Weather(kinds=[kind])
    answers: Counter[str] = Counter()
    for seed in range(120):
        env.reset(seed=seed)
        answers[str(env.snapshot()[0].question.goal)] += 1
    assert answers.most_common(1)[0][1] <= 60
