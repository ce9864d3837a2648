"""ArithmeticChallenge: an answer, and a user who doubts it."""
