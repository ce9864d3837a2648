"""The domains of the packages that `ludus/CodeRepair-v0` generates, one to a module."""

from ludus.envs.code.repair.domain import Domain
from ludus.envs.code.repair.domains import (
    bank,
    calculator,
    league,
    loans,
    planner,
    rover,
    textindex,
    timetable,
    warehouse,
)

DOMAINS: dict[str, Domain] = {
    module.DOMAIN.name: module.DOMAIN
    for module in (bank, calculator, league, loans, planner, rover, textindex, timetable, warehouse)
}
"""Domains by name."""
