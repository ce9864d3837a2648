"""`ludus/Search-v0`: questions that take several pages to answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ludus.envs.arguments import as_integer, as_integers, as_url
from ludus.envs.assistant.exchange import Exchange, page_opened
from ludus.envs.assistant.search.questions import Question, draw, plain
from ludus.envs.assistant.search.scripted import AGENTS, Oracle
from ludus.envs.assistant.service_env import MILESTONES, ServiceEnv, WorldState, solves
from ludus.envs.base import Outcome, Start
from ludus.envs.chat import Chat, system, user
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.envs.scripted import ScriptedAgent
from ludus.envs.tool_env import Answer
from ludus.tools.content import content_key
from ludus.tools.errors import ToolError, ToolFault
from ludus.tools.services.search import SearchClient, SearchService
from ludus.tools.services.transport import connect
from ludus.tools.services.world.world import LEAST, MOST
from ludus.tools.tool import tool

WEIGHTS: Mapping[str, float] = {"solved": 1.0, MILESTONES: 0.2}
MAX_HOPS = 4
ATTEMPTS = 300
"""The most questions drawn until one can be answered."""
INSTRUCTIONS = (
    "Answer the question from an encyclopedia. `search` finds pages, `open` shows one. A fact stands only on "
    "the page of its subject: where an event took place, on the page of the event and not of the town. "
    "Others may have nearly the same name, and a page may call somebody or something by another name, which "
    "their own page gives. Some pages come in several versions: only the latest is right. When you are sure, "
    "call `submit`, once, with the answer alone (a name, a word or a year) and the ids of the pages that "
    "prove it, one for each fact that you used; you must have opened all of them."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchState(WorldState):
    """The state of an episode."""

    question: Question
    world: int
    """The index of the episode's world in the environment's worlds."""
    opened: frozenset[str] = frozenset()


class Search(ServiceEnv):
    """Answer a question about an invented world from its encyclopedia, and prove the answer.

    ## Task
    "Who founded the company whose headquarters stand in the birthplace of …?": one to four steps over 42
    relations between people, places, companies, events and countries, each put in several ways. No single
    page holds the answer, and pages are written in prose. The traps: people and companies with nearly the
    same name, aliases under which pages mention each other, and outdated versions of pages, which the search
    also finds. Questions are drawn from the seed and never run out; each has one answer, which a scripted
    agent has found with these tools before the question is asked. `task_name` is the world, the starting
    point of the question, and the relations it follows.

    ## Observation
    `Chat`. After `reset`: a system message with the rules, a user message with the question. Then a `tool`
    message for each call, or a user message.

    ## Actions
    `Reply`, with calls of the tools:
    - `search(query, page)`: ten results, each with the page's id, title, version date and a sentence.
    - `open(page)`: the whole page, with its version date.
    - `submit(answer, pages)`: the answer (a name, a word or a year; nothing else, and not several), and the
      ids of the pages that prove it, all opened before. Ends the episode.

    ## Rewards
    | term | value | weight |
    |---|---|---|
    | `solved` | on submission: 0 if the answer is wrong, otherwise its support | 1 |
    | `milestones` | share of the proof's pages opened for the first time on this turn | 0.2 |
    | `calls` | calls made | −0.01 |
    | `tool_errors` | invalid calls | −0.02 |
    | `malformed` | 1 if the reply has no call | −0.05 |

    `milestones` is present only with `milestones=True`. The support is the share of steps whose page, in its
    present version, was submitted, times min(1, 2 × useful pages / submitted pages): one useless page for
    each useful one costs nothing. Submitting any unopened page makes it 0.

    ## End of episode
    `submit` terminates the episode. Truncated after `max_turns` replies. `info["success"]` is whether
    `solved` is 1.

    ## Arguments
    - `hops` ((1, 2, 3, 4)): the numbers of steps to draw from.
    - `worlds` ((0,)): the seeds of the worlds to draw from, or a single seed.
    - `pages` (10000): the number of pages in a world, 100 to 30,000.
    - `namesakes` (0.2): the share of people and companies with nearly the same name as another.
    - `outdated` (0.2): the share of pages that also have an outdated version.
    - `milestones` (False): reward progress.
    - `faults` (None): shares of calls that go wrong, by kind, as in `{"slow": 0.1, "timeout": 0.05,
      "refused": 0.1, "broken": 0.05, "stale": 0.05}`; the seed decides which ones.
    - `url` (None): a server to search instead of the service in this process. It must have the pages of the
      questions' single world: `ludus serve tools` serves them at /search, and so can any server with
      SearxNG's API. The live web does not have them.
    - `distractors` (0): how many useless but plausible tools to mix in, at most 16.
    - `renamed` (False): rename tools and arguments; a number is the seed of the names.
    - `max_turns` (40): the most replies in an episode.
    - `weights` (None): reward weights to change, by term.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = AGENTS

    def __init__(
        self,
        hops: Sequence[int] | int = (1, 2, 3, 4),
        worlds: Sequence[int] | int = (0,),
        pages: int = 10_000,
        namesakes: float = 0.2,
        outdated: float = 0.2,
        milestones: bool = False,
        faults: Mapping[str, float] | None = None,
        url: str | None = None,
        distractors: int = 0,
        renamed: bool | int = False,
        max_turns: int = 40,
        weights: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.hops = as_integers("hops", hops, 1, MAX_HOPS)
        self.seeds = as_integers("worlds", worlds, 0, 2**63)
        max_turns = as_integer("max_turns", max_turns, 1, 1_000)
        pages = as_integer("pages", pages, LEAST, MOST)
        if url is not None:
            as_url("url", url)
        if url is not None and (faults or len(self.seeds) > 1):
            raise ArgumentError("url: a server has its own world and faults; leave out worlds and faults")
        try:
            services = {
                f"search-{seed}": SearchService(seed, pages, namesakes, outdated) for seed in self.seeds
            }
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"namesakes={namesakes!r}, outdated={outdated!r}: {error}") from None
        super().__init__(
            services if url is None else {},
            WEIGHTS,
            weights,
            distractors=distractors,
            renamed=renamed,
            faults=faults,
            milestones=milestones,
            render_mode=render_mode,
        )
        self.max_turns = max_turns
        self.books = tuple(service.book for service in services.values())
        self.url = url
        if url is None:
            self.clients = tuple(SearchClient(self.connect(name)) for name in services)
            self._trial = self
        else:
            self.clients = (SearchClient(connect(url)),)
            # Whether a question can be answered is tested in this process, not on a remote server.
            self._trial = Search(
                hops,
                worlds,
                pages,
                namesakes,
                outdated,
                distractors=distractors,
                renamed=renamed,
                max_turns=max_turns,
            )
        self._is_known = url is None
        self._instructions = self.toolbox.worded(INSTRUCTIONS)
        self._oracle = Oracle(self._trial)

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        return {"hops": ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))}

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        if not self._is_known:
            self._meet_server()
        trial = self._trial
        for _ in range(ATTEMPTS):
            world = int(rng.random() * len(self.books))
            question = draw(self.books[world], rng.random, self.hops)
            if question is None:
                continue
            state = SearchState(question=question, world=world, worlds=trial.begin(rng))
            begun = Start(self._asked(question), f"{self.seeds[world]}:{question.key}", state)
            if solves(trial, begun, self._oracle) and self._needs_work(state):
                if trial is not self:
                    state = replace(state, worlds=())
                hops = len(question.proof)
                return Start(self._asked(question), begun.task, state, f"{hops} hop{'s' * (hops > 1)}")
        raise EnvironmentFault(
            f"none of {ATTEMPTS} questions with hops={self.hops} could be answered: too many faults, a "
            "max_turns that is too low, or a world that is too small"
        )

    def _needs_work(self, state: SearchState) -> bool:
        """Whether doing nothing changes nothing: then it never succeeds, however often it is repeated."""
        idle = self._trial.answer(state, "")
        return not idle.terminated and idle.state == state

    def _asked(self, question: Question) -> Chat:
        return [system(self._instructions), user(question.text)]

    def respond(self, state: SearchState, text: str) -> Outcome:
        message = "Call a tool: `search`, `open`, or `submit` with the answer and the pages that prove it."
        return Outcome(state, [user(self.toolbox.worded(message))], {"malformed": 1.0})

    @tool
    def search(self, state: SearchState, query: str, page: int = 1) -> Answer:
        """Search the encyclopedia; ten results, best first.

        Args:
            query: the words to search for
            page: which ten results, 1 for the first
        """
        found = self.clients[state.world].search(query, page)
        lines = [
            f"[{hit.id}] {hit.title} (version of {hit.date}): {hit.snippet}" for hit in found.results
        ] or ["No results."]
        return Answer(state, "\n".join(lines))

    @tool
    def open(self, state: SearchState, page: str) -> Answer:
        """Open a page of the encyclopedia.

        Args:
            page: its id, as search results show it
        """
        read = self.clients[state.world].open(page)
        state, reached = _opened(state, read.id)
        text = f"{read.title} (version of {read.date})\n\n{read.text}"
        return Answer(state, text, {MILESTONES: reached})

    def witness(self, state: SearchState, exchange: Exchange) -> Outcome:
        page = page_opened(exchange)
        if not page:
            return Outcome(state, [], {})
        state, reached = _opened(state, page)
        return Outcome(state, [], {MILESTONES: reached})

    @tool
    def submit(self, state: SearchState, answer: str, pages: list[str]) -> Answer:
        """Submit the answer; this ends the task.

        Args:
            answer: the answer alone: a name, a word or a year
            pages: the ids of the pages that prove it, all of them opened before
        """
        worth = support(state.question.proof, pages, state.opened)
        lacks = lacking(state.question.proof, pages, state.opened)
        if plain(answer[:1_000]) not in state.question.answers:
            failure = "; ".join([f"answered {answer[:300]}", *lacks])
            return Answer(state, "Wrong.", {"solved": 0.0}, True, failure=failure)
        said = (
            "Right."
            if worth == 1.0
            else "Right, but these pages, as far as you opened them, do not prove it."
        )
        return Answer(state, said, {"solved": worth}, True, worth == 1.0, "; ".join(lacks))

    def anchor(self, state: SearchState) -> int:
        # The encyclopedia never changes, nor does it know the time; only faults follow from the calls.
        calls = [snapshot.calls for snapshot in state.worlds] if self.faults else []
        return content_key((calls, state.opened))

    def expected(self, state: SearchState) -> str:
        question = state.question
        return f"{' or '.join(question.answers)}, proved by {', '.join(dict.fromkeys(question.proof))}"

    def _meet_server(self) -> None:
        """Whether the server has the pages that the questions are about.

        Raises:
            ArgumentError: it does not have them.
            EnvironmentFault: it does not answer.
        """
        page = self.books[0].pages[0]
        try:
            has = self.clients[0].open(page.id).text == page.text
        except ToolError:
            has = False
        except ToolFault as fault:
            raise EnvironmentFault(str(fault)) from fault
        if not has:
            raise ArgumentError(
                f"url={self.url!r} does not have the pages of world {self.seeds[0]} in this size: serve them "
                "with the environment's seed and sizes, or change the environment's"
            )
        self._is_known = True


def _opened(state: SearchState, page: str) -> tuple[SearchState, float]:
    """The state after a page was opened, and the share of the proof's pages that it newly reached."""
    opened = state.opened | {page}
    way = set(state.question.proof)
    return replace(state, opened=opened), len((opened - state.opened) & way) / len(way)


def support(proof: Sequence[str], pages: Sequence[str], opened: frozenset[str]) -> float:
    """The support that submitted pages give, from 0 to 1: see `Search`."""
    given = set(pages)
    useful = len(given & set(proof))
    if not useful or not given <= opened:
        return 0.0
    covered = sum(page in given for page in proof) / len(proof)
    return covered * min(1.0, 2 * useful / len(given))


def lacking(proof: Sequence[str], pages: Sequence[str], opened: frozenset[str]) -> list[str]:
    """What is wrong with submitted pages as a proof, in words."""
    wrong = {
        "pages missing": [page for page in dict.fromkeys(proof) if page not in pages],
        "pages never opened": [page for page in dict.fromkeys(pages) if page not in opened],
        "useless pages": [page for page in dict.fromkeys(pages) if page in opened and page not in proof],
    }
    return [f"{what}: {', '.join(found)[:500]}" for what, found in wrong.items() if found]
