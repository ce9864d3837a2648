"""`ludus/Search-v0`: its questions, what counts as proof, its rewards."""

import itertools
import random
import re
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.envs.assistant.search.environment import MAX_HOPS, Search, support
from ludus.envs.assistant.search.phrases import BACK, FORWARD, Hop, ask, understand
from ludus.envs.assistant.search.questions import draw, plain, written
from ludus.envs.assistant.search.scripted import AGENTS, Oracle
from ludus.envs.assistant.service_env import calling
from ludus.envs.chat import content_text
from ludus.envs.conformance import check
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.tools.services.search import SearchService
from ludus.tools.services.world import RELATIONS

PAGES = 1_000


def played(env: Search, seed: int, agent: str = "oracle") -> tuple[list[str], list[float], dict]:
    """What the tools said, the rewards, and the last info."""
    player = AGENTS[agent](env)
    messages, info = env.reset(seed=seed)
    player.begin()
    said, rewards, done = [], [], False
    while not done:
        messages, reward, terminated, truncated, info = env.step(player.act(messages, info))
        said += [content_text(message) for message in messages]
        rewards.append(reward)
        done = terminated or truncated
    return said, rewards, info


def oracle_calls(env: Search, seed: int) -> tuple[list[dict], dict]:
    """The oracle's calls, and the arguments of its submission."""
    player = Oracle(env)
    messages, info = env.reset(seed=seed)
    player.begin()
    calls = []
    while True:
        reply = player.act(messages, info)
        function = reply["tool_calls"][0]["function"]
        if function["name"] == "submit":
            return calls, function["arguments"]
        calls.append(reply)
        messages, *_ = env.step(reply)


@pytest.fixture(scope="module")
def env() -> Search:
    return Search(pages=PAGES)


@pytest.mark.parametrize(
    "arguments",
    [
        {
            "faults": {"slow": 0.1, "timeout": 0.05, "refused": 0.1, "broken": 0.1, "stale": 0.1},
            "milestones": True,
        },
        *(
            pytest.param(arguments, marks=pytest.mark.slow)
            for arguments in (
                {"hops": 1, "worlds": (4, 5), "namesakes": 0.6, "outdated": 0.8},
                {"hops": (3, 4), "renamed": 7, "distractors": 5, "weights": {"calls": -0.001}},
            )
        ),
    ],
    ids=str,
)
def test_it_conforms_with_other_arguments(arguments: dict) -> None:
    only = ("malformed replies", "rewards", "snapshots", "scripted agents")
    report = check("ludus/Search-v0", episodes=6, only=only, pages=PAGES, **arguments)
    assert report.passed, report


# Questions.


def test_every_relation_has_several_phrases_that_mean_nothing_else() -> None:
    assert set(FORWARD) == set(RELATIONS)
    assert set(BACK) < set(RELATIONS)
    for phrases in (*FORWARD.values(), *BACK.values()):
        assert len(phrases) >= 3
    counts = Counter(phrase for phrases in (*FORWARD.values(), *BACK.values()) for phrase in phrases)
    assert counts.most_common(1)[0][1] == 1


@given(
    hops=st.lists(
        st.one_of(
            st.builds(Hop, st.sampled_from(sorted(FORWARD))),
            st.builds(Hop, st.sampled_from(sorted(BACK)), st.just(True)),
        ),
        min_size=1,
        max_size=MAX_HOPS,
    ),
    choices=st.lists(st.floats(0, 1, exclude_max=True), min_size=5, max_size=5),
    name=st.sampled_from(
        ("Fekazuwo Ponwabura", "the Careful Mill of Futalluzzo", "Biruzhandar, Ghaasodhaval")
    ),
)
def test_questions_are_read_back(hops: list[Hop], choices: list[float], name: str) -> None:
    question = ask(name, hops, choices)
    assert question[0].isupper()
    assert question[-1] in "?."
    assert understand(question) == (name, tuple(hops))


@pytest.mark.parametrize("is_back", [False, True])
def test_questions_read_well(is_back: bool) -> None:
    kinds = "town|company|firm|event|country|nation|person|woman|year|river"
    for relation in BACK if is_back else FORWARD:
        for first in range(9):
            for form in range(9):
                question = ask("Anna Berg", [Hop(relation, is_back)], [first / 9, form / 9])
                assert not re.search(rf"Which ({kinds}) is (?:the ({kinds}) |.*\b\1\b)", question), question
                assert not re.match(r"Name the .*\byear|What is the (?:year|river) that", question), question


def test_no_phrase_has_two_readings() -> None:
    # A mother is no father, a venue may be a hall, and people differ on what a namesake or a home town is.
    arguable = (
        "namesake|home town|twin town|person whose child|^the venue of|came before|seal of state|the seat|"
        "country of|calendar year"
    )
    for phrase in (phrase for choices in (*FORWARD.values(), *BACK.values()) for phrase in choices):
        assert not re.search(arguable, phrase), phrase
    assert not any("child of" in sentence for sentence in RELATIONS["mother"].sentences)


def test_no_step_is_taken_twice_in_a_row() -> None:
    env = Search(hops=(3, 4), pages=PAGES)
    for seed in range(60):
        env.reset(seed=seed)
        _, *steps = env.task_name.split("/")
        assert all(step != after for step, after in itertools.pairwise(steps)), env.task_name


def test_a_river_may_be_called_one() -> None:
    env = Search(hops=1, pages=PAGES)
    for seed in range(2_000):
        env.reset(seed=seed)
        if env.task_name.endswith("/river"):
            break
    _, submitted = oracle_calls(env, seed)
    ready = env.snapshot()
    for form in ("{}", "River {}", "the river {}", "the {} river."):
        env.restore(ready)
        answer = {**submitted, "answer": form.format(submitted["answer"])}
        assert env.step(calling(env, ("submit", answer)))[-1]["success"], answer


def test_questions_have_the_steps_that_were_asked_for_and_hide_their_answer() -> None:
    for hops in (1, 2, 3, 4):
        env = Search(hops=hops, pages=PAGES)
        for seed in range(25):
            messages, _ = env.reset(seed=seed)
            question = messages[1]["content"]
            assert env.task_name.count("/") == hops
            _, submitted = oracle_calls(env, seed)
            assert plain(submitted["answer"]) not in question.casefold()
            assert len(submitted["pages"]) == hops


def test_every_relation_is_asked_for_and_found_both_ways() -> None:
    env = Search(hops=1, outdated=0.0)
    seen: set[str] = set()
    wanted = {*FORWARD, *(f"~{name}" for name in BACK if name not in ("capital", "head"))}
    for seed in range(1_500):
        env.reset(seed=seed)
        seen.add(env.task_name.rpartition("/")[2])
        if wanted <= seen:
            break
    # There are few countries.
    assert len(wanted - seen) <= 4, wanted - seen


def test_the_answer_is_the_only_one(env: Search) -> None:
    """Followed by hand, over all facts: every hop leads to one place."""
    book, asked = env.books[0], 0
    entities = book.world.entities
    by_name = {name: entity.number for entity in entities for name in entity.names}
    rng = random.Random(3)
    drawn = [draw(book, rng.random, (1, 2, 3, 4)) for _ in range(400)]
    for question in filter(None, drawn):
        asked += 1
        name, hops = understand(question.text)
        places: set[int | str] = {by_name[name]}
        for hop in hops:
            if hop.is_back:
                places = {e.number for e in entities if e.facts.get(hop.relation) in places}
            else:
                places = {entities[place].facts[hop.relation] for place in places}
        (end,) = places
        names = entities[end].names if isinstance(end, int) else written(hops[-1].relation, end)
        assert set(question.answers) == set(map(plain, names))
    assert asked > 200


# Submissions.


def test_what_a_proof_is_worth() -> None:
    proof = ("a", "b")
    opened = frozenset("abcdefgh")
    for pages, worth in (
        (["a", "b"], 1.0),
        (["b", "a", "a"], 1.0),
        (["a", "b", "c", "d"], 1.0),
        (["a", "b", "c", "d", "e"], 0.8),
        (["a"], 0.5),
        (["a", "c", "d", "e"], 0.25),
        (["c"], 0.0),
        ([], 0.0),
        (["a", "b", "z"], 0.0),
    ):
        assert support(proof, pages, opened) == pytest.approx(worth), pages
    assert support(proof, ["a", "b"], frozenset("a")) == 0.0


def test_the_right_answer_counts_only_with_pages_that_were_opened(env: Search) -> None:
    _, submitted = oracle_calls(env, 11)
    ready = env.snapshot()
    # The oracle's own submission, at once after the reset.
    env.reset(seed=11)
    messages, _, terminated, _, info = env.step(calling(env, ("submit", submitted)))
    assert (terminated, info["success"], info["reward_terms"]["solved"]) == (True, False, 0)
    assert "do not prove" in content_text(messages[0])
    env.restore(ready)
    *_, info = env.step(calling(env, ("submit", submitted)))
    assert (info["success"], info["reward_terms"]["solved"]) == (True, 1)
    for answer in (submitted["answer"].upper() + ".", f"  The {submitted['answer']} "):
        env.restore(ready)
        assert env.step(calling(env, ("submit", {**submitted, "answer": answer})))[-1]["success"], answer
    for answer in (f"{submitted['answer']} or somebody", "", "x" * 100_000, f"not {submitted['answer']}"):
        env.restore(ready)
        assert not env.step(calling(env, ("submit", {**submitted, "answer": answer})))[-1]["success"], answer
    env.restore(ready)
    messages, *_, info = env.step(calling(env, ("submit", submitted), ("submit", submitted)))
    assert "has ended" in content_text(messages[1])


def test_an_earlier_version_proves_nothing_and_what_it_says_is_wrong() -> None:
    env = Search(hops=1, pages=PAGES, outdated=0.9)
    book = env.books[0]
    trapped = 0
    for seed in range(80):
        env.reset(seed=seed)
        name, relation = env.task_name.partition(":")[2].split("/")
        entity = next(entity for entity in book.world.entities if entity.title == name.strip("~"))
        if relation.startswith("~") or entity.number not in book.earlier:
            continue
        before = book.pages[book.earlier[entity.number]].id
        env.step(calling(env, ("open", {"page": before})))
        ready = env.snapshot()
        _, submitted = oracle_calls(env, seed)
        env.restore(ready)
        *_, info = env.step(calling(env, ("submit", {"answer": submitted["answer"], "pages": [before]})))
        assert info["reward_terms"]["solved"] == 0
        if relation in entity.past:
            old = book.world.name(entity.past[relation])
            oracle_calls(env, seed)
            *_, info = env.step(calling(env, ("submit", {**submitted, "answer": old})))
            assert not info["success"]
            trapped += 1
    assert trapped >= 15


def test_milestones_add_up_to_one_and_are_left_out_otherwise() -> None:
    env = Search(pages=PAGES, milestones=True)
    for seed in range(10):
        player = Oracle(env)
        messages, info = env.reset(seed=seed)
        player.begin()
        total, done = 0.0, False
        while not done:
            reply = player.act(messages, info)
            messages, _, done, _, info = env.step(reply)
            total += info["reward_terms"]["milestones"]
        assert total == pytest.approx(1)
        # Opening a page again is no progress.
    _, submitted = oracle_calls(env, 0)
    *_, info = env.step(calling(env, ("open", {"page": submitted["pages"][0]})))
    assert info["reward_terms"]["milestones"] == 0
    assert "milestones" not in played(Search(pages=PAGES), 0)[2]["reward_terms"]


def test_calls_cost_and_the_oracle_earns_nearly_one(env: Search) -> None:
    said, rewards, info = played(env, 5)
    assert info["success"]
    assert said[-1] == "Right."
    assert sum(rewards) == pytest.approx(1 - 0.01 * len(rewards))


def test_what_the_model_reads(env: Search) -> None:
    messages, _ = env.reset(seed=2)
    assert all(f"`{name}`" in messages[0]["content"] for name in ("search", "open", "submit"))
    calls = [
        ("search", {"query": "poet"}),
        ("search", {"query": " "}),
        ("open", {"page": "nothing"}),
        ("open", {}),
    ]
    calls += [
        ("search", {"query": "poet", "page": "two"}),
        ("search", {"query": "x" * 5_000}),
        ("search", {"query": "qqq"}),
    ]
    texts = [content_text(message) for message in env.step(calling(env, *calls))[0]]
    assert re.match(r"\[[0-9a-f]{10}\] .+ \(version of \d{4}-\d\d-\d\d\): .*poet", texts[0])
    assert len(texts[0].splitlines()) == 10
    for text, words in zip(
        texts[1:],
        ("query is empty", "no page 'nothing'", "'page' is missing", "valid integer", "5000 characters"),
        strict=False,
    ):
        assert text.startswith("Error: ")
        assert words in text
    assert texts[-1] == "No results."
    reply = env.step("I think it is the poet.")[0][0]["content"]
    assert "`search`, `open`, or `submit`" in reply


def test_tools_under_other_names_are_called_so_everywhere() -> None:
    env = Search(pages=PAGES, renamed=3, distractors=4)
    names = {tool.name for tool in env.tools}
    assert len(names) == 7
    assert not names & {"search", "open", "submit"}
    text = env.reset(seed=0)[0][0]["content"]
    assert set(re.findall(r"`(\w+)`", text)) <= names
    assert played(env, 0)[2]["success"]


def test_faults_are_read_and_survived() -> None:
    env = Search(pages=PAGES, faults={"refused": 0.2, "broken": 0.1, "timeout": 0.1, "stale": 0.1})
    said = [text for seed in range(12) for text in played(env, seed)[0]]
    for words in ("busy", "failed", "in time"):
        assert any(text.startswith("Error: the service") and words in text for text in said), words
    assert played(env, 4) == played(
        Search(pages=PAGES, faults={"stale": 0.1, "refused": 0.2, "broken": 0.1, "timeout": 0.1}), 4
    )


# Another server.


@pytest.fixture(scope="module")
def served():
    import uvicorn

    app = SearchService(pages=PAGES).app
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def test_a_server_with_the_same_pages_gives_the_same_episodes(env: Search, served: str) -> None:
    other = Search(pages=PAGES, url=served)
    for seed in range(3):
        assert played(other, seed) == played(env, seed)


def test_a_server_with_other_pages_is_refused(served: str) -> None:
    with pytest.raises(ArgumentError, match="does not have the pages of world 9"):
        Search(pages=PAGES, worlds=9, url=served).reset(seed=0)


def test_no_server_is_a_fault() -> None:
    with pytest.raises(EnvironmentFault, match=r"127\.0\.0\.1:9"):
        Search(pages=PAGES, url="http://127.0.0.1:9").reset(seed=0)


def test_the_wrong_argument_is_named() -> None:
    for arguments, words in (
        ({"hops": 5}, "hops=5: give an integer from 1 to 4"),
        ({"hops": ()}, r"hops=\(\) is empty"),
        ({"hops": "two"}, "hops"),
        ({"worlds": -1}, "worlds=-1"),
        ({"pages": 5}, "pages=5: give an integer from 100 to 30000"),
        ({"namesakes": 2}, "give a share from 0 to 1"),
        ({"outdated": "many"}, "outdated='many'"),
        ({"max_turns": 0}, "max_turns=0"),
        ({"faults": {"slwo": 0.1}}, "did you mean slow"),
        ({"weights": {"solve": 1}}, "weights: 'solve' is unknown"),
        ({"url": "localhost:8000"}, "url='localhost:8000': give a URL"),
        ({"url": "http://x", "worlds": (1, 2)}, "leave out worlds"),
        ({"url": "http://x", "faults": {"slow": 0.1}}, "leave out worlds and faults"),
    ):
        with pytest.raises(ArgumentError, match=words):
            Search(**arguments)


def test_what_cannot_be_answered_is_a_fault_that_says_so() -> None:
    with pytest.raises(EnvironmentFault, match="max_turns that is too low"):
        Search(pages=PAGES, max_turns=2).reset(seed=0)
