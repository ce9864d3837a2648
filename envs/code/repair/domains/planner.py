"""A planner: tasks with dependencies, workers, a critical path."""

from random import Random

from ludus.envs.code.repair.domain import Domain, Draft, Parameters, numbers

README = """# $package

Plans $task lists. A list is text, one $task on a line: `name hours [after name, name …] [!]`, as in
`"paint 3 after wall, roof !"`. A `!` at the end makes it urgent. Text from `$comment` on is a comment;
empty lines do not count. Names are the same in capitals and small letters, and appear in small letters.
Hours below 1 count as 1. A name that comes again replaces the earlier line, in its place.

- `$package.order.$order(text)`: the names in an order in which each comes after those that it comes
  after: whenever there is a choice, urgent ones first, then the $way, then by name. Names that have no
  line of their own are not waited for. `"circle"` where that is not possible.
- `$package.schedule.$schedule(text, workers)`: who works when, as a list of `[name, worker, start,
  end]` in the order above: each is begun as early as may be, after the end of those it comes after and
  of what its worker does before, by the worker (from 0 on) who can begin earliest, of several the one
  with the lowest number. Between two pieces of work a worker rests $rest hours. `"circle"` as above.
- `$package.critical.$critical(text)`: `[hours, names]`: the longest chain of work, with the names from
  first to last; of several the one whose last name comes first in the order above, and likewise for
  those before it. `[0, []]` without tasks, `"circle"` as above.
"""

TASKS = '''"""Reading lists."""


class Task:
    def __init__(self, name, hours, after=None, urgent=False):
        if after is None:
            after = []
        self.name = name
        self.hours = hours
        self.after = after
        self.urgent = urgent

    def wait_for(self, name):
        if name and name not in self.after:
            self.after.append(name)


def parse(line):
    """The task of a line, or None."""
    line = line.split("$comment")[0].strip().lower()
    if not line:
        return None
    urgent = line.endswith("!")
    if urgent:
        line = line[:-1]
    parts = line.split()
    task = Task(parts[0], max(1, int(parts[1])), urgent=urgent)
    if len(parts) > 3 and parts[2] == "after":
        for name in " ".join(parts[3:]).split(","):
            task.wait_for(name.strip())
    return task


def read(text):
    """The tasks by name."""
    tasks = {}
    for line in text.split("\\n"):
        task = parse(line)
        if task is not None:
            tasks[task.name] = task
    for task in tasks.values():
        task.after = [name for name in task.after if name in tasks]
    return tasks
'''

ORDER = '''"""An order in which tasks can be done."""

from $package.tasks import read


def ready(tasks, done):
    """What can be done next, the best first."""
    found = []
    for task in tasks.values():
        if task.name in done:
            continue
        if all(name in done for name in task.after):
            found.append(task)
    return sorted(found, key=lambda task: (not task.urgent, $key, task.name))


def sort(tasks):
    """The tasks in order, or None where some wait for each other."""
    done = []
    while len(done) < len(tasks):
        found = ready(tasks, done)
        if not found:
            return None
        done.append(found[0].name)
    return [tasks[name] for name in done]


def $order(text):
    tasks = sort(read(text))
    if tasks is None:
        return "circle"
    return [task.name for task in tasks]
'''

SCHEDULE = '''"""Who works when."""

from $package.order import sort
from $package.tasks import read

REST = $rest


class Worker:
    def __init__(self, number):
        self.number = number
        self.free = 0

    def work(self, begin, hours):
        """The end of the work."""
        end = begin + hours
        self.free = end + REST
        return end


def $schedule(text, workers):
    tasks = sort(read(text))
    if tasks is None:
        return "circle"
    crew = [Worker(number) for number in range(workers)]
    ends = {}
    plan = []
    for task in tasks:
        earliest = 0
        for name in task.after:
            earliest = max(earliest, ends[name])
        worker = min(crew, key=lambda one: (max(one.free, earliest), one.number))
        begin = max(worker.free, earliest)
        ends[task.name] = worker.work(begin, task.hours)
        plan.append([task.name, worker.number, begin, ends[task.name]])
    return plan
'''

CRITICAL = '''"""The longest chain of work."""

from $package.order import sort
from $package.tasks import read


class Chains:
    """The longest chain that ends with a task, worked out once for each."""

    def __init__(self, tasks):
        self.tasks = tasks
        self.place = {task.name: place for place, task in enumerate(tasks)}
        self.cache = {}

    def best(self, names):
        """The longest of the chains that end with these; of equal ones the first in the order."""
        chains = [self.to(name) for name in sorted(names, key=lambda name: self.place[name])]
        longest = [0, []]
        for chain in chains:
            if chain[0] > longest[0]:
                longest = chain
        return longest

    def to(self, name):
        if name not in self.cache:
            task = self.tasks[self.place[name]]
            before = self.best(task.after)
            chain = list(before[1])
            chain.append(name)
            self.cache[name] = [before[0] + task.hours, chain]
        return self.cache[name]


def $critical(text):
    tasks = sort(read(text))
    if tasks is None:
        return "circle"
    return Chains(tasks).best([task.name for task in tasks])
'''

NAMES = ("roof", "wall", "Door", "paint", "floor", "lamp")


def calls(rng: Random, parameters: Parameters) -> Draft:
    names = rng.sample(NAMES, rng.randint(3, 6))
    lines = []
    for place, name in enumerate(names):
        line = f"{name} {rng.choice((0, 1, 2, 2, 3, 4))}"
        backward = rng.random() < 0.05
        others = names if backward else names[:place]
        chosen = rng.sample(others, min(len(others), rng.choice((0, 1, 1, 2))))
        if chosen:
            line += f" after {rng.choice((', ', ' ,')).join(task.swapcase() for task in chosen)}"
        line += rng.choice(("", "", "", ", moon" if chosen else "")) + rng.choice(("", "", " !"))
        lines.append(line + rng.choice(("", "", f" {parameters['comment']} after lunch !")))
    if rng.random() < 0.2:
        lines.append(rng.choice(("", f"{parameters['comment']} nothing", f"{names[0].upper()} 5")))
    tail = lines[1:]
    rng.shuffle(tail)
    text = "\n".join([lines[0], *tail])
    which = rng.random()
    if which < 0.35:
        return "order", parameters["order"], [text]
    if which < 0.7:
        return "schedule", parameters["schedule"], [text, rng.randint(1, 3)]
    return "critical", parameters["critical"], [text]


DOMAIN = Domain(
    name="planner",
    choices={
        "package": ("planner", "agenda", "workshop", "sitework"),
        "task": ("task", "job", "chore"),
        "comment": ("#", ";", "//"),
        "order": ("order", "sequence", "arrange"),
        "schedule": ("schedule", "assign", "plan"),
        "critical": ("critical", "bottleneck", "longest_chain"),
        "way": ("shortest", "longest"),
        "rest": numbers(1, 3),
    },
    code={"key": ("way", ("task.hours", "-task.hours"))},
    readme=README,
    modules={"tasks.py": TASKS, "order.py": ORDER, "schedule.py": SCHEDULE, "critical.py": CRITICAL},
    calls=calls,
)
