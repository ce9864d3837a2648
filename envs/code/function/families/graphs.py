"""Graphs: paths, components and orderings."""

from random import Random

from ludus.envs.code.function.families.family import Arguments, Family, Values
from ludus.envs.code.function.families.inputs import edges, grid


def _roads_and_trip(rng: Random, values: Values) -> Arguments:
    nodes = rng.randint(3, 8)
    return edges(rng, nodes, rng.randint(nodes - 1, 2 * nodes)), rng.randrange(nodes), rng.randrange(nodes)


def _weighted_and_trip(rng: Random, values: Values) -> Arguments:
    roads, start, goal = _roads_and_trip(rng, values)
    return [[a, b, rng.randint(1, 20)] for a, b in roads], start, goal


def _graph(rng: Random, values: Values) -> Arguments:
    nodes = rng.randint(3, 9)
    return nodes, edges(rng, nodes, rng.randint(1, nodes))


def _tasks(rng: Random, values: Values) -> Arguments:
    nodes = rng.randint(3, 7)
    names = rng.sample(range(nodes), nodes)
    pairs = [sorted(pair, key=names.index) for pair in edges(rng, nodes, rng.randint(2, 2 * nodes))]
    if rng.random() < 0.2:
        pairs += [pair[::-1] for pair in pairs[:1]]
    return nodes, pairs


FAMILIES = (
    Family(
        "route",
        "graphs",
        "route(roads, start, goal)",
        "`roads` is a list of [a, b], roads from place a to place b that can be used $ways; places are "
        "integers. One may not pass through places that are $closed, but may begin or end there. Return the "
        "smallest number of roads from `start` to `goal` (0 if they are the same place); $missing if there "
        "is no way.",
        """
def route(roads, start, goal):
    steps, queue = {start: 0}, [start]
    for place in queue:
        if place != start and $closed:
            continue
        for a, b in roads:
            for here, there in $ways:
                if here == place and there not in steps:
                    steps[there] = steps[place] + 1
                    queue.append(there)
    return steps.get(goal, $missing)
""",
        _roads_and_trip,
        {
            "ways": {"in both directions": "((a, b), (b, a))", "from a to b only": "((a, b),)"},
            "closed": {
                **{f"greater than {n}": f"place > {n}" for n in range(3, 7)},
                **{f"equal to {n}": f"place == {n}" for n in range(1, 5)},
                "odd": "place % 2 == 1",
                "even": "place % 2 == 0",
            },
            "missing": {"-1": "-1", "None": "None"},
        },
        lambda values: [
            ([], 0, 0),
            ([], 0, 1),
            ([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]], 0, 5),
            ([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]], 5, 0),
            ([[1, 3], [3, 5], [5, 7], [0, 2], [2, 4]], 1, 7),
        ],
    ),
    Family(
        "groups",
        "graphs",
        "groups(n, friends)",
        "There are `n` people, 0 to n - 1, and `friends` is a list of [a, b], pairs of friends. Friends are "
        "in one group, and so are the friends of friends, and so on; somebody without friends is a group "
        "alone. Look at the groups of at least $least people. Return $what.",
        """
def groups(n, friends):
    group = list(range(n))
    for a, b in friends:
        old, new = group[a], group[b]
        group = [new if g == old else g for g in group]
    found = [[p for p in range(n) if group[p] == g] for g in dict.fromkeys(group)]
    found = sorted(members for members in found if len(members) >= $least)
    return $what
""",
        _graph,
        {
            "least": range(2, 5),
            "what": {
                "how many there are": "len(found)",
                "the list of their sizes, the largest first": "sorted(map(len, found), reverse=True)",
                "how many people they have altogether": "sum(map(len, found))",
                "the list of the smallest person of each, in ascending order": (
                    "[members[0] for members in found]"
                ),
                "the list of the largest person of each, in ascending order": (
                    "sorted(members[-1] for members in found)"
                ),
                "the list of them, each the list of its people in ascending order; the group with the "
                "smallest "
                "person first": "found",
                "the list of the sums of their people's numbers, in ascending order": (
                    "sorted(map(sum, found))"
                ),
            },
        },
        lambda values: [(0, []), (4, []), (3, [[0, 1], [1, 2], [2, 0]]), (6, [[5, 4], [0, 4], [3, 2]])],
    ),
    Family(
        "order",
        "graphs",
        "order(n, pairs)",
        "There are `n` jobs, 0 to n - 1, and `pairs` is a list of [a, b]: job a must be done before job b. "
        "Always do next, of all the jobs that can be done now, $first. Return the list of the jobs in the "
        "order in which they are done; $missing if they cannot all be done.",
        """
def order(n, pairs):
    done, left = [], list(range(n))
    while left:
        ready = [job for job in left if not any(b == job and a not in done for a, b in pairs)]
        if not ready:
            return $missing
        job = $first
        done.append(job)
        left.remove(job)
    return done
""",
        _tasks,
        {
            "first": {
                "the smallest": "min(ready)",
                "the largest": "max(ready)",
                "an even one if there is one, and of those (or else of all) the smallest": (
                    "min(ready, key=lambda job: (job % 2, job))"
                ),
                **{
                    f"the one that is nearest to {n} (the smaller one if two are equally near)": (
                        f"min(ready, key=lambda job: (abs(job - {n}), job))"
                    )
                    for n in range(2, 7)
                },
            },
            "missing": {"an empty list": "[]", "None": "None", "-1": "-1"},
        },
        lambda values: [
            (0, []),
            (5, []),
            (2, [[0, 1], [1, 0]]),
            (3, [[2, 1], [1, 0]]),
            (3, [[1, 1]]),
            (7, [[0, 6]] * 2),
        ],
    ),
    Family(
        "cheapest",
        "graphs",
        "cheapest(roads, start, goal)",
        "`roads` is a list of [a, b, length], roads between the places a and b that can be used $ways; "
        "there may be several between two places. A way costs the lengths of its roads, plus $toll for "
        "every road$free. Return the lowest cost of a way from `start` to `goal` (0 if they are the same "
        "place); $missing if there is none.",
        """
def cheapest(roads, start, goal):
    cost = {start: 0}
    changed = True
    while changed:
        changed = False
        for a, b, length in roads:
            for here, there in $ways:
                if here in cost:
                    new = cost[here] + length + $free
                    if there not in cost or new < cost[there]:
                        cost[there] = new
                        changed = True
    return cost.get(goal, $missing)
""",
        _weighted_and_trip,
        {
            "ways": {"in both directions": "((a, b), (b, a))", "from a to b only": "((a, b),)"},
            "toll": range(1, 16),
            "free": {
                "": "$toll",
                " longer than 10": "(length > 10) * $toll",
                " that leads to a place with an even number": "(there % 2 == 0) * $toll",
            },
            "missing": {"-1": "-1", "None": "None"},
        },
        lambda values: [
            ([], 0, 0),
            ([], 0, 1),
            ([[0, 1, 30], [0, 2, 1], [2, 3, 1], [3, 1, 1]], 0, 1),
            ([[0, 1, 30], [0, 2, 1], [2, 3, 1], [3, 1, 1]], 1, 0),
            ([[0, 1, 9], [0, 1, 4], [1, 1, 1]], 0, 1),
        ],
    ),
    Family(
        "islands",
        "graphs",
        "islands(grid)",
        "`grid` is a list of rows, texts of equal length. Cells with `#` are land, and land cells that "
        "touch $touch belong to one island$round. Look at the islands of at least $least cells. Return "
        "$what.",
        """
def islands(grid):
    land = {(i, j) for i, row in enumerate(grid) for j, cell in enumerate(row) if cell == "#"}
    sizes = []
    while land:
        queue = [land.pop()]
        for i, j in queue:
            for a, b in $touch:
                cell = $round
                if cell in land:
                    land.remove(cell)
                    queue.append(cell)
        if len(queue) >= $least:
            sizes.append(len(queue))
    return $what
""",
        lambda rng, values: (grid(rng, (2, 6), (3, 7), "..#"),),
        {
            "touch": {
                "along a side": "[(-1, 0), (1, 0), (0, -1), (0, 1)]",
                "along a side or at a corner": "[(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]",
                "at a corner (not along a side)": "[(-1, -1), (-1, 1), (1, -1), (1, 1)]",
            },
            "round": {
                "": "(i + a, j + b)",
                "; the left edge touches the right one, cell by cell, as on a globe": (
                    "(i + a, (j + b) % len(grid[0]))"
                ),
            },
            "least": range(1, 4),
            "what": {
                "how many there are": "len(sizes)",
                "the size of the largest (0 if there is none)": "max(sizes, default=0)",
                "the list of their sizes in ascending order": "sorted(sizes)",
                "how many cells they have altogether": "sum(sizes)",
            },
        },
        lambda values: [([],), (["..."],), (["###"],), (["#.#", ".#.", "#.#"],), (["#..#", "....", "##.#"],)],
    ),
)
