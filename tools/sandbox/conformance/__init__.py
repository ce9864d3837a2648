"""The conformance suite: whether a sandbox holds. For any backend, also one's own.

from ludus.tools.sandbox.conformance import LIMITS, check
report = check(lambda: Sandbox.open(my_backend, LIMITS))
assert report.passed, report
"""

from ludus.tools.sandbox.conformance.attack import Attack, Evidence
from ludus.tools.sandbox.conformance.report import Outcome, Report
from ludus.tools.sandbox.conformance.suite import ATTACKS, LIMITS, check

__all__ = ["ATTACKS", "LIMITS", "Attack", "Evidence", "Outcome", "Report", "check"]
