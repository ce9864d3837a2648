"""The office where an assistant works: people, calendars, mail, weather, an encyclopedia, and tasks."""
