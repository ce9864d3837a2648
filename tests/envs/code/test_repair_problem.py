"""Generated packages and their faults: specified, deterministic, and wrong where they should be."""

import ast
import gc
import json
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from ludus.envs.code.repair.domains import DOMAINS
from ludus.envs.code.repair.faults import FAULTS, Source, applied
from ludus.envs.code.repair.problem import HIDDEN, VISIBLE, Problem, draw_problem
from ludus.envs.code.repair.syntax import parse
from ludus.envs.code.repair.trusted import _LOOP, Call, Endless, answers, compile_package

EVERY = list(DOMAINS.values())
KINDS = list(FAULTS)


@pytest.mark.parametrize("name", DOMAINS)
def test_the_readme_tells_every_choice(name: str) -> None:
    domain = DOMAINS[name]
    for seed in range(20):
        choices = domain.draw(Random(seed))
        readme = domain.render(choices)["README.md"]
        assert domain.recognise(readme) == choices
        assert not any(other.recognise(readme) for other in EVERY if other is not domain)
        assert "$" not in readme


@pytest.mark.parametrize("name", DOMAINS)
def test_every_choice_changes_the_package(name: str) -> None:
    domain = DOMAINS[name]
    choices = domain.draw(Random(0))
    modules = {path: text for path, text in domain.render(choices).items() if path != "README.md"}
    for choice, options in domain.choices.items():
        assert len(options) > 1
        for option in options:
            if option == choices[choice]:
                continue
            other = domain.render({**choices, choice: option})
            # A name found only in the README would mean nothing.
            if choice not in ("item", "ride", "task"):
                assert modules != {path: text for path, text in other.items() if path != "README.md"}, choice


@pytest.mark.parametrize("name", DOMAINS)
def test_the_faultless_package_answers_every_call_and_calls_do_not_meet(name: str) -> None:
    domain = DOMAINS[name]
    for seed in range(10):
        rng = Random(seed)
        choices = domain.draw(rng)
        modules = compile_package(domain.render(choices))
        assert len(domain.modules) >= 3
        calls = []
        for _ in range(40):
            module, function, arguments = domain.calls(rng, choices)
            calls.append(Call(f"{choices['package']}.{module}", function, json.dumps(arguments)))
        together = answers(modules, calls)
        assert None not in together
        # No call leaves anything behind that another sees.
        assert answers(modules, calls[::-1]) == together[::-1]


def test_problems_show_their_fault_in_visible_and_in_hidden_calls() -> None:
    for seed in range(40):
        problem = draw_problem(Random(seed), EVERY, KINDS)
        assert len(problem.visible) == VISIBLE
        assert len(problem.hidden) == HIDDEN
        for cases in (problem.visible, problem.hidden):
            assert not all(case.already_right for case in cases)
            assert any(case.already_right for case in cases)
        assert not {case.call for case in problem.visible} & {case.call for case in problem.hidden}
        # The agent's files contain no hidden call.
        everything = "".join(problem.files.values())
        assert not any(
            case.call.arguments in everything and len(case.call.arguments) > 12 for case in problem.hidden
        )


def test_a_problem_follows_from_its_seed() -> None:
    problems = [draw_problem(Random(seed), EVERY, KINDS) for seed in (1, 2, 1)]
    assert problems[0] == problems[2] != problems[1]


@pytest.mark.parametrize("kind", FAULTS)
def test_every_kind_of_fault_is_found_and_is_the_only_change(kind: str) -> None:
    problem = draw_problem(Random(3), EVERY, [kind])
    assert problem.fault == kind
    domain = DOMAINS[problem.domain]
    choices = domain.recognise(problem.files["README.md"])
    assert choices is not None
    clean = domain.render(choices)
    assert sum(problem.files[path] != clean[path] for path in clean) == 1


def test_visible_tests_fail_exactly_where_calls_are_wrong() -> None:
    for seed in range(15):
        problem = draw_problem(Random(seed), EVERY, KINDS)
        assert outcomes(problem, problem.files) == [case.already_right for case in problem.visible]
        domain = DOMAINS[problem.domain]
        clean = domain.render(domain.recognise(problem.files["README.md"]) or {})
        assert all(outcomes(problem, clean))


def outcomes(problem: Problem, files: dict[str, str]) -> list[bool]:
    """Whether each visible test passes: their file run beside the package, as our own tests of it."""
    test = f"tests/test_{problem.package}.py"
    names = [node.name for node in ast.parse(problem.files[test]).body if isinstance(node, ast.FunctionDef)]
    # A test that fails raises, and so gives no answer.
    package = {path: text for path, text in files.items() if path.endswith(".py") and path != test}
    modules = compile_package({**package, "visible.py": problem.files[test]})
    return [
        answer is not None for answer in answers(modules, [Call("visible", name, "[]") for name in names])
    ]


def test_every_loop_is_counted() -> None:
    """The heads of loops are found on the text; here they are found on the tree."""
    for domain in EVERY:
        for text in domain.render(domain.draw(Random(1))).values():
            if text.startswith("#"):
                continue
            loops = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.For | ast.While)]
            assert len(_LOOP.findall(text)) == len(loops)


class Garbage:
    """Freed only when the collector runs, and then lets another thread run."""

    def __init__(self) -> None:
        self.own = self

    def __del__(self) -> None:
        time.sleep(2e-4)


def test_threads_parse_at_the_same_time_even_where_the_collector_runs_in_between() -> None:
    text = "\n".join(DOMAINS["planner"].modules.values()).replace("$", "_")

    def work(_: int) -> int:
        for _ in range(20):
            Garbage()
            tree = parse(text)
        return len(tree.body)

    threshold = gc.get_threshold()
    gc.set_threshold(30)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert len(set(threads.map(work, range(8)))) == 1
    finally:
        gc.set_threshold(*threshold)


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    while True:\n        pass\n",
        "def f():\n    things = [1]\n    for thing in things:\n        things.append(thing)\n",
        "def f():\n    return f()\n",
    ],
)
def test_what_runs_for_ever_is_stopped(text: str) -> None:
    with pytest.raises(Endless):
        answers(compile_package({"m.py": text}), [Call("m", "f", "[]")])


BEFORE_AND_AFTER = [
    ("off_by_one", "x = n[3]", {"x = n[4]", "x = n[2]"}),
    ("off_by_one", "x = 0", {"x = 1"}),
    ("boundary", "x = a <= b", {"x = a < b"}),
    ("boundary", "x = a > (b)", {"x = a >= (b)"}),
    ("inverted_comparison", "x = a in b", {"x = a not in b"}),
    ("inverted_comparison", "x = a == b", {"x = a != b"}),
    ("wrong_operator", "x = a + b * c", {"x = a - b * c", "x = a + b + c"}),
    ("wrong_operator", "x += a", {"x -= a"}),
    ("wrong_operator", "x = a // b", {"x = a % b"}),
    ("negated_condition", "x = 1 if a else 2", {"x = 1 if not a else 2"}),
    ("negated_condition", "if not a:\n    b()", {"if a:\n    b()"}),
    ("wrong_connective", "x = a and b and c", {"x = a or b and c"}),
    ("swapped_arguments", "f(a, b + 1, c)", {"f(b + 1, a, c)", "f(a, c, b + 1)"}),
    ("missing_branch", "if a:\n    b()\nc()", {"c()"}),
    (
        "missing_branch",
        "if a:\n    b()\nelif c:\n    d()\nelse:\n    e()",
        {"if a:\n    b()\nelse:\n    e()"},
    ),
    ("missing_statement", "x = []\nx.append(1)", {"x = []\n"}),
    ("missing_statement", "n += 1\nreturn_(n)", {"return_(n)", "n += 1\n"}),
    (
        "mutable_default",
        "def f(a, b=None):\n    if b is None:\n        b = []\n    return b",
        {"def f(a, b=[]):\n    return b"},
    ),
    (
        "wrong_order",
        "x = sorted(y, key=lambda z: (-z.a, z.b))",
        {
            "x = sorted(y, key=lambda z: (z.b, -z.a))",
            "x = sorted(y, key=lambda z: (z.a, z.b))",
            "x = sorted(y, key=lambda z: (-z.a, -z.b))",
        },
    ),
    ("wrong_order", "x = sorted(y)", {"x = list(y)"}),
    ("wrong_order", "x.sort(key=lambda z: not z.a)", {"x.sort(key=lambda z: z.a)"}),
    ("wrong_order", "x.sort(reverse=True)", {"x.sort(reverse=False)"}),
    ("stale_cache", "self.cache.clear()\na()", {"a()"}),
    ("stale_cache", "self.total_cache = None\na()", {"a()"}),
    ("stale_cache", "key = (a, b)", {"key = a", "key = b"}),
    ("wrong_builtin", "x = min(a, b)", {"x = max(a, b)"}),
    ("wrong_builtin", "x = any(a)", {"x = all(a)"}),
    ("wrong_jump", "for a in b:\n    continue", {"for a in b:\n    break"}),
    (
        "early_return",
        "def f(a):\n    for b in a:\n        b()\n    return a",
        {"def f(a):\n    for b in a:\n        b()\n        return a"},
    ),
    (
        "wrong_name",
        "def f(self, a, b):\n    return self.a + a",
        {"def f(self, a, b):\n    return self.a + b"},
    ),
    ("missing_cleaning", "x = y.strip().lower()", {"x = y.lower()", "x = y.strip()"}),
    ("missing_copy", "x = list(y)", {"x = y"}),
    ("missing_copy", "x = y[:]", {"x = y"}),
    ("wrong_end", "x = y[0]", {"x = y[-1]"}),
    ("wrong_end", "x = y.pop(0)", set()),
]


@pytest.mark.parametrize(("kind", "before", "after"), BEFORE_AND_AFTER)
def test_faults_are_what_they_say(kind: str, before: str, after: set[str]) -> None:
    assert {applied(before, edits) for edits in FAULTS[kind](Source(before))} == after


def test_every_kind_is_shown_by_example() -> None:
    assert {kind for kind, _, _ in BEFORE_AND_AFTER} == set(FAULTS)


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_leave_modules_that_can_be_read(kind: str) -> None:
    for domain in EVERY:
        for seed in range(3):
            files = domain.render(domain.draw(Random(seed)))
            for text in (text for path, text in files.items() if path.endswith(".py")):
                for edits in FAULTS[kind](Source(text)):
                    changed = applied(text, edits)
                    assert changed != text
                    ast.parse(changed)
