"""The conformance suite: tests whether a sandbox holds, on any backend, including your own.

from ludus.tools.sandbox.conformance import LIMITS, check
report = check(lambda: Sandbox.open(my_backend, LIMITS))
assert report.passed, report
"""

from ludus.tools.sandbox.conformance.attack import Attack, Evidence
from ludus.tools.sandbox.conformance.report import Outcome, Report
from ludus.tools.sandbox.conformance.suite import ATTACKS, LIMITS, check

__all__ = ["ATTACKS", "LIMITS", "Attack", "Evidence", "Outcome", "Report", "check"]
