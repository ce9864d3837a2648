"""Mail: one person's mailboxes, and people who answer."""

from ludus.tools.services.mail.client import Headline, MailClient, Message
from ludus.tools.services.mail.injections import INJECTIONS, Injection
from ludus.tools.services.mail.mailbox import Correspondent, Mail, Mailbox, Rule, invented_mailbox
from ludus.tools.services.mail.service import MailService

__all__ = [
    "INJECTIONS",
    "Correspondent",
    "Headline",
    "Injection",
    "Mail",
    "MailClient",
    "MailService",
    "Mailbox",
    "Message",
    "Rule",
    "invented_mailbox",
]
