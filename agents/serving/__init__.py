"""A model behind OpenAI's chat interface."""
