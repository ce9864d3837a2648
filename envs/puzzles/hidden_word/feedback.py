"""What a guess has in common with the hidden word."""

from collections import Counter

HERE, ELSEWHERE, ABSENT = "+~-"


def feedback(word: str, guess: str) -> str:
    """A sign for each letter of the guess, of the same length as the word.

    `+`: it stands there. `~`: the word has it in another place. A letter gets no more signs than the word has
    of it, first those in place, then others from left to right; `-` is for the rest.
    """
    signs = [HERE if letter == guessed else ABSENT for letter, guessed in zip(word, guess, strict=True)]
    left = Counter(letter for letter, sign in zip(word, signs, strict=True) if sign == ABSENT)
    for place, guessed in enumerate(guess):
        if signs[place] == ABSENT and left[guessed]:
            signs[place] = ELSEWHERE
            left[guessed] -= 1
    return "".join(signs)
