"""Faults: small changes to a module's text that programmers make by accident, found in its syntax tree."""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from ludus.envs.code.repair.syntax import parse

Edit = tuple[int, int, str]
"""Replace the text from one offset to another."""
Edits = tuple[Edit, ...]


@dataclass(frozen=True)
class Source:
    """A module's text (ASCII) and its syntax tree."""

    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def lines(self) -> list[int]:
        """The offset of each line, and of the end of the text."""
        offsets = [0]
        for line in self.text.splitlines(keepends=True):
            offsets.append(offsets[-1] + len(line))
        return offsets

    def start(self, node: ast.AST) -> int:
        return self.lines[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> int:
        return self.lines[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]

    def of(self, node: ast.AST) -> str:
        return self.text[self.start(node) : self.end(node)]

    def replace(self, node: ast.AST, text: str) -> Edit:
        return self.start(node), self.end(node), text

    def between(self, left: ast.AST, right: ast.AST, old: str, new: str) -> Edit:
        """Replace the operator between two operands."""
        at = self.text.index(old, self.end(left), self.start(right))
        return at, at + len(old), new

    def without(self, first: ast.stmt, last: ast.stmt) -> Edit:
        """Remove whole lines."""
        return self.lines[first.lineno - 1], self.lines[last.end_lineno or last.lineno], ""

    @cached_property
    def blocks(self) -> list[list[ast.stmt]]:
        """Every list of statements, without docstrings."""
        found = []
        for node in self.nodes:
            for name in ("body", "orelse"):
                block = getattr(node, name, None)
                if isinstance(block, list):
                    found.append([statement for statement in block if not _is_docstring(statement)])
        return found

    @cached_property
    def functions(self) -> list[ast.FunctionDef]:
        return [node for node in self.nodes if isinstance(node, ast.FunctionDef)]


def applied(text: str, edits: Edits) -> str:
    """The text after the edits, which must not overlap."""
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _compared(source: Source, swaps: Mapping[type[ast.cmpop], tuple[str, str]]) -> Iterator[Edits]:
    for node in source.nodes:
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in swaps:
            yield (source.between(node.left, node.comparators[0], *swaps[type(node.ops[0])]),)


def off_by_one(source: Source) -> Iterator[Edits]:
    """An integer is one too large or too small."""
    for node in source.nodes:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            yield (source.replace(node, str(node.value + 1)),)
            if node.value > 0:
                yield (source.replace(node, str(node.value - 1)),)


def boundary(source: Source) -> Iterator[Edits]:
    """A comparison wrongly excludes or includes its boundary."""
    yield from _compared(
        source, {ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">")}
    )


def inverted_comparison(source: Source) -> Iterator[Edits]:
    """A comparison is negated."""
    swaps: dict[type[ast.cmpop], tuple[str, str]] = {
        ast.Eq: ("==", "!="),
        ast.NotEq: ("!=", "=="),
        ast.Lt: ("<", ">"),
        ast.Gt: (">", "<"),
        ast.LtE: ("<=", ">="),
        ast.GtE: (">=", "<="),
        ast.In: ("in", "not in"),
        ast.NotIn: ("not in", "in"),
    }
    yield from _compared(source, swaps)


def wrong_operator(source: Source) -> Iterator[Edits]:
    """An arithmetic operator is mistaken for another."""
    swaps: dict[type[ast.operator], tuple[str, str]] = {
        ast.Add: ("+", "-"),
        ast.Sub: ("-", "+"),
        ast.Mult: ("*", "+"),
        ast.FloorDiv: ("//", "%"),
        ast.Mod: ("%", "//"),
    }
    for node in source.nodes:
        if isinstance(node, ast.BinOp) and type(node.op) in swaps:
            yield (source.between(node.left, node.right, *swaps[type(node.op)]),)
        elif isinstance(node, ast.AugAssign) and type(node.op) in swaps:
            old, new = swaps[type(node.op)]
            yield (source.between(node.target, node.value, old + "=", new + "="),)


def negated_condition(source: Source) -> Iterator[Edits]:
    """A condition is inverted."""
    for node in source.nodes:
        if isinstance(node, ast.If | ast.IfExp):
            test = node.test
            if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
                yield (source.replace(test, source.of(test.operand)),)
            elif isinstance(test, ast.Name | ast.Attribute | ast.Call):
                yield (source.replace(test, f"not {source.of(test)}"),)


def wrong_connective(source: Source) -> Iterator[Edits]:
    """`and` is written for `or`, or vice versa."""
    for node in source.nodes:
        if isinstance(node, ast.BoolOp):
            old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            yield (source.between(node.values[0], node.values[1], old, new),)


def swapped_arguments(source: Source) -> Iterator[Edits]:
    """Two arguments of a call are swapped."""
    for node in source.nodes:
        if isinstance(node, ast.Call) and len(node.args) >= 2:
            for left, right in pairwise(node.args):
                if source.of(left) != source.of(right):
                    yield source.replace(left, source.of(right)), source.replace(right, source.of(left))


def missing_branch(source: Source) -> Iterator[Edits]:
    """A case is not handled."""
    for block in source.blocks:
        for node in block:
            if not isinstance(node, ast.If) or _default_guard(node):
                continue
            if source.of(node).startswith("elif"):
                yield (source.without(node, node.body[-1]),)
            elif not node.orelse and len(block) > 1:
                yield (source.without(node, node),)


def missing_statement(source: Source) -> Iterator[Edits]:
    """Something is not kept up to date: a counter, a list, a total."""
    for block in source.blocks:
        for node in block:
            update = isinstance(node, ast.AugAssign) or (
                isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
            )
            if update and len(block) > 1 and not _resets_cache(node):
                yield (source.without(node, node),)


def mutable_default(source: Source) -> Iterator[Edits]:
    """A default value is shared by all calls."""
    for function in source.functions:
        arguments = function.args.args[-len(function.args.defaults) :] if function.args.defaults else []
        for argument, default in zip(arguments, function.args.defaults, strict=True):
            for node in function.body:
                if isinstance(node, ast.If) and _default_guard(node) == argument.arg:
                    value = node.body[0].value  # type: ignore[attr-defined]
                    yield source.replace(default, source.of(value)), source.without(node, node)


def _default_guard(node: ast.If) -> str | None:
    """The name in `if name is None: name = []`."""
    test, first = node.test, node.body[0]
    if (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Name)
        and isinstance(test.ops[0], ast.Is)
        and isinstance(first, ast.Assign)
        and isinstance(first.value, ast.List | ast.Dict)
        and isinstance(first.targets[0], ast.Name)
        and first.targets[0].id == test.left.id
    ):
        return test.left.id
    return None


def wrong_order(source: Source) -> Iterator[Edits]:
    """Something is sorted by the wrong key, the wrong way, or not at all."""
    for node in source.nodes:
        if not isinstance(node, ast.Call):
            continue
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        key = keywords.get("key")
        if isinstance(key, ast.Lambda):
            parts = key.body.elts if isinstance(key.body, ast.Tuple) else [key.body]
            if len(parts) > 1:
                first, second = parts[:2]
                yield source.replace(first, source.of(second)), source.replace(second, source.of(first))
            for part in parts:
                if isinstance(part, ast.UnaryOp):
                    yield (source.replace(part, source.of(part.operand)),)
                elif isinstance(part, ast.Name | ast.Attribute | ast.Subscript):
                    yield (source.replace(part, f"-{source.of(part)}"),)
        reverse = keywords.get("reverse")
        if reverse is not None:
            yield (source.replace(reverse, "False"),)
        if isinstance(node.func, ast.Name) and node.func.id == "sorted" and not node.keywords:
            yield (source.replace(node.func, "list"),)


def stale_cache(source: Source) -> Iterator[Edits]:
    """A cached result outlives its inputs, or is cached under an incomplete key."""
    for block in source.blocks:
        for node in block:
            if len(block) > 1 and _resets_cache(node):
                yield (source.without(node, node),)
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and node.targets[0].id == "key"
                and isinstance(node.value, ast.Tuple)
            ):
                for part in node.value.elts:
                    yield (source.replace(node.value, source.of(part)),)


def _resets_cache(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        target = node.targets[0]
        empty = isinstance(node.value, ast.Constant) and node.value.value is None
        return isinstance(target, ast.Attribute) and "cache" in target.attr and empty
    call = node.value if isinstance(node, ast.Expr) else None
    return (
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("clear", "pop")
        and "cache" in ast.unparse(call.func.value)
    )


def wrong_builtin(source: Source) -> Iterator[Edits]:
    """`min` is written for `max`, `any` for `all`, or vice versa."""
    swaps = {"min": "max", "max": "min", "any": "all", "all": "any"}
    for node in source.nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in swaps:
            yield (source.replace(node.func, swaps[node.func.id]),)


def wrong_jump(source: Source) -> Iterator[Edits]:
    """A loop breaks where it should continue, or continues where it should break."""
    for node in source.nodes:
        if isinstance(node, ast.Continue):
            yield (source.replace(node, "break"),)
        elif isinstance(node, ast.Break):
            yield (source.replace(node, "continue"),)


def early_return(source: Source) -> Iterator[Edits]:
    """The result is returned from within the loop, after its first round."""
    for block in source.blocks:
        for loop, last in pairwise(block):
            if isinstance(loop, ast.For) and isinstance(last, ast.Return) and last.lineno == last.end_lineno:
                at = source.lines[last.lineno - 1]
                yield ((at, at, "    "),)


def wrong_name(source: Source) -> Iterator[Edits]:
    """A parameter is used where another is meant."""
    for function in source.functions:
        names = [argument.arg for argument in function.args.args if argument.arg != "self"]
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
                for other in names:
                    if other != node.id:
                        yield (source.replace(node, other),)


def missing_cleaning(source: Source) -> Iterator[Edits]:
    """A text is used as given, without normalising its case or whitespace."""
    for node in source.nodes:
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("strip", "lower", "upper")
        ):
            yield (source.replace(node, source.of(node.func.value)),)


def missing_copy(source: Source) -> Iterator[Edits]:
    """A list or mapping is shared where it should be copied."""
    for node in source.nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
            if node.func.id in ("list", "dict", "set"):
                yield (source.replace(node, source.of(node.args[0])),)
        elif isinstance(node, ast.Subscript) and source.of(node.slice) == ":":
            yield (source.replace(node, source.of(node.value)),)


def wrong_end(source: Source) -> Iterator[Edits]:
    """The first is used instead of the last, or vice versa."""
    swaps = {"0": "-1", "-1": "0"}
    for node in source.nodes:
        if isinstance(node, ast.Subscript) and source.of(node.slice) in swaps:
            yield (source.replace(node.slice, swaps[source.of(node.slice)]),)


FAULTS: Mapping[str, Callable[[Source], Iterator[Edits]]] = {
    fault.__name__: fault
    for fault in (
        off_by_one,
        boundary,
        inverted_comparison,
        wrong_operator,
        negated_condition,
        wrong_connective,
        swapped_arguments,
        missing_branch,
        missing_statement,
        mutable_default,
        wrong_order,
        stale_cache,
        wrong_builtin,
        wrong_jump,
        early_return,
        wrong_name,
        missing_cleaning,
        missing_copy,
        wrong_end,
    )
}
"""Kinds of fault by name; each yields every way to introduce it into a module."""
