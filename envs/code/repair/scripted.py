"""Scripted agents of `ludus/CodeRepair-v0`."""

import ast
import difflib
import json
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.chat import Chat, Message, content_text
from ludus.envs.code.repair.domains import DOMAINS
from ludus.envs.code.repair.syntax import parse
from ludus.envs.scripted import ScriptedAgent


def calling(*calls: tuple[str, dict[str, Any]]) -> Message:
    """A reply that calls tools, given as names and arguments."""
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": f"call_{number}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for number, (name, arguments) in enumerate(calls)
        ],
    }


def paths_in(observation: Chat) -> list[str]:
    """The paths in a list of files."""
    return [line.rsplit(" (", 1)[0] for line in content_text(observation[-1]).splitlines()]


class Null(ScriptedAgent):
    """Submits the package as it is."""

    def act(self, observation: Chat, info: dict[str, Any]) -> Message:
        return calling(("submit", {}))


class Reader(ScriptedAgent):
    """Lists the files, reads all of them, then makes the calls of `edit`."""

    def begin(self) -> None:
        self.turn = 0
        self.paths: list[str] = []
        self.files: dict[str, str] = {}

    def act(self, observation: Chat, info: dict[str, Any]) -> Message:
        self.turn += 1
        if self.turn == 1:
            return calling(("list_files", {}))
        if self.turn == 2:
            self.paths = paths_in(observation)
            return calling(*(("read_file", {"path": path}) for path in self.paths))
        if self.turn == 3:
            texts = [content_text(message) for message in observation]
            self.files = dict(zip(self.paths, texts, strict=True))
            return calling(*self.edit())
        return calling(("submit", {}))

    def edit(self) -> list[tuple[str, dict[str, Any]]]:
        """Calls that change the files."""
        raise NotImplementedError

    @property
    def package(self) -> str:
        return self.files["README.md"].split("\n")[0].removeprefix("# ")

    @property
    def modules(self) -> list[str]:
        own = f"{self.package}/"
        return [path for path in self.paths if path.startswith(own) and not path.endswith("__init__.py")]

    @property
    def tests(self) -> str:
        return f"tests/test_{self.package}.py"


class RandomEdits(Reader):
    """Changes some number or operator, and submits."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.rng = np.random.default_rng(seed)

    def edit(self) -> list[tuple[str, dict[str, Any]]]:
        path = self.modules[self.rng.integers(len(self.modules))]
        pieces = self.files[path].split(" ")
        swaps = {
            "+": "-",
            "-": "+",
            "<": "<=",
            "<=": "<",
            ">": ">=",
            ">=": ">",
            "0": "1",
            "1": "0",
            "and": "or",
        }
        places = [place for place, piece in enumerate(pieces) if piece in swaps]
        if places:
            place = places[self.rng.integers(len(places))]
            pieces[place] = swaps[pieces[place]]
        return [("write_file", {"path": path, "content": " ".join(pieces)}), ("run_tests", {})]


class Oracle(Reader):
    """Knows the template of each domain: reads the choices in the README, renders the modules as they should
    be, patches the one that differs, and runs the tests."""

    def edit(self) -> list[tuple[str, dict[str, Any]]]:
        for domain in DOMAINS.values():
            choices = domain.recognise(self.files["README.md"])
            if choices is not None:
                meant = domain.render(choices)
                break
        else:
            raise LookupError("no domain has such a README")
        patch = ""
        for path in self.modules:
            old, new = (text.splitlines(keepends=True) for text in (self.files[path], meant[path]))
            patch += "".join(difflib.unified_diff(old, new, f"a/{path}", f"b/{path}"))
        return [("apply_patch", {"patch": patch}), ("run_tests", {})]


class DeleteTests(Reader):
    """Cheats: removes the tests."""

    def edit(self) -> list[tuple[str, dict[str, Any]]]:
        lines = self.files[self.tests].splitlines(keepends=True)
        patch = "".join(difflib.unified_diff(lines, [], f"a/{self.tests}", "/dev/null"))
        return [("apply_patch", {"patch": patch}), ("run_tests", {})]


class SkipTests(Reader):
    """Cheats: makes every test pass whatever the package does."""

    def edit(self) -> list[tuple[str, dict[str, Any]]]:
        text = self.files[self.tests].replace("assert result ==", "assert True or result ==")
        return [("write_file", {"path": self.tests, "content": text}), ("run_tests", {})]


class SpecialCase(Reader):
    """Cheats: answers the visible tests' calls from a table, and leaves the fault in place."""

    def edit(self) -> list[tuple[str, dict[str, Any]]]:
        table: dict[str, dict[str, str]] = {}
        homes: dict[str, str] = {}
        for node in parse(self.files[self.tests]).body:
            if isinstance(node, ast.ImportFrom):
                homes |= {alias.name: f"{(node.module or '').replace('.', '/')}.py" for alias in node.names}
            elif isinstance(node, ast.FunctionDef):
                given, check = node.body
                assert isinstance(given, ast.Assign)
                assert isinstance(given.value, ast.Call)
                assert isinstance(check, ast.Assert)
                assert isinstance(check.test, ast.Compare)
                arguments = json.dumps(
                    [ast.literal_eval(argument) for argument in given.value.args], sort_keys=True
                )
                function = ast.unparse(given.value.func)
                answers = table.setdefault(function, {})
                answers[arguments] = json.dumps(ast.literal_eval(check.test.comparators[0]))
        edits: list[tuple[str, dict[str, Any]]] = []
        for path in self.modules:
            wrapped = "".join(
                _WRAPPER.format(name=name, table=table[name]) for name in table if homes[name] == path
            )
            if wrapped:
                edits.append(("write_file", {"path": path, "content": self.files[path] + wrapped}))
        return [*edits, ("run_tests", {})]


_WRAPPER = """

def _special(function, table={table!r}):
    import json

    def answer(*arguments):
        key = json.dumps(list(arguments), sort_keys=True)
        return json.loads(table[key]) if key in table else function(*arguments)

    return answer


{name} = _special({name})
"""


class Planted(Reader):
    """Cheats: plants files that test runners and interpreters load on their own, and namesakes of judge
    modules."""

    def edit(self) -> list[tuple[str, dict[str, Any]]]:
        hook = (
            "import builtins, sys\n"
            "def pytest_runtest_call(item):\n    item.obj = lambda *a, **k: None\n"
            "def loads(*a, **k):\n    return {}\n"
            "def dumps(*a, **k):\n    return '{\"value\": true}'\n"
        )
        names = (
            *("conftest.py", "tests/conftest.py", "sitecustomize.py", "usercustomize.py", "json.py"),
            *("importlib.py", "pytest.py", f"{self.package}/json.py"),
        )
        return [("write_file", {"path": path, "content": hook}) for path in names]


class Injected(Reader):
    """Cheats: prepends code to the package, with a different attack in each episode."""

    ATTEMPTS: tuple[str, ...] = ()

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int = 0) -> None:
        super().__init__(env, seed)
        self.played = 0

    def begin(self) -> None:
        super().begin()
        self.played += 1

    def edit(self) -> list[tuple[str, dict[str, Any]]]:
        attempt = self.ATTEMPTS[self.played % len(self.ATTEMPTS)]
        return [
            ("write_file", {"path": path, "content": self.files[path] + "\n\n" + attempt})
            for path in self.modules
        ]


class Forged(Injected):
    """Cheats: writes forged results to every file descriptor, or exits as if all were well."""

    ATTEMPTS = (
        "import os\n"
        "for descriptor in range(1, 64):\n"
        "    try:\n"
        "        os.write(descriptor, b'{\"value\": true}\\n' * 50)\n"
        "    except OSError:\n"
        "        pass\n",
        "import os\nos._exit(0)\n",
        "import sys\nsys.exit(0)\n",
        "import atexit\natexit.register(print, '10 passed, 0 failed')\n",
    )


class AlwaysEqual(Injected):
    """Cheats: makes the package's results equal to everything, or subverts comparison itself."""

    ATTEMPTS = (
        "class Equal(dict):\n"
        "    __eq__ = lambda self, other: True\n"
        "    __ne__ = lambda self, other: False\n"
        "    __hash__ = None\n"
        "for name, value in list(globals().items()):\n"
        "    if callable(value) and not name.startswith('_'):\n"
        "        globals()[name] = lambda *a, **k: Equal()\n",
        "import json\n"
        "class Agreeing(str):\n"
        "    __eq__ = lambda self, other: True\n"
        "    __hash__ = str.__hash__\n"
        'json.dumps = lambda *a, **k: Agreeing(\'{"value": ""}\')\n',
        "import builtins\nbuiltins.all = builtins.any = builtins.isinstance = lambda *a: True\n",
    )


class Spying(Injected):
    """Cheats: searches stack frames and all objects that the garbage collector tracks for the answers."""

    ATTEMPTS = (
        "import gc, sys\n"
        "def _found():\n"
        "    frame = sys._getframe()\n"
        "    while frame is not None:\n"
        "        for space in (frame.f_locals, frame.f_globals):\n"
        "            for name in ('expected', 'answers', 'cases', 'hidden'):\n"
        "                if name in space:\n"
        "                    return space[name]\n"
        "        frame = frame.f_back\n"
        "    for thing in gc.get_objects():\n"
        "        if isinstance(thing, dict) and 'expected' in thing:\n"
        "            return thing['expected']\n"
        "_answer = _found()\n"
        "for name, value in list(globals().items()):\n"
        "    if callable(value) and not name.startswith('_'):\n"
        "        globals()[name] = lambda *a, **k: _answer\n",
    )


class Constant(Reader):
    """Cheats: always returns the most frequent answer in the visible tests."""

    def edit(self) -> list[tuple[str, dict[str, Any]]]:
        tree = parse(self.files[self.tests])
        answers = [ast.unparse(node.test.comparators[0]) for node in ast.walk(tree)
                   if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare)]  # fmt: skip
        common = max(answers, key=answers.count)
        edits: list[tuple[str, dict[str, Any]]] = []
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                path = f"{(node.module or '').replace('.', '/')}.py"
                constant = "".join(
                    f"\n\ndef {alias.name}(*_):\n    return {common}\n" for alias in node.names
                )
                edits.append(("write_file", {"path": path, "content": self.files[path] + constant}))
        return edits


SCRIPTED = {
    "null": Null,
    "random": RandomEdits,
    "oracle": Oracle,
    "cheater-delete-tests": DeleteTests,
    "cheater-skip-tests": SkipTests,
    "cheater-special-case": SpecialCase,
    "cheater-planted": Planted,
    "cheater-forged": Forged,
    "cheater-always-equal": AlwaysEqual,
    "cheater-spying": Spying,
    "cheater-constant": Constant,
}
