"""The office in which an assistant works: people, calendars, mail, weather, an encyclopedia, and tasks."""
