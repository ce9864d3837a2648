"""HiddenWord: guess a word from what its guesses have in common with it."""
