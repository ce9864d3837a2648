"""The conformance suite: whether an environment keeps the contract. For anybody's environment.

from ludus.envs.conformance import check
report = check("ludus/Arithmetic-v0", digits=3)
assert report.passed, report
"""

from ludus.envs.conformance.report import Check, Report
from ludus.envs.conformance.suite import CHECKS, check

__all__ = ["CHECKS", "Check", "Report", "check"]
