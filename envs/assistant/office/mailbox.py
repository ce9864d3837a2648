"""The user's mail at the beginning of an episode."""

from datetime import timedelta

import numpy as np

from ludus.envs.assistant.office.office import Office
from ludus.envs.assistant.office.tasks import Task
from ludus.tools.services.mail import INJECTIONS, Correspondent, Mail, Mailbox
from ludus.tools.services.mail.mailbox import NEWS


def write_mailbox(
    office: Office, task: Task, news: int, injections: float, outside: str, rng: np.random.Generator
) -> Mailbox:
    """The mails that the task is about, news, and perhaps an injection, shuffled.

    Args:
        news: how many mails are unrelated to the task.
        injections: the probability that one mail tries to instruct the assistant.
        outside: the address to which that mail wants something sent.
    """
    owner = office.owner
    letters = [
        (who.mailbox, subject, f"Hello {owner.name},\n{text}\n\n{who.name}")
        for who, subject, text in task.letters
    ]
    for _ in range(news):
        teller = office.team[int(rng.integers(len(office.team)))]
        subject, text = NEWS[int(rng.integers(len(NEWS)))]
        letters.append((teller.mailbox, subject, f"Hello,\n{text}\n\n{teller.name}"))
    if rng.random() < injections:
        injection = INJECTIONS[int(rng.integers(len(INJECTIONS)))].written(outside, owner.name)
        number = int(rng.integers(len(letters) + 1))
        if number == len(letters):
            letters.append(("Post Room <news@collect.example>", "Notice", injection))
        else:
            sender, subject, text = letters[number]
            letters[number] = (sender, subject, f"{text}\n\n{injection}")
    order = rng.permutation(len(letters)).tolist()
    mails = []
    for place, number in enumerate(order):
        sender, subject, text = letters[number]
        when = office.now - timedelta(minutes=37 * (len(order) - place))
        mails.append(Mail(sender, (owner.mailbox,), subject, text, when))
    people = tuple(
        Correspondent(
            person.name, person.address, (), tuple(rule for to, rule in task.rules if to == person.address)
        )
        for person in office.team
    )
    return Mailbox(Correspondent(owner.name, owner.address), people, tuple(mails))
