"""Names and places of invented worlds, and of the real one."""

from ludus.tools.services.geography.names import invented_name
from ludus.tools.services.geography.places import REAL_CITIES, Place, invented_places

__all__ = ["REAL_CITIES", "Place", "invented_name", "invented_places"]
