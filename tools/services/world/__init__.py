"""An invented world: people, companies, places, events and countries, what holds between them, and the pages
written about them."""

from ludus.tools.services.world.prose import Page, pages
from ludus.tools.services.world.relations import BY_SUBJECT, RELATIONS, Relation
from ludus.tools.services.world.world import Entity, World, invent

__all__ = ["BY_SUBJECT", "RELATIONS", "Entity", "Page", "Relation", "World", "invent", "pages"]
