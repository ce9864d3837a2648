"""Whether an environment is the same through a surface as it is directly. For anybody's environment, and for
anybody's surface.

from ludus.envs.conformance.surfaces import Copies, compare
comparison = compare(Copies(), "ludus/Arithmetic-v0", digits=3)
assert comparison.same, comparison
"""

from ludus.envs.conformance.surfaces.comparison import FACTS, Comparison, Difference
from ludus.envs.conformance.surfaces.copies import Copies
from ludus.envs.conformance.surfaces.runner import compare
from ludus.envs.conformance.surfaces.surface import Direct, Lost, Seen, Session, Surface

__all__ = [
    "FACTS",
    "Comparison",
    "Copies",
    "Difference",
    "Direct",
    "Lost",
    "Seen",
    "Session",
    "Surface",
    "compare",
]
