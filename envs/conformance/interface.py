"""Checks of what an environment shows: Gymnasium's interface, spaces, info, rewards, limits, its page."""

import contextlib
import inspect
import io
import math
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.spaces import Discrete
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import iterate

from ludus.envs.arguments import argument_names
from ludus.envs.conformance.episodes import Sampler, Subject, comparable, play
from ludus.envs.conformance.report import Violation, is_not_about_the_environment
from ludus.envs.spaces import Reply

SECTIONS = ("Task", "Observation", "Actions", "Rewards", "End of episode", "Arguments", "Version history")

_CALL = {"id": "call_7", "type": "function", "function": {"name": "no_such_tool", "arguments": "{"}}
# None of these holds a text, so none can be a reply to anything.
MALFORMED: tuple[Any, ...] = (
    *("", " \n", None, 7, 2.5, True, b"42", [], {}, [["<answer>"]]),
    *({"role": "assistant"}, {"role": "assistant", "content": None}, {"role": "assistant", "content": 42}),
    {"role": "assistant", "content": [{"type": "text"}]},
    {"role": "assistant", "content": "", "tool_calls": "all of them"},
    {"role": "assistant", "content": None, "tool_calls": [None, 3, {}]},
    {"role": "assistant", "content": None, "tool_calls": [_CALL, {**_CALL, "id": "call_8"}]},
)
# These may mean something; they must not break anything.
HOSTILE = (
    *("\x00", "\ud83d", "\u202e<answer>", "<" * 100_000, "<answer>" * 10_000, "9" * 50_000, "(" * 50_000),
    *("%s%n{0}", "<think>" + "x" * 100_000, " " * 100_000 + "<answer>", "nan", "1e999999999"),
)


def gymnasium_interface(subject: Subject) -> str:
    """Gymnasium's own `check_env`, its warnings taken as errors."""
    env = subject.make().unwrapped
    registered = env.spec is not None
    # Rendering for people writes to the terminal.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("error")
        check_env(env, skip_render_check=not registered, skip_close_check=not registered)
    return "check_env without a warning" + ("" if registered else " (not registered: rendering not checked)")


def documentation(subject: Subject) -> str:
    """The class docstring is the page that a user reads: all sections, all arguments, all reward terms."""
    env: Any = subject.make().unwrapped
    page = inspect.getdoc(type(env)) or ""
    missing = [section for section in SECTIONS if f"## {section}" not in page.splitlines()]
    if missing:
        raise Violation(f"the docstring of {type(env).__name__} lacks the sections {', '.join(missing)}")
    sections = {part.splitlines()[0].strip(): part for part in page.split("\n## ")[1:]}
    arguments = argument_names(type(env)) or []
    for section, names in (("Arguments", arguments), ("Rewards", [*_weights(env)])):
        unnamed = [name for name in names if f"`{name}`" not in sections[section]]
        if unnamed:
            raise Violation(f"the section {section} does not name {', '.join(unnamed)}")
    return f"{len(SECTIONS)} sections, {len(arguments)} arguments"


def spaces(subject: Subject) -> str:
    """Observations and actions lie in their spaces; samples do too, and follow from the seed."""
    env = subject.make()
    for kind, space in (("observation", env.observation_space), ("action", env.action_space)):
        drawn = []
        for _ in range(2):
            space.seed(7)
            drawn.append([space.sample() for _ in range(20)])
        if comparable(drawn[0]) != comparable(drawn[1]):
            raise Violation(f"the {kind} space's samples do not follow from its seed")
        outside = [sample for sample in drawn[0] if sample not in space]
        if outside:
            raise Violation(f"the {kind} space samples {outside[0]!r:.200}, which it does not contain")
    for episode in subject.played:
        for step in episode.steps:
            if step.observation not in env.observation_space:
                raise Violation(
                    f"playing {episode.agent}, {step.observation!r:.300} is not in {env.observation_space}"
                )
        for step in episode.steps[1:]:
            if step.action not in env.action_space:
                raise Violation(
                    f"{episode.agent} plays {step.action!r:.200}, which is not in {env.action_space}"
                )
    return f"{sum(len(episode.steps) for episode in subject.played)} observations"


def info(subject: Subject) -> str:
    """`task` always, `reward_terms` after every step, `success` at the end and only there."""
    for episode in subject.played:
        task = episode.steps[0].info.get("task")
        if not isinstance(task, str | int) or task == "":
            raise Violation(f'info["task"] is {task!r} after reset: give the content\'s key, an int or a str')
        for step in episode.steps[1:]:
            if step.info.get("task") != task:
                raise Violation(
                    f'info["task"] changes from {task!r} to {step.info.get("task")!r} in an episode'
                )
            if not isinstance(step.info.get("reward_terms"), dict):
                raise Violation(
                    f'info["reward_terms"] is {step.info.get("reward_terms")!r}: give a dict of named terms'
                )
            if ("success" in step.info) != step.ended:
                where = "is missing at the end" if step.ended else "is there before the end"
                raise Violation(f'playing {episode.agent}, info["success"] {where} of the episode')
            if step.ended and type(step.info["success"]) is not bool:
                raise Violation(f'info["success"] is {step.info["success"]!r}: give a bool')
    return "task, reward_terms, success"


def rewards(subject: Subject) -> str:
    """The reward is exactly the rubric's sum over the terms that `info` names."""
    env: Any = subject.make().unwrapped
    if not callable(getattr(env, "rubric", None)):
        raise Violation("there is no rubric: give a ludus.envs.rubric.Rubric")
    weights = _weights(env)
    seen = set()
    for step in (step for episode in subject.played for step in episode.steps[1:]):
        terms = step.info["reward_terms"]
        for term, value in terms.items():
            if term not in weights:
                raise Violation(f"the term {term!r} has no weight in the rubric ({', '.join(weights)})")
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise Violation(f"the term {term!r} is {value!r}: give a finite number")
            if value:
                seen.add(term)
        if step.reward != env.rubric(terms):
            raise Violation(f"the reward is {step.reward!r}, its terms {terms} come to {env.rubric(terms)!r}")
    silent = [term for term in weights if term not in seen]
    return f"{len(weights)} terms" + (f"; here always 0: {', '.join(silent)}" if silent else "")


def limits(subject: Subject) -> str:
    """Episodes end; `truncated` is for limits only; after the end `step` asks for `reset`."""
    env = subject.make()
    for moment in ("before the first reset", "after the end of the episode"):
        try:
            env.unwrapped.step(env.action_space.sample())
        except gymnasium.error.ResetNeeded:
            pass
        else:
            raise Violation(f"step() {moment} must raise gymnasium.error.ResetNeeded")
        tuple(play(env, Sampler(env.unwrapped, 0), seed=0))
    max_turns = getattr(env.unwrapped, "max_turns", None)
    for episode in subject.played:
        turns, last = len(episode.steps) - 1, episode.steps[-1]
        if last.terminated and last.truncated:
            raise Violation(
                f"playing {episode.agent}, the last step is terminated and truncated; it can be only one"
            )
        if max_turns is None:
            continue
        if turns > max_turns:
            raise Violation(f"playing {episode.agent}, {turns} turns; the limit is max_turns = {max_turns}")
        if last.truncated and max_turns == 1:
            raise Violation(f"playing {episode.agent}, a single turn was truncated; it must terminate")
        if last.truncated and turns < max_turns:
            raise Violation(
                f"playing {episode.agent}, truncated after {turns} of max_turns = {max_turns} turns"
            )
    longest = max(len(episode.steps) - 1 for episode in subject.played)
    return f"longest episode {longest} steps" + (f", max_turns {max_turns}" if max_turns else "")


def malformed(subject: Subject) -> str:
    """What is no reply gets an explanation and a small penalty; a native environment refuses it."""
    env = subject.make()
    if not isinstance(env.action_space, Reply):
        return _foreign_actions(env)
    for reply in MALFORMED:
        observation, reward, *_, info = _first_step(env, reply)
        if not isinstance(observation, list) or not any(message.get("content") for message in observation):
            raise Violation(f"the reply {reply!r:.120} gets no explanation: answer it with a message")
        if observation not in env.observation_space:
            raise Violation(
                f"the answer to {reply!r:.120} is not in the observation space: {observation!r:.200}"
            )
        if not reward < 0:
            raise Violation(
                f"the reply {reply!r:.120} has reward {reward}: give malformed replies a small penalty"
            )
        if info.get("success"):
            raise Violation(f"the reply {reply!r:.120} is a success")
    for reply in HOSTILE:
        _first_step(env, reply)
    calls = MALFORMED[-1]["tool_calls"]
    answered = [m.get("tool_call_id") for m in _first_step(env, MALFORMED[-1])[0] if m["role"] == "tool"]
    if answered != [call["id"] for call in calls]:
        raise Violation(
            f"tool calls {[call['id'] for call in calls]} are answered for {answered}: answer each by its id"
        )
    return f"{len(MALFORMED)} malformed and {len(HOSTILE)} hostile replies answered"


def vectors(subject: Subject) -> str:
    """`SyncVectorEnv`, `AsyncVectorEnv` with and without shared memory and single environments all agree."""
    count, steps = 3, 4
    single = subject.make()
    single.action_space.seed(5)
    actions = [tuple(single.action_space.sample() for _ in range(count)) for _ in range(steps)]
    alone = [subject.make().reset(seed=seed)[0] for seed in range(count)]
    makers = [subject.make] * count
    forms: dict[str, Callable[[], VectorEnv]] = {
        "SyncVectorEnv": lambda: SyncVectorEnv(makers),
        "AsyncVectorEnv without shared memory": lambda: AsyncVectorEnv(makers, shared_memory=False),
        "AsyncVectorEnv with shared memory": lambda: AsyncVectorEnv(makers),
        "AsyncVectorEnv with copy=False": lambda: AsyncVectorEnv(makers, copy=False),
    }
    spec = single.spec
    if spec is not None and spec.vector_entry_point is not None:
        forms["make_vec"] = lambda: gymnasium.make_vec(
            spec, num_envs=count, vectorization_mode="vector_entry_point", **spec.kwargs
        )
    expected: list[Any] = []
    for name, build in forms.items():
        envs = build()
        try:
            observations, _ = envs.reset(seed=0)
            each = list(iterate(envs.observation_space, observations))
            if comparable(each) != comparable(alone):
                raise Violation(
                    f"{name} begins with {each!r:.200}, the environments alone with {alone!r:.200}"
                )
            trace = []
            for batch in actions:
                observations, reward, terminated, truncated, _ = envs.step(batch)
                if observations not in envs.observation_space:
                    raise Violation(f"{name} returns {observations!r:.200}, not in {envs.observation_space}")
                each = list(iterate(envs.observation_space, observations))
                trace.append((comparable(each), reward.tolist(), terminated.tolist(), truncated.tolist()))
        finally:
            envs.close()
        expected = expected or trace
        if trace != expected:
            raise Violation(f"{name} steps to {trace!r:.300}, SyncVectorEnv to {expected!r:.300}")
    return f"{len(forms)} forms, {count} environments, {steps} steps"


def _weights(env: Any) -> dict[str, float]:
    return dict(getattr(getattr(env, "rubric", None), "weights", {}))


def _first_step(env: gymnasium.Env[Any, Any], action: Any) -> Any:
    env.reset(seed=0)
    try:
        return env.step(action)
    except Exception as error:
        if is_not_about_the_environment(error):
            raise
        raise Violation(
            f"the reply {action!r:.120} raises {type(error).__name__}: {error}; answer it with a message"
        ) from error


def _foreign_actions(env: gymnasium.Env[Any, Any]) -> str:
    """An action outside the space raises a ValueError, and the episode goes on."""
    if not isinstance(env.action_space, Discrete):
        return f"not checked for {env.action_space}"
    start = int(env.action_space.start)
    foreign = (start - 1, start + int(env.action_space.n), "left", None, 0.5)
    for action in foreign:
        env.reset(seed=0)
        try:
            env.step(action)
        except ValueError:
            pass
        else:
            raise Violation(f"the action {action!r} is outside {env.action_space} and raises no ValueError")
        env.step(env.action_space.sample())
    return f"{len(foreign)} actions outside {env.action_space} refused"
