"""Environments in which an agent must use services: search, calendar, weather, mail."""
