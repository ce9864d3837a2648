"""Small games: scores, rules and winning moves."""

from random import Random

from ludus.envs.code.function.families.family import Arguments, Family, Values
from ludus.envs.code.function.families.inputs import grid, integers, letters


def _bowling(rng: Random, values: Values) -> Arguments:
    """A whole game, with many strikes and spares."""
    rolls: list[int] = []
    frames = values["frames"]
    for frame in range(frames):
        first = rng.choice((10, 10, rng.randint(0, 9), rng.randint(0, 9)))
        second = 0 if first == 10 else rng.choice((10 - first, rng.randint(0, 10 - first)))
        rolls += [first] if first == 10 else [first, second]
        if frame == frames - 1 and first + second == 10:
            third = rng.randint(0, 10)
            rolls += [third, 10 if third == 10 else rng.randint(0, 10 - third)] if first == 10 else [third]
    return (rolls,)


def _rounds(rng: Random, values: Values) -> Arguments:
    length = rng.randint(1, 9)
    return letters(rng, length, length, "RPS"), letters(rng, length, length, "RPS")


FAMILIES = (
    Family(
        "bowling",
        "games",
        "bowling(rolls)",
        "`rolls` is the list of the pins knocked down by each ball of a whole game of bowling with $frames "
        "frames. A frame is two balls at ten pins. Ten pins with the first ball are a strike: the frame has "
        "no second ball, and it scores 10 plus the next two balls$double. Ten pins with both are a spare: "
        "it scores 10 plus the next ball. Any other frame scores its pins$open. After a strike in the last "
        "frame two more balls are rolled, after a spare one; they count only as its bonus. Return the score "
        "of the game.",
        """
def bowling(rolls):
    score = i = 0
    for _ in range($frames):
        if rolls[i] == 10:
            score += 10 + $double
            i += 1
        elif rolls[i] + rolls[i + 1] == 10:
            score += 10 + rolls[i + 2]
            i += 2
        else:
            score += $open
            i += 2
    return score
""",
        _bowling,
        {
            "frames": range(10, 4, -1),
            "double": {
                "": "rolls[i + 1] + rolls[i + 2]",
                ", of which the second counts twice": "rolls[i + 1] + 2 * rolls[i + 2]",
                ", or 5 if these are less than 5 together": "max(5, rolls[i + 1] + rolls[i + 2])",
            },
            "open": {
                "": "rolls[i] + rolls[i + 1]",
                ", and 1 more if both balls knocked down as many": (
                    "rolls[i] + rolls[i + 1] + (rolls[i] == rolls[i + 1])"
                ),
                ", but 0 if its second ball missed": "rolls[i] + rolls[i + 1] if rolls[i + 1] else 0",
            },
        },
        lambda values: [
            ([10] * (values["frames"] + 2),),
            ([0] * (2 * values["frames"]),),
            ([5] * (2 * values["frames"] + 1),),
            ([0, 10] * values["frames"] + [3],),
            ([3, 4] * values["frames"],),
        ],
    ),
    Family(
        "in-a-row",
        "games",
        "winner(board)",
        "`board` is a list of rows, texts of equal length, of `X`, `O` and `.` (empty). A player has won "
        "who has $length cells in a row, $lines. Return 'X' or 'O' if only that player has won, $both if "
        "both have, and $none if neither has.",
        """
def winner(board):
    won = set()
    for i in range(len(board)):
        for j in range(len(board[0])):
            for a, b in $lines:
                cells = [(i + a * k, j + b * k) for k in range($length)]
                if all(0 <= x < len(board) and 0 <= y < len(board[0]) for x, y in cells):
                    marks = {board[x][y] for x, y in cells}
                    if len(marks) == 1:
                        won |= marks
    won.discard(".")
    if len(won) == 2:
        return $both
    return won.pop() if won else $none
""",
        lambda rng, values: (grid(rng, (3, 5), (3, 5), "XXOO."),),
        {
            "length": {"3": "3", "4": "4", "2": "2"},
            "lines": {
                "across, down or diagonally": "((0, 1), (1, 0), (1, 1), (1, -1))",
                "across or down": "((0, 1), (1, 0))",
                "diagonally": "((1, 1), (1, -1))",
                "across": "((0, 1),)",
            },
            "both": {"'both'": "'both'", "'draw'": "'draw'", "'XO'": "'XO'"},
            "none": {"'nobody'": "'nobody'", "''": "''", "None": "None"},
        },
        lambda values: [
            (["...", "...", "..."],),
            (["XXXX", "....", "OOOO"],),
            (["X...", ".X..", "..X.", "...X"],),
            (["...O", "..O.", ".O..", "O..."],),
            (["XO", "XO", "XO", "XO"],),
        ],
    ),
    Family(
        "drop",
        "games",
        "drop(moves)",
        "A board has $columns columns (0 to one less), each with room for $height pieces. `moves` is a list "
        "of column numbers; players A and B drop one piece each in turn, $first first, on top of what lies "
        "in the column. A move to a column that is full or that does not exist $illegal. Return the columns "
        "at the end, as a list of texts, each from the bottom up.",
        """
def drop(moves):
    columns, turn = [""] * $columns, 0
    for move in moves:
        if 0 <= move < $columns and len(columns[move]) < $height:
            columns[move] += $first[turn % 2]
            turn += 1
        else:
            $illegal
    return columns
""",
        lambda rng, values: (integers(rng, 4, 16, -1, values["columns"]),),
        {
            "columns": range(3, 8),
            "height": range(2, 5),
            "first": {"A": "'AB'", "B": "'BA'"},
            "illegal": {"passes the turn on": "turn += 1", "is left out": "pass", "ends the game": "break"},
        },
        lambda values: [([],), ([0] * 8,), ([-1, 0, 99, 1, 0],), (list(range(values["columns"])) * 2,)],
    ),
    Family(
        "dice",
        "games",
        "dice(faces)",
        "`faces` is a list of dice, 1 to 6. Score it: $kind of every face that comes at least $least times; "
        "$bonus. Return the score, the sum of both.",
        """
def dice(faces):
    score = sum($kind for face in range(1, 7) if faces.count(face) >= $least)
    return score + ($bonus)
""",
        lambda rng, values: ([rng.choice((1, 2, 3, 4, 5, 6, 6, 3)) for _ in range(rng.randint(4, 7))],),
        {
            "kind": {
                "the sum of the dice": "face * faces.count(face)",
                "ten times the face (once)": "10 * face",
                "the square of the number of dice": "faces.count(face) ** 2",
            },
            "least": range(2, 5),
            "bonus": {
                **{
                    f"{n} more if there are at least four different faces": (
                        f"{n} if len(set(faces)) >= 4 else 0"
                    )
                    for n in range(15, 36, 5)
                },
                **{
                    f"{n} more if all dice show the same (and there is at least one)": (
                        f"{n} if len(set(faces)) == 1 else 0"
                    )
                    for n in range(30, 61, 10)
                },
                **{f"{n} more for every 1": f"{n} * faces.count(1)" for n in range(2, 8)},
            },
        },
        lambda values: [([],), ([6],), ([2] * 5,), ([1, 2, 3, 4, 5],), ([1, 1, 6, 6, 6, 1],)],
    ),
    Family(
        "take-away",
        "games",
        "take(n)",
        "There are `n` matches, 0 or more. Two players in turn take $one, $two or $three of them. Who $end. "
        "Return the smallest number to take with which the player whose turn it is wins, whatever the other "
        "one does; 0 if there is none.",
        """
def take(n):
    wins = []
    for m in range(n + 1):
        good = [k for k in ($one, $two, $three) if k <= m and not wins[m - k]]
        stuck = m < $one
        wins.append(good[0] if good else -1 if stuck and $end else 0)
    return max(wins[n], 0)
""",
        lambda rng, values: (rng.randint(3, 60),),
        {
            "one": range(1, 4),
            "two": range(4, 6),
            "three": range(6, 10),
            "end": {"cannot take any more loses": "False", "cannot take any more wins": "True"},
        },
        lambda values: [(0,), (1,), (values["one"],), (values["two"],), (values["three"] + 1,), (100,)],
    ),
    Family(
        "cards",
        "games",
        "hand(cards)",
        "`cards` is a list of texts: '2' to '10', 'J', 'Q', 'K', 'A'. Number cards count their number, J, Q "
        "and K $court, and each A counts $high or 1: as many of them $high as possible without the total "
        "going beyond $limit. Return the total; $over if it is beyond $limit even so.",
        """
def hand(cards):
    total = 0
    for card in cards:
        total += int(card) if card.isdigit() else 1 if card == "A" else $court
    for _ in range(cards.count("A")):
        if total + $high - 1 <= $limit:
            total += $high - 1
    return total if total <= $limit else $over
""",
        lambda rng, values: (
            [
                rng.choice(["2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K", "A", "A", "A"])
                for _ in range(rng.randint(2, 5))
            ],
        ),
        {
            "court": {"10 each": "10", "5 each": "5", "11, 12 and 13": '{"J": 11, "Q": 12, "K": 13}[card]'},
            "high": range(9, 13),
            "limit": range(19, 28),
            "over": {"0": "0", "-1": "-1", "the excess, as a negative number,": "$limit - total"},
        },
        lambda values: [
            ([],),
            (["A"],),
            (["A"] * 5,),
            (["K", "Q", "J"],),
            (["10", "A", "A"],),
            (["2"] * 14,),
        ],
    ),
    Family(
        "hands",
        "games",
        "match(first, second)",
        "Two players show rock (R), paper (P) or scissors (S) in each round; `first` and `second` are texts "
        "of equal length with what they show. Rock beats scissors, scissors beat paper, paper beats rock, "
        "and $prize. $draw. Return $what.",
        """
def match(first, second):
    points, pot = [0, 0], 0
    for a, b in zip(first, second):
        if a == b:
            $draw
            continue
        winner = 0 if a + b in ("RS", "SP", "PR") else 1
        shown = (a, b)[winner]
        points[winner] += $prize + pot
        pot = 0
    return $what
""",
        _rounds,
        {
            "prize": {
                "a round that is won counts 1": "1",
                **{
                    f"a round that is won with rock counts {n}, any other 1": (
                        f"({n} if shown == 'R' else 1)"
                    )
                    for n in (2, 3, 4)
                },
                **{
                    f"a round that is won with scissors counts {n}, any other 2": (
                        f"({n} if shown == 'S' else 2)"
                    )
                    for n in (1, 3, 5)
                },
            },
            "draw": {
                "A draw counts nothing": "pass",
                "A draw adds 1 to what the next round that is won counts": "pot += 1",
                "A draw counts 1 for both": "points = [p + 1 for p in points]",
            },
            "what": {
                "[points of the first, points of the second]": "points",
                "the points of the first less those of the second": "points[0] - points[1]",
                "'first', 'second' or 'equal', by who has more points": (
                    "'equal' if points[0] == points[1] else 'first' if points[0] > points[1] else 'second'"
                ),
            },
        },
        lambda values: [("", ""), ("R", "R"), ("RRPS", "RRSP"), ("SSS", "PPP"), ("RPS", "SRP")],
    ),
    Family(
        "snake",
        "games",
        "snake(moves)",
        "A snake of length 1 is on a board of $size by $size cells, at row 0, column 0. `moves` is a text "
        "of `U`, `D`, `L` and `R`: its head goes one cell up (row - 1), down, left (column - 1) or right, "
        "and its other cells follow; it grows by one cell, at its tail, with every $grow move (its tail "
        "stays where it is then). $wall. If its head comes onto a cell of its body (the tail having moved "
        "on, where it does), the game ends. Return $what.",
        """
def snake(moves):
    body, count = [(0, 0)], 0
    for move in moves:
        row, column = body[0]
        row += {"U": -1, "D": 1}.get(move, 0)
        column += {"L": -1, "R": 1}.get(move, 0)
        $wall
        if (count + 1) % $grow:
            body.pop()
        if (row, column) in body:
            break
        count += 1
        body.insert(0, (row, column))
    return $what
""",
        lambda rng, values: (letters(rng, 4, 24, "DRDRULDR"),),
        {
            "size": range(3, 8),
            "grow": {"second": "2", "third": "3", "fourth": "4", "fifth": "5"},
            "wall": {
                "If its head leaves the board, the game ends": (
                    "if not (0 <= row < $size and 0 <= column < $size): break"
                ),
                "A head that leaves the board comes in again on the opposite side": (
                    "row, column = row % $size, column % $size"
                ),
            },
            "what": {
                "the number of moves before the one that ended the game (of all moves if none did)": "count",
                "the snake's length before the move that ended the game (at the end if none did)": (
                    "1 + count // $grow"
                ),
                "[row, column] of its head before the move that ended the game (at the end if none did)": (
                    "list(body[0])"
                ),
            },
        },
        lambda values: [("",), ("U",), ("RRRRRRRRRRRRRRRR",), ("RDLURDLURDLU",), ("RL",), ("RRL",)],
    ),
)
