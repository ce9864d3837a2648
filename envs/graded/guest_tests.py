"""Runs tests in a sandbox that does not hold the program they test.

Whatever the tests call that they do not define themselves is looked up among answers that were computed in
another sandbox, where the program is. A call without an answer is noted and gives a `Pending`; an `assert`
that uses one is passed over, and the owner runs the tests again once it has the answers. So the program sees
neither the tests nor what they expect, and cannot make them pass by what it does to its own process.
"""

import ast
import builtins
import json
from typing import Any


class Unanswered(BaseException):
    """What is needed now is not known yet. Not an `Exception`, so that tests do not catch it."""


class Pending:
    """The answer to a call that is not known yet; whatever is done with it raises `Unanswered`."""


def _unanswered(*arguments: Any) -> Any:
    raise Unanswered


for _operation in (
    "lt", "le", "eq", "ne", "gt", "ge", "hash", "bool", "len", "iter", "next", "getitem",
    "contains", "call", "getattr", "int", "float", "complex", "index", "round", "trunc", "floor",
    "ceil", "str", "repr", "format", "enter", "exit", "bytes", "add", "radd", "sub", "rsub", "mul",
    "rmul", "truediv", "rtruediv", "floordiv", "rfloordiv", "mod", "rmod", "divmod", "rdivmod",
    "pow", "rpow", "and", "rand", "or", "ror", "xor", "rxor", "lshift", "rshift", "neg", "pos",
    "abs", "invert",
):  # fmt: skip
    setattr(Pending, f"__{_operation}__", _unanswered)


MOST_ASKED = 5_000
"""Calls that are noted in one run."""


class Raised(Exception):
    """The program raised an exception that is not one of Python's own."""


class Handle:
    """A value that only the program has, such as an instance of its own class."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return "<a value of the program>"


class Function:
    """A name that the tests do not define: the program's."""

    def __init__(self, name: str, record: "Record") -> None:
        self._name = name
        self._record = record

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._record.answer(self._name, args, kwargs)


class Record:
    """The calls so far with their answers, and those that are still to be answered."""

    def __init__(self, calls: list[str], answers: list[Any]) -> None:
        self.known: dict[tuple[str, int], tuple[int, Any]] = {}
        self.asked: list[str] = []
        times: dict[str, int] = {}
        for number, (call, answer) in enumerate(zip(calls, answers, strict=True)):
            self.known[call, times.get(call, 0)] = (number, answer)
            times[call] = times.get(call, 0) + 1
        self._times: dict[str, int] = {}

    def answer(self, name: str, args: Any, kwargs: Any) -> Any:
        call = json.dumps([name, encoded(list(args)), encoded(dict(kwargs))])
        time = self._times.get(call, 0)
        self._times[call] = time + 1
        if (call, time) not in self.known:
            if len(self.asked) == MOST_ASKED:
                raise Unanswered
            self.asked.append(call)
            return Pending()
        number, answer = self.known[call, time]
        if isinstance(answer, dict) and "error" in answer:
            kind = getattr(builtins, str(answer["error"]), None)
            if isinstance(kind, type) and issubclass(kind, Exception):
                raise kind(answer.get("text", ""))
            raise Raised(str(answer.get("text", "")))
        return decoded(answer, number)


class _PassOver(ast.NodeTransformer):
    """`assert x` becomes `try: assert x` / `except Unanswered: pass`."""

    def visit_Assert(self, node: ast.Assert) -> ast.Try:
        handler = ast.ExceptHandler(type=ast.Name("__unanswered__", ast.Load()), name=None, body=[ast.Pass()])
        return ast.Try(body=[node], handlers=[handler], orelse=[], finalbody=[])


def run_tests(setup: str, tests: str, function: str, calls: list[str], answers: list[Any]) -> dict[str, Any]:
    """Run tests as far as the answers reach.

    Args:
        setup: Run before them, such as their imports.
        function: A name that is the program's even if `setup` defines it.

    Returns:
        `{"asked": […]}` where calls are unanswered; else `{"passed": True}`, or `{"failed": why}`.
    """
    record = Record(calls, answers)
    space: dict[str, Any] = {"__name__": "tests", "__unanswered__": Unanswered}
    try:
        exec(compile(setup, "setup", "exec"), space)
        tree = ast.parse(tests)
        defined = {
            node.id if isinstance(node, ast.Name) else node.name
            for node in ast.walk(tree)
            if (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
            or isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        for name in (used - defined) | {function}:
            if name == function or (name not in space and not hasattr(builtins, name)):
                space[name] = Function(name, record)
        exec(compile(ast.fix_missing_locations(_PassOver().visit(tree)), "tests", "exec"), space)
    except Unanswered:
        pass
    except AssertionError as error:
        if not record.asked:
            return {"failed": f"line {_line(error)}: {_source(tests, _line(error))} {error}".strip()[:500]}
    except BaseException as error:
        if not record.asked:
            where = f"line {_line(error)}: {_source(tests, _line(error))}: " if _line(error) else ""
            return {"failed": f"{where}{type(error).__name__}: {error}"[:500]}
    return {"asked": record.asked} if record.asked else {"passed": True}


def encoded(value: Any) -> Any:
    """Python's plain data as JSON, whole: types, tuples, sets and infinities included."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        value = int(value)
        return value if abs(value) < 2**62 else {"i": hex(value)}
    if isinstance(value, float):
        return {"f": repr(float(value))}
    if isinstance(value, complex):
        return {"c": [repr(value.real), repr(value.imag)]}
    if isinstance(value, bytes | bytearray):
        return {"b": bytes(value).hex()}
    if isinstance(value, range):
        return {"r": [value.start, value.stop, value.step]}
    for name, kind in _KINDS.items():
        if isinstance(value, kind):
            return {name: [encoded(item) for item in value]}
    if isinstance(value, dict):
        return {"d": [[encoded(key), encoded(item)] for key, item in value.items()]}
    if isinstance(value, Handle):
        return {"h": value.number}
    if isinstance(value, Pending):
        raise Unanswered
    raise TypeError(f"a {type(value).__name__} cannot be handed to the program")


def decoded(value: Any, number: int = -1) -> Any:
    """What `encoded` made, again. `number` is the answer's, by which its handle is known."""
    if not isinstance(value, dict):
        return value
    ((name, content),) = value.items()
    match name:
        case "i":
            return int(content, 16)
        case "f":
            return float(content)
        case "c":
            return complex(float(content[0]), float(content[1]))
        case "b":
            return bytes.fromhex(content)
        case "r":
            return range(*content)
        case "d":
            return {decoded(key): decoded(item) for key, item in content}
        case "y":
            return iter([decoded(item) for item in content])
        case "h":
            return Handle(number)
    return _KINDS[name](decoded(item) for item in content)


_KINDS: dict[str, type[Any]] = {"l": list, "t": tuple, "s": set, "z": frozenset}


def _line(error: BaseException) -> int:
    frames, line = error.__traceback__, 0
    while frames is not None:
        if frames.tb_frame.f_code.co_filename == "tests":
            line = frames.tb_lineno
        frames = frames.tb_next
    return line


def _source(tests: str, line: int) -> str:
    lines = tests.splitlines()
    return lines[line - 1].strip() if 0 < line <= len(lines) else ""
