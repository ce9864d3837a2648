"""Mail: headers, threads, people who answer, and a mailbox as a value."""

import contextlib
import pickle
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.tools.errors import ToolError
from ludus.tools.services import FaultPlan, connect
from ludus.tools.services.mail import (
    INJECTIONS,
    Correspondent,
    Mail,
    Mailbox,
    MailClient,
    MailService,
    Rule,
    invented_mailbox,
)
from ludus.tools.services.mail.rfc822 import name_and_address
from ludus.tools.services.service import EPOCH
from ludus.tools.text import UNCARRIED

ADA = Correspondent("Ada Lund", "ada@office.example")
BO = Correspondent(
    "Bo Rask",
    "bo@office.example",
    busy=((datetime(2031, 3, 5, 9, tzinfo=UTC), datetime(2031, 3, 5, 11, tzinfo=UTC)),),
    rules=(Rule(("where", "lunch"), "In the canteen."), Rule(("lunch",), "At noon.")),
)
MAILBOX = Mailbox(
    ADA,
    (BO,),
    (
        Mail(BO.mailbox, (ADA.mailbox,), "Lunch?", "Shall we have lunch?", EPOCH - timedelta(hours=3)),
        Mail(ADA.mailbox, (BO.mailbox,), "Re: Lunch?", "Yes.", EPOCH - timedelta(hours=2), "sent", True, 0),
        Mail(
            BO.mailbox, (ADA.mailbox,), "Re: Lunch?", "Größe %_ done", EPOCH - timedelta(hours=1), answers=1
        ),
    ),
)
INVITATION = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//t//t\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:u1\r\n"
    "DTSTAMP:20310301T000000Z\r\nDTSTART:202103{day}T100000Z\r\nDTEND:202103{day}T103000Z\r\n"
    "ATTENDEE:mailto:bo@office.example\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
).replace("2021", "2031")


@pytest.fixture
def service() -> MailService:
    return MailService(MAILBOX)


@pytest.fixture
def mail(service: MailService) -> MailClient:
    return MailClient(connect(service))


def test_folders_lists_and_search(mail: MailClient) -> None:
    assert mail.folders()["inbox"] == {"messages": 2, "unseen": 2}
    assert [headline.id for headline in mail.list()] == [3, 1]
    assert [headline.id for headline in mail.list("inbox", limit=1, offset=1)] == [1]
    assert [headline.id for headline in mail.search("LUNCH bo")] == [3, 2, 1]
    assert [headline.id for headline in mail.search("GRÖSSE %_")] == [3]
    assert mail.search("dinner") == ()
    assert mail.list("trash") == ()


def test_reading_marks_as_seen_and_shows_the_thread(mail: MailClient) -> None:
    message = mail.read(3)
    assert message.thread == (1, 2, 3)
    assert message.references == (mail.read(1).message_id, mail.read(2).message_id)
    assert message.in_reply_to == mail.read(2).message_id
    assert mail.folders()["inbox"]["unseen"] == 0
    assert mail.list()[0].seen


def test_raw_messages_have_proper_headers(mail: MailClient) -> None:
    message = message_from_bytes(mail.raw(3), policy=policy.default)
    assert message["From"].addresses[0].addr_spec == BO.address
    assert message["Date"].datetime == EPOCH - timedelta(hours=1)
    assert message["References"] == f"{mail.read(1).message_id} {mail.read(2).message_id}"
    assert message.get_content().strip() == "Größe %_ done"
    assert mail.raw(3) == mail.raw(3)


def test_a_reply_joins_the_thread_and_is_answered_by_rule(mail: MailClient) -> None:
    sent = mail.reply(1, "Where do we have LUNCH?")
    assert (sent.subject, sent.recipients, sent.folder) == ("Re: Lunch?", (BO.mailbox,), "sent")
    answer = mail.read(sent.id + 1)
    assert answer.text.startswith("In the canteen.")
    assert answer.in_reply_to == mail.read(sent.id).message_id
    assert answer.thread == (1, 2, 3, sent.id, answer.id)
    assert not mail.search("noon")


def test_who_has_no_rule_for_it_stays_silent(mail: MailClient) -> None:
    before = mail.folders()["inbox"]["messages"]
    mail.send(["bo@office.example", "stranger@else.example"], "Hi", "How are you?")
    assert mail.folders()["inbox"]["messages"] == before


@pytest.mark.parametrize(("day", "word"), [("05", "Declined"), ("06", "Accepted")])
def test_an_invitation_is_accepted_iff_they_are_free(mail: MailClient, day: str, word: str) -> None:
    sent = mail.send([BO.address], "Review", "Please come.", invitation=INVITATION.replace("{day}", day))
    answer = mail.read(sent.id + 1)
    assert answer.subject == f"{word}: Review"
    assert f"PARTSTAT={word.upper()}:mailto:{BO.address}" in answer.invitation
    raw = message_from_bytes(mail.raw(answer.id), policy=policy.default)
    assert [part.get_content_type() for part in raw.iter_parts()] == ["text/plain", "text/calendar"]
    assert mail.raw(answer.id) == mail.raw(answer.id)


def test_an_rfc_822_message_is_sent_as_it_is(mail: MailClient) -> None:
    message = EmailMessage()
    message["To"] = "Bo Rask <bo@office.example>"
    message["Subject"] = "Über lunch"
    message["In-Reply-To"] = mail.read(3).message_id
    message.set_content("Zwölf Uhr?")
    sent = mail.read(mail.send_raw(message.as_bytes()).id)
    assert (sent.subject, sent.text, sent.recipients) == ("Über lunch", "Zwölf Uhr?", (BO.mailbox,))
    assert sent.thread[:3] == (1, 2, 3)


def test_marking(mail: MailClient) -> None:
    assert mail.mark(1, folder="archive", flagged=True).folder == "archive"
    assert [headline.id for headline in mail.list()] == [3]
    assert mail.list("archive")[0].flagged


def test_a_snapshot_takes_mail_back_and_can_be_pickled(service: MailService, mail: MailClient) -> None:
    before = service.snapshot()
    sent = mail.send([BO.address], "lunch", "lunch")
    after = pickle.loads(pickle.dumps(service.snapshot()))
    service.restore(before)
    assert [headline.id for headline in mail.list("sent")] == [2]
    other = MailService(9)
    other.restore(after)
    assert MailClient(connect(other)).read(sent.id + 1).text.startswith("At noon.")
    assert mail.send([BO.address], "lunch", "lunch").id == sent.id


def test_the_same_calls_lead_to_the_same_mail(service: MailService) -> None:
    def played(service: MailService) -> list[object]:
        mail = MailClient(connect(service))
        mail.send([BO.address], "lunch", "lunch")
        return [mail.list(), mail.read(3), mail.raw(4)]

    assert played(service) == played(MailService(MAILBOX))


def test_an_instance_goes_from_thread_to_thread(service: MailService, mail: MailClient) -> None:
    found: list[int] = []
    mail.read(1)
    worker = Thread(target=lambda: found.append(mail.read(3).id))
    worker.start()
    worker.join()
    assert found == [3]


def test_stale_answers_lack_the_newest_message(service: MailService) -> None:
    assert [headline.id for headline in MailClient(connect(service, FaultPlan(stale=1))).list()] == [1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda mail: mail.read(99), "no message 99; list or search"),
        (lambda mail: mail.read(10**30), "no message 1000"),
        (lambda mail: mail.list("inbx"), "no folder 'inbx'; there are: inbox"),
        (lambda mail: mail.list(limit=0), "limit='0': give an integer from 1 to 50"),
        (lambda mail: mail.send([], "s", "t"), "one to 20 addresses"),
        (lambda mail: mail.send(["Bo"], "s", "t"), "'Bo' is no mail address"),
        (lambda mail: mail.send(["bo@office.example\r\nBcc: x@y.example"], "s", "t"), "no mail address"),
        (
            lambda mail: mail.send(["bo@office.example"], "s", "t", in_reply_to="<no>"),
            "no message '<no>' to answer",
        ),
        (lambda mail: mail.send(["bo@office.example"], "s", "x" * 200_000), "at most 100000"),
        (lambda mail: mail.mark(1, folder="nowhere"), "no folder 'nowhere'"),
        (lambda mail: mail.mark(1, seen="yes"), "seen is true or false"),
        (lambda mail: mail.mark(1, sender="x"), "'sender' cannot be changed"),
    ],
)
def test_what_is_wrong_is_said(mail: MailClient, call, words: str) -> None:
    with pytest.raises(ToolError, match=words):
        call(mail)


@settings(max_examples=150)
@given(st.text(), st.text(), st.text(max_size=30))
def test_any_text_is_sent_found_and_written(subject: str, text: str, query: str) -> None:
    mail = MailClient(connect(MailService(MAILBOX)))
    subject, text, query = (UNCARRIED.sub("", given.replace("\r", "\n")) for given in (subject, text, query))
    sent = mail.send([BO.address], subject, text)
    found = mail.read(sent.id)
    assert found.text == text
    assert message_from_bytes(mail.raw(sent.id), policy=policy.default)["To"]
    mail.search(query)


@settings(max_examples=150)
@given(st.binary(max_size=300))
def test_any_bytes_may_come_as_a_message(raw: bytes) -> None:
    mail = MailClient(connect(MailService(MAILBOX)))
    with contextlib.suppress(ToolError):
        mail.read(mail.send_raw(b"To: bo@office.example\r\n" + raw).id)


def test_the_corpus_of_injections() -> None:
    assert len({injection.style for injection in INJECTIONS}) == len(INJECTIONS) >= 20
    for injection in INJECTIONS:
        written = injection.written("x@out.example", "Ada")
        assert "x@out.example" in written
        assert "{" not in written or "tool" in injection.style


def test_an_invented_mailbox_follows_from_its_seed() -> None:
    assert invented_mailbox(4) == invented_mailbox(4) != invented_mailbox(5)
    assert len(invented_mailbox(4, mails=7).mails) == 7


def test_mail_in_other_charsets_and_in_html_alone_is_read() -> None:
    mail = MailClient(connect(MailService(MAILBOX)))
    head = b'To: "Doe, Jane" <jane@d.example>\r\nSubject: x\r\nContent-Type: text/'
    latin = mail.send_raw(head + b"plain; charset=iso-8859-1\r\n\r\ncaf\xe9")
    assert mail.read(latin.id).text == "caf\xe9"
    assert latin.recipients == ('"Doe, Jane" <jane@d.example>',)
    assert "caf\xe9" in message_from_bytes(mail.raw(latin.id), policy=policy.default).get_content()
    unknown = mail.send_raw(head + b"plain; charset=none-such\r\n\r\ncaf\xc3\xa9")
    assert mail.read(unknown.id).text == "caf\xe9"
    page = mail.send_raw(head + b"html\r\n\r\n<style>p {}</style><p>Hi <b>you</b><p>there")
    assert mail.read(page.id).text == "Hi you\nthere"
    assert mail.send(['"Doe, Jane" <jane@d.example>'], "x", "y").recipients == latin.recipients
    with pytest.raises(ToolError, match="quotes around a name that has a comma"):
        mail.send(["Doe, Jane <jane@d.example>"], "x", "y")


@pytest.mark.parametrize(
    "to", ["a@x.example <b@y.example>", "(b@y.example) a@x.example", "a@x.example b@y.example"]
)
def test_two_addresses_in_one_are_refused_whatever_python_reads(to: str) -> None:
    mail = MailClient(connect(MailService(MAILBOX)))
    with pytest.raises(ToolError, match="is no mail address"):
        mail.send([to], "x", "y")
    both = mail.send_raw(b'To: "Doe, J." <a@x.example>, b@y.example\r\nSubject: x\r\n\r\ny')
    assert both.recipients == ('"Doe, J." <a@x.example>', "b@y.example")


def test_a_quotation_without_end_takes_no_time() -> None:
    """Each quote could open a quotation: trying each would take quadratic time."""
    assert name_and_address('"' + '\\"' * 100_000 + "@") == ("", "")
