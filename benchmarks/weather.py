"""Calls of the weather service in this process, and episodes of `ludus/Weather-v0`.

`python benchmarks/weather.py` prints a table and writes `benchmarks/results/weather.json`. The figure to
reach: a call at most 0.5 ms at the median. Every call asks for another place, so that no answer is found in a
cache.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium
from machine import machine

import ludus  # noqa: F401 (registers the environments)
from ludus.tools.services import connect
from ludus.tools.services.weather import WeatherClient, WeatherService

LIMIT_MS = 0.5
DAILY = "temperature_2m_max,temperature_2m_min,precipitation_sum"


def median_ms(call: Callable[[int], object], count: int) -> float:
    call(0)
    samples = []
    for number in range(count):
        began = time.perf_counter()
        call(number)
        samples.append(time.perf_counter() - began)
    return 1e3 * statistics.median(samples)


def calls(count: int) -> dict[str, float]:
    """Milliseconds of each kind of call, over `count` places."""
    service = WeatherService()
    places = service.places
    with connect(service) as http:
        client = WeatherClient(http)

        def forecast(**asked: str) -> Callable[[int], object]:
            def call(number: int) -> object:
                place = places[number % len(places)]
                # A hair's breadth further each time around: another place, the same work.
                north = place.latitude + 1e-4 * (number // len(places))
                return client.forecast(north, place.longitude, timezone="auto", **asked)

            return call

        return {
            "7 days, 2 hourly": median_ms(forecast(hourly="temperature_2m,precipitation"), count),
            "7 days, 3 hourly": median_ms(
                forecast(hourly="temperature_2m,precipitation,wind_gusts_10m"), count
            ),
            "7 days, 3 daily": median_ms(forecast(daily=DAILY), count),
            "geocoding": median_ms(lambda number: client.geocode(places[number % len(places)].name), count),
        }


def episode_ms(count: int, **arguments: object) -> float:
    """Milliseconds of processor time of an episode that the oracle plays, `reset` with its proof included."""
    env = gymnasium.make("ludus/Weather-v0", disable_env_checker=True, **arguments).unwrapped
    agent = env.scripted["oracle"](env, 0)  # type: ignore[attr-defined]
    began = time.process_time()
    for seed in range(count):
        observation, info = env.reset(seed=seed)
        agent.begin()
        ended = False
        while not ended:
            observation, _, terminated, truncated, info = env.step(agent.act(observation, info))
            ended = terminated or truncated
    return 1e3 * (time.process_time() - began) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="calls of each kind, and episodes")
    count = parser.parse_args().count
    medians = calls(count)
    episodes = {"Weather-v0": episode_ms(count), "Weather-v0, narrow": episode_ms(count, narrow=True)}
    for name, ms in medians.items():
        print(f"{name:<24}{ms:8.3f} ms at the median")
    for name, ms in episodes.items():
        print(f"{name:<24}{ms:8.3f} ms an episode")
    result = {
        "call_median_ms": medians,
        "limit_ms": LIMIT_MS,
        "within_limit": max(medians.values()) <= LIMIT_MS,
        "oracle_episode_cpu_ms": episodes,
        "count": count,
        **machine("numpy", "httpx", "starlette"),
    }
    out = Path(__file__).parent / "results" / "weather.json"
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
