"""The conformance suite on one's own environment, as a test would call it.

`python examples/check_own_environment.py`, or `ludus check examples.own_environment:example/Guess-v0`.
"""

import own_environment  # noqa: F401  (importing it registers the environment)

from ludus.envs.conformance import check

if __name__ == "__main__":
    report = check("example/Guess-v0")
    print(report)
    assert report.passed
