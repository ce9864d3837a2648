"""Environments in which the agent must use services: search, calendar, weather, mail."""
