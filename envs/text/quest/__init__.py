"""Quest: find a thing in a house and bring it to a room."""
