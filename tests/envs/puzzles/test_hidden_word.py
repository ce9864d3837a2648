"""`ludus/HiddenWord-v0`: signs by an independent definition, and words that can be found in time."""

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.envs.chat import content_text
from ludus.envs.conformance import check
from ludus.envs.errors import ArgumentError
from ludus.envs.puzzles.hidden_word.environment import EXAMPLES, HiddenWord, HiddenWordState
from ludus.envs.puzzles.hidden_word.feedback import feedback
from ludus.envs.puzzles.hidden_word.scripted import best_guess
from ludus.envs.puzzles.hidden_word.words import WORDS

# Few letters, so that many are repeated.
REPEATED = st.integers(4, 6).flatmap(lambda n: st.tuples(*[st.text("abc", min_size=n, max_size=n)] * 2))


@settings(max_examples=300)
@given(pair=REPEATED)
def test_signs_are_those_of_the_definition(pair: tuple[str, str]) -> None:
    word, guess = pair
    signs = feedback(word, guess)
    for place, sign in enumerate(signs):
        assert (sign == "+") == (word[place] == guess[place])
    for letter in {*guess}:
        places = [place for place, guessed in enumerate(guess) if guessed == letter]
        marked = [place for place in places if signs[place] != "-"]
        # As many as the word has of the letter; those that are elsewhere come before those without a sign.
        assert len(marked) == min(len(places), word.count(letter))
        others = [signs[place] for place in places if signs[place] != "+"]
        assert others == sorted(others, key="~-".index)


@pytest.mark.parametrize(
    ("word", "guess", "signs"),
    [
        ("crepe", "speed", "-~+~-"),
        ("crane", "crane", "+++++"),
        ("crane", "mouth", "-----"),
        ("abbey", "babes", "~~++-"),
        ("abbey", "kebab", "-~+~~"),
        ("those", "geese", "---++"),
        ("erase", "geese", "-~-++"),
        ("steel", "eeeee", "--++-"),
        ("melon", "lemon", "~+~++"),
    ],
)
def test_signs_by_hand(word: str, guess: str, signs: str) -> None:
    assert feedback(word, guess) == signs


def test_the_words_are_told_apart_and_of_their_length() -> None:
    assert {*WORDS} == {4, 5, 6}
    for length, words in WORDS.items():
        assert len(words) > 300
        assert len({*words}) == len(words)
        assert all(re.fullmatch(f"[a-z]{{{length}}}", word) for word in words)
        assert len(EXAMPLES[length]) == length
        assert EXAMPLES[length] not in words


def guesses_needed(word: str) -> int:
    possible = WORDS[len(word)]
    for count in range(1, 20):
        guess = best_guess(possible)
        if guess == word:
            return count
        signs = feedback(word, guess)
        possible = tuple(other for other in possible if feedback(other, guess) == signs)
        assert word in possible
    raise AssertionError(f"{word} is never guessed")


@pytest.mark.parametrize("length", [*WORDS])
def test_the_oracle_finds_words_in_time(length: int) -> None:
    assert max(guesses_needed(word) for word in WORDS[length][::30]) <= 6


@pytest.mark.slow
@pytest.mark.parametrize("length", [*WORDS])
def test_the_oracle_finds_every_word_in_time(length: int) -> None:
    assert max(map(guesses_needed, WORDS[length])) <= 6


def guessed(env: HiddenWord, word: str, *guesses: str) -> Any:
    """The outcome of the last of some guesses."""
    state, outcome = HiddenWordState(word), None
    for guess in guesses:
        outcome = env.respond(state, f"<action>{guess}</action>")
        state = outcome.state
    return outcome


def test_a_guess_is_shown_with_its_signs() -> None:
    env = HiddenWord()
    outcome = guessed(env, "crepe", "speed")
    assert content_text(outcome.messages[0]) == "s p e e d\n- ~ + ~ -\n5 tries left."
    assert env.rubric(outcome.terms) == -0.05
    outcome = guessed(env, "crepe", "speed", " C r E p e\n")
    assert content_text(outcome.messages[0]) == "c r e p e\n+ + + + +\nFound."
    assert (outcome.terminated, outcome.success) == (True, True)
    assert env.rubric(outcome.terms) == 1.0


def test_the_last_wrong_guess_ends_the_game_and_shows_the_word() -> None:
    env = HiddenWord(tries=2)
    outcome = guessed(env, "crepe", "speed")
    assert content_text(outcome.messages[0]).endswith("1 try left.")
    outcome = guessed(env, "crepe", "speed", "speed")
    assert (outcome.terminated, outcome.success) == (True, False)
    assert content_text(outcome.messages[0]).endswith("The word was crepe.")
    assert outcome.failure == "guessed speed, speed"


@settings(max_examples=25)
@given(data=st.data())
def test_nothing_is_said_of_the_word_but_its_signs(data: Any) -> None:
    """Two words with the same signs for all guesses are told in the same words."""
    env = HiddenWord(length=4)
    alike: dict[tuple[str, ...], list[str]] = {}
    guesses = data.draw(st.lists(st.sampled_from(WORDS[4]), min_size=1, max_size=2))
    for word in WORDS[4]:
        alike.setdefault(tuple(feedback(word, guess) for guess in guesses), []).append(word)
    group = data.draw(st.sampled_from([words for words in alike.values() if len(words) > 1]))
    one, other = data.draw(st.permutations(group))[:2]
    for last in (guesses[-1], "nothing at all"):
        told = [guessed(env, word, *guesses[:-1], last).messages for word in (one, other)]
        assert told[0] == told[1]


def test_the_rules_do_not_depend_on_the_word() -> None:
    env = HiddenWord()
    assert len({str(env.reset(seed=seed)[0]) for seed in range(50)}) == 1
    assert len({env.task_name for seed in range(50) if env.reset(seed=seed)}) > 30


def test_a_guess_is_consistent_exactly_if_it_may_be_the_word() -> None:
    env = HiddenWord(length=4)
    word, first = "lamp", "clay"
    signs = feedback(word, first)
    found = Counter(guessed(env, word, first, other).terms["consistent"] for other in WORDS[4])
    assert found[1.0] == sum(feedback(other, first) == signs for other in WORDS[4])
    assert guessed(env, word, "clay", "palm", "lamp").terms["consistent"] == 1
    assert guessed(env, word, "zzzz").terms["consistent"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("crane", "No <action> found."),
        ("<action>cranes</action>", "A guess has 5 letters from a to z."),
        ("<action>cra-e</action>", "A guess has 5 letters from a to z."),
        ("<action>cr\u0430ne</action>", "A guess has 5 letters from a to z."),
        ("<action>\u212arane</action>", "A guess has 5 letters from a to z."),
        ("<action></action>", "A guess has 5 letters from a to z."),
        ("<action>crane</action><action>mouth</action>", "2 <action> tags found"),
    ],
)
def test_what_is_no_guess_costs_no_try(text: str, said: str) -> None:
    env = HiddenWord()
    outcome = env.respond(HiddenWordState("crane", ("mouth",)), text)
    told = content_text(outcome.messages[0])
    assert told.startswith(said)
    assert told.endswith("Reply with one guess, such as <action>guess</action>. 5 tries left.")
    assert outcome.state.guesses == ("mouth",)
    assert outcome.terms == {"malformed": 1.0}


def test_malformed_replies_run_out() -> None:
    env = HiddenWord(tries=1)
    env.reset(seed=0)
    for _ in range(5):
        *_, terminated, truncated, info = env.step("?")
    assert (terminated, truncated, info["success"]) == (False, True, False)
    assert env.verdict.failure.endswith("guessed nothing")
    assert env.verdict.expected == env.task_name


def test_the_order_of_guesses_is_no_part_of_a_state() -> None:
    env = HiddenWord()
    one, other, fewer = (
        env.anchor(guessed(env, "crane", *guesses).state)
        for guesses in (("mouth", "speed"), ("speed", "mouth"), ("speed",))
    )
    assert one == other != fewer


@pytest.mark.parametrize("arguments", [{"length": 4, "tries": 8}, {"length": 6}], ids=str)
def test_conforms_with_other_arguments(arguments: dict[str, Any]) -> None:
    report = check(
        "ludus/HiddenWord-v0",
        episodes=20,
        only=("rewards", "limits", "malformed replies", "anchors", "scripted agents"),
        **arguments,
    )
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 3}, "length=3: give an integer from 4 to 6"),
        ({"tries": 0}, "tries=0"),
        ({"weights": {"green": 1}}, "weights: 'green' is unknown"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)):
        HiddenWord(**arguments)
