"""Whatever an agent writes is answered: no exception, no fault, no text that cannot be sent."""

import json
from typing import Any

import gymnasium
import pytest

import ludus  # noqa: F401 (registers the environments)
from ludus.envs.code.analysis.scripted import call

IDS = ("CodeFunctionRepl", "CodeRepair", "DataAnalysis")
TEXTS = (
    *(
        "",
        "\x00",
        "a\x0bb\x1b[2J",
        "\x85\u2028\ufffe\uffff",
        "half \ud800",
        "\r\n",
        "```python\n\x00\n```",
        "@@" * 1000,
    ),
    *(
        "x" * 200_000,
        "(" * 20_000,
        "-" * 20_000 + "1",
        "print('\\ud800')",
        "'\\ud800'",
        "print('\\x00\\x0b\\x1b')",
    ),
    *(
        "import os; os.write(1, b'\\xff\\xfe\\x00')",
        "raise SystemExit('\\ud800')",
        "import sys; sys.exit(10**100)",
    ),
    *("import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)", "import os; os.closerange(0, 64)"),
    *("import sys; sys.stdout = None; 1 / 0", "import builtins; builtins.len = builtins.open = None"),
    *(
        "import os; [os.mkdir(f'.plot-{n}.png') for n in (0, 1)]",
        "import os; os.rename('/box/work', '/box/else')",
    ),
    *("import os; os.chmod('.', 0)", "class E(BaseException):\n def __str__(self): raise self\nraise E"),
    *(
        "SELECT '\x00'",
        "SELECT char(0), char(55296), x'ff00'",
        'SELECT 1 AS "a\nb\x0b"',
        "SELECT zeroblob(1e8)",
    ),
    *(
        "../x",
        "/etc/passwd",
        "README.md/x",
        "a/" * 60 + "b",
        "--- a/x\n+++ b/\ud800\n@@ @@\n",
        "--- a\n+++ b\n" * 500,
    ),
    "--- /dev/null\n+++ b/new.py\n@@ -0,0 +1 @@\n+\x0b\x0c\x1c\u2028\x85\n",
    "--- a/README.md\n+++ b/README.md\n@@ -" + "9" * 30 + " +1 @@\n-a\n+b\n",
)


def replies(env: Any) -> list[Any]:
    """Every text as a reply, as a program that defines the function, and as each argument of each tool."""
    first = env.reset(seed=5)[0][-1]["content"]
    function = first.removeprefix("Write ").partition("(")[0] if first.startswith("Write ") else "f"
    found: list[Any] = [*TEXTS, *(f"def {function}(*inputs): return inputs\n{text}" for text in TEXTS)]
    for tool in env.tools:
        arguments = tool.openai["function"]["parameters"]["properties"]
        harmless = {name: "tests/test_a.py" if name == "path" else "x = 1" for name in arguments}
        found += [call(tool.name, **{**harmless, name: text}) for name in arguments for text in TEXTS]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", IDS)
def test_every_text_is_answered(name: str, needs_sandbox: None) -> None:
    env: Any = gymnasium.make(f"ludus/{name}-v0", disable_env_checker=True).unwrapped
    for reply in replies(env):
        env.reset(seed=5)
        observation, *_ = env.step(reply)
        assert observation in env.observation_space, reply
        json.dumps(observation, ensure_ascii=False).encode()
    env.close()
