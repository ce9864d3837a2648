"""Mail by IMAP and SMTP: real clients, two of them at once, worlds, tokens, and whatever bytes come."""

import contextlib
import imaplib
import os
import re
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import imap_tools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.tools.services import connect
from ludus.tools.services.mail import MailClient, MailService
from ludus.tools.services.mail.imap import session as imap
from ludus.tools.services.mail.imap.session import Session
from ludus.tools.services.mail.imap.syntax import BadCommand, read_set, read_words

TOKEN = "a-token"


@dataclass(frozen=True)
class Ports:
    http: str
    imap: int
    smtp: int

    def reader(self, world: str = "one") -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.imap, timeout=30)
        client.login(world, TOKEN)
        return client

    def sender(self, world: str = "one") -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self.smtp, timeout=30)
        client.login(world, TOKEN)
        return client

    def json(self, world: str = "one") -> MailClient:
        headers = {"authorization": f"Bearer {TOKEN}", "x-ludus-world": world}
        return MailClient(connect(f"{self.http}/mail", headers=headers, trust_env=False))


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    command = [sys.executable, "-m", "ludus", "serve", "tools", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "LUDUS_TOKEN": TOKEN}
    ) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            found = re.search(r"(http://\S+) and mail by IMAP at \S+:(\d+), SMTP at \S+:(\d+) ", line)
            assert found, line
            yield Ports(found[1], int(found[2]), int(found[3]))
        finally:
            server.terminate()


def fetched(client: imaplib.IMAP4, numbers: str, items: str) -> list[bytes]:
    """All that a FETCH answers, with the literals."""
    status, told = client.fetch(numbers, items)
    assert status == "OK"
    return [b"".join(part) if isinstance(part, tuple) else part for part in told]


def test_imaplib_reads_what_the_json_form_lists(ports: Ports) -> None:
    with ports.reader("reading") as client:
        assert client.select("INBOX")[1] == [b"20"]
        listed = ports.json("reading").list("inbox", 50)
        subjects = b"".join(fetched(client, "1:*", "(ENVELOPE)"))
        assert all(f'"{message.subject}"'.encode() in subjects for message in listed)
        assert client.search(None, "UNSEEN")[1] == [b" ".join(b"%d" % n for n in range(1, 21))]
        assert b"FLAGS (\\Seen)" in b"".join(fetched(client, "3", "(RFC822 FLAGS)"))
        assert b"\\Seen" not in b"".join(fetched(client, "4", "(BODY.PEEK[] FLAGS)"))
        seen = [message for message in ports.json("reading").list("inbox", 50) if message.seen]
    assert len(seen) == 1


def test_what_smtp_sends_is_in_every_form_and_is_answered(ports: Ports) -> None:
    person = ports.json("sending").list()[0].sender
    with ports.reader("sending") as client, ports.sender("sending") as sender:
        client.select("INBOX")
        invitation = (
            "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:20320101T100000Z\r\n"
            "DTEND:20320101T110000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        )
        text = f"To: {person}\r\nSubject: Lunch\r\nContent-Type: text/calendar\r\n\r\n{invitation}"
        sender.sendmail("me@office.example", [person], text)
        assert client.noop()[0] == "OK"
        assert client.response("EXISTS")[1][-1] == b"21"
        assert b"Accepted: Lunch" in fetched(client, "21", "(BODY.PEEK[HEADER])")[0]
        client.select("Sent", readonly=True)
        assert client.search(None, "SUBJECT", "Lunch")[1] == [b"1"]
        found = ports.json("sending").list("sent")
    assert [message.subject for message in found] == ["Lunch"]


def test_worlds_are_apart_and_the_owner_has_that_of_requests_without_a_header(ports: Ports) -> None:
    with ports.sender("apart") as sender:
        sender.sendmail("me@office.example", ["jo@x.example"], "Subject: only here\r\n\r\nhello")
    for world, count in (("apart", b"1"), ("another", b"0")):
        with ports.reader(world) as client:
            assert client.select("Sent")[1] == [count]
    owner = ports.json("").list()[0].recipients[0]
    address = re.search(r"<(.*)>", owner)
    assert address
    ports.json("").send(["jo@x.example"], "by json", "hello")
    with ports.reader(address[1].upper()) as client:
        client.select("Sent")
        assert b"by json" in fetched(client, "1", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[0]


def test_messages_are_flagged_copied_moved_appended_and_expunged(ports: Ports) -> None:
    with ports.reader("changing") as client:
        client.select("INBOX")
        assert client.store("2,4", "+FLAGS", r"(\Deleted \Flagged)")[1] == [
            rb"2 (FLAGS (\Flagged \Deleted))",
            rb"4 (FLAGS (\Flagged \Deleted))",
        ]
        assert client.search(None, "DELETED", "NOT", "SEEN")[1] == [b"2 4"]
        assert client.expunge()[1] == [b"4", b"2"]
        assert client.uid("SEARCH", "1:4")[1] == [b"1 3 5 6"]
        client.uid("COPY", "1,3", "Archive")
        assert client.response("COPYUID")[1] == [b"1 1,3 21,22"]
        client.uid("MOVE", "5:6", "Trash")
        assert client.response("COPYUID")[1] == [b"1 5,6 23,24"]
        flags, message = r"(\Draft)", b"From: jo@x.example\r\nSubject: kept\r\n\r\nhello\r\n"
        assert client.append("Archive", flags, "", message)[1] == [b"[APPENDUID 1 25] done"]
        assert client.select("Archive")[1] == [b"3"]
        assert b"\\Draft" in fetched(client, "3", "(FLAGS)")[0]
        counts = client.status("INBOX", "(MESSAGES UNSEEN)")[1][0]
        assert counts == b"INBOX (MESSAGES 16 UNSEEN 16)"
        assert client.select("Trash", readonly=True)[1] == [b"2"]
        assert client.store("1", "+FLAGS", r"(\Seen)")[0] == "NO"
        assert client.create("More")[0] == "NO"


def test_imap_tools_works_with_it(ports: Ports) -> None:
    with imap_tools.MailBoxUnencrypted("127.0.0.1", ports.imap).login("tools", TOKEN) as box:
        assert [folder.name for folder in box.folder.list()] == ["INBOX", "Sent", "Archive", "Trash"]
        messages = list(box.fetch(mark_seen=False))
        listed = ports.json("tools").list("inbox", 50)
        assert sorted(message.subject for message in messages) == sorted(m.subject for m in listed)
        texts = {message.text.replace("\r\n", "\n").strip() for message in messages}
        assert ports.json("tools").read(listed[0].id).text.strip() in texts
        box.move([messages[0].uid], "Trash")
        box.flag([messages[1].uid], imap_tools.MailMessageFlags.FLAGGED, True)
        assert [found.uid for found in box.fetch(imap_tools.AND(flagged=True))] == [messages[1].uid]
        assert box.folder.status("Trash")["MESSAGES"] == 1
        box.delete([messages[2].uid])
        assert len(box.uids()) == len(messages) - 2


def test_two_clients_see_each_other_s_changes(ports: Ports) -> None:
    with ports.reader("both") as first, ports.reader("both") as second:
        first.select("INBOX")
        second.select("INBOX")
        first.store("5", "+FLAGS", r"(\Deleted)")
        first.expunge()
        # Numbers stay as they are until the other client asks for news.
        assert second.fetch("6", "(UID)")[1] == [b"6 (UID 6)"]
        assert fetched(second, "5", "(UID)") == [None]
        second.noop()
        assert second.response("EXPUNGE")[1] == [b"5"]
        assert second.fetch("5", "(UID)")[1] == [b"5 (UID 6)"]


def test_a_waiting_client_is_told_of_new_mail(ports: Ports) -> None:
    with socket.create_connection(("127.0.0.1", ports.imap), timeout=30) as raw:
        stream = raw.makefile("rwb")
        for line in (b"a LOGIN idle " + TOKEN.encode(), b"b SELECT INBOX", b"c IDLE"):
            stream.write(line + b"\r\n")
        stream.flush()
        while not stream.readline().startswith(b"+ "):
            pass
        ports.json("idle").send(["jo@x.example"], "no answer", "hello")
        invited = ports.json("idle").list()[0].sender
        when = "METHOD:REQUEST\nDTSTART:20320101T100000Z\nDTEND:20320101T110000Z\nEND:VEVENT\n"
        ports.json("idle").send([invited], "Lunch", "come", invitation=when)
        assert stream.readline() == b"* 21 EXISTS\r\n"
        stream.write(b"DONE\r\n")
        stream.flush()
        assert stream.readline() == b"c OK done\r\n"


def test_without_the_token_nothing_is_read_or_sent(ports: Ports) -> None:
    client = imaplib.IMAP4("127.0.0.1", ports.imap, timeout=30)
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        client.login("one", "wrong")
    client.state = "AUTH"  # so that the client sends it at all
    with pytest.raises(imaplib.IMAP4.error, match="log in first"):
        client.select("INBOX")
    client.logout()
    with smtplib.SMTP("127.0.0.1", ports.smtp, timeout=30) as sender:
        with pytest.raises(smtplib.SMTPSenderRefused, match="Authentication required"):
            sender.sendmail("me@office.example", ["jo@x.example"], "Subject: x\r\n\r\nx")
        with pytest.raises(smtplib.SMTPAuthenticationError):
            sender.login("one", "wrong")


def test_what_mail_cannot_be_is_refused_by_smtp(ports: Ports) -> None:
    with ports.sender("refusing") as sender:
        for recipients, text in ((["nobody"], "x"), (["jo@x.example"], "Subject: x\r\n\r\n\x0b")):
            with pytest.raises((smtplib.SMTPDataError, smtplib.SMTPRecipientsRefused)):
                sender.sendmail("me@office.example", recipients, text)
        sender.sendmail("me@office.example", ["jo@x.example"], "Subject: still here\r\n\r\nyes")


@pytest.mark.parametrize(
    "sent",
    [
        b"x" * 70_000 + b"\r\n",
        b"a APPEND INBOX {99999999999}\r\n",
        b"a LOGIN {20000000}\r\n",
        b"a SELECT {3}\r\nabc {2+}\r\n",
    ],
)
def test_a_connection_with_too_much_or_too_little_ends_and_the_server_goes_on(
    ports: Ports, sent: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", ports.imap), timeout=30) as raw:
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(65_536):
            pass
    with ports.reader() as client:
        assert client.noop()[0] == "OK"


# --- without a socket


def logged_in(folder: str = "INBOX") -> Session:
    service = MailService(0)
    session = Session(lambda name: service, lambda password: True)
    assert session.respond([b"a LOGIN x y"]).startswith(b"a OK")
    assert b"a OK" in session.respond([b"a SELECT %s" % folder.encode()])
    return session


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", b"* BAD a command begins with a tag"),
        (b"a", b"a BAD there is no command"),
        (b"a FLY", b"a BAD there is no command FLY"),
        (b"a UID FLY 1", b"a BAD there is no command UID FLY"),
        (b"a FETCH 1 (", b"a BAD a bracket is not closed"),
        (b"a FETCH 1 COLOUR", b"a BAD 'COLOUR' cannot be fetched"),
        (b"a FETCH 99 FLAGS", b"a BAD there are 20 messages"),
        (b"a FETCH x FLAGS", b"a BAD 'x' is no set of numbers"),
        (b"a FETCH 1 BODY[7]", b"a BAD there is no part 7"),
        (b"a FETCH 1 BODY[FOOT]", b"a BAD there is no section 'FOOT'"),
        (b"a SEARCH", b"a BAD give 1 to"),
        (b"a SEARCH SINCE yesterday", b"a BAD 'yesterday' is no date"),
        (b"a SEARCH NOT", b"a BAD a search key lacks its argument"),
        (b"a STORE 1 COLOUR red", b"a BAD only FLAGS can be stored"),
        (b"a SELECT Spam", b"a NO [TRYCREATE] there is no folder 'Spam'"),
        (b"a COPY 1 Spam", b"a NO [TRYCREATE] there is no folder 'Spam'"),
        (b"a AUTHENTICATE GSSAPI", b"a NO [CANNOT]"),
        (b"a AUTHENTICATE PLAIN !", b"a BAD that is not base64"),
        (b"a " + b"(" * 50, b"a BAD nested too deeply"),
        (b"a SEARCH " + b"NOT " * 190 + b"ALL", b"* SEARCH 1 2"),
        (b"a FETCH 1 BODY[" + b"9" * 5_000 + b"]", b"a BAD there is no section"),
        (b"a FETCH " + b"1," * 5_000 + b"1 FLAGS", b"a BAD a set has at most"),
        (b'a LIST "" "' + b"*" * 5_000 + b'q"', b"a OK done"),
        (b'a LIST "" "' + b"*%a" * 5_000 + b'q"', b"a BAD a pattern has at most"),
        (b"a SEARCH " + b"OR ALL " * 5_000 + b"ALL", b"a BAD give 1 to"),
    ],
)
def test_a_wrong_command_is_answered(line: bytes, says: bytes) -> None:
    assert logged_in().respond([line]).startswith(says)


@pytest.mark.parametrize(
    ("criteria", "found"),
    [
        (b"ALL", 20),
        (b"OR FROM zzz ALL", 20),
        (b"(UNSEEN UNFLAGGED) UNDELETED", 20),
        (b"NOT (1:5 OR 3 4)", 18),
        (b"UID 3:*", 18),
        (b"2,4:6", 4),
        (b"SUBJECT {0}", 20),
        (b"LARGER 1 SMALLER 100000", 20),
        (b"SENTSINCE 2-Mar-2031", 20),
        (b"BEFORE 1-Jan-2031", 0),
        (b"KEYWORD Junk", 0),
        (b"NEW", 0),
        (b'HEADER Subject ""', 20),
        (b"CHARSET UTF-8 BODY Hello", 20),
    ],
)
def test_criteria_of_searches(criteria: bytes, found: int) -> None:
    parts = [b"a SEARCH " + criteria] + ([b"", b""] if criteria.endswith(b"{0}") else [])
    answer = logged_in().respond(parts).splitlines()[0]
    assert len(answer.split()) == found + 2


@pytest.mark.parametrize(
    ("text", "numbers"), [("1", [1]), ("*", [9]), ("7:*", [7, 9]), ("12:*", [9]), ("4:2,9", [2, 3, 9])]
)
def test_sets_of_numbers(text: str, numbers: list[int]) -> None:
    assert read_set(text, [1, 2, 3, 7, 9]) == numbers


def test_a_section_of_parts_and_the_whole_fit_together() -> None:
    service = MailService(0)
    session = Session(lambda name: service, lambda password: True)
    session.respond([b"a LOGIN x y"])
    service.submit(b"To: jo@x.example\r\nSubject: s\r\n\r\nhello\r\n", ["jo@x.example"])
    invited = {
        "to": ["jo@x.example"],
        "subject": "s",
        "text": "come",
        "invitation": "BEGIN:VCALENDAR\nEND:VCALENDAR",
    }
    with connect(service) as http:
        http.post("/messages", json=invited).raise_for_status()
    session.respond([b"a SELECT Sent"])

    def content(section: bytes) -> bytes:
        answer = session.respond([b"a FETCH 2 BODY.PEEK[%s]" % section])
        found = re.match(rb"\* 2 FETCH \(BODY\[[^\]]*\] \{(\d+)\}\r\n", answer)
        assert found, answer
        return answer[found.end() : found.end() + int(found[1])]

    whole = content(b"")
    assert whole == content(b"HEADER") + content(b"TEXT")
    assert content(b"1").strip() == b"come"
    assert content(b"2").startswith(b"BEGIN:VCALENDAR")
    assert b"text/calendar" in content(b"2.MIME")
    assert content(b"1.MIME") + content(b"1") in whole
    structure = session.respond([b"a FETCH 2 BODYSTRUCTURE"])
    assert b'"CALENDAR"' in structure
    assert b'"ALTERNATIVE"' in structure
    assert b"RFC822.SIZE %d)" % len(whole) in session.respond([b"a FETCH 2 RFC822.SIZE"])


words = st.one_of(
    st.sampled_from(
        [
            *(name.encode() for name in imap._COMMANDS),
            *(b"UID", b"(", b")", b"1", b"1:*", b"*", b"INBOX", b"Sent", b"FLAGS", b"+FLAGS", b"(\\Deleted)"),
            *(b"BODY[]", b"BODY[1]<0.9>", b"BODY[HEADER.FIELDS (TO)]", b"ENVELOPE", b"ALL", b"NOT", b"OR"),
            *(b"SINCE", b"1-Mar-2031", b"PLAIN", b"DONE", b'""', b'"', b"{3}", b"NIL"),
        ]
    ),
    st.binary(max_size=12),
)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(st.lists(words, max_size=6), st.lists(st.binary(max_size=40), max_size=2)),
        max_size=8,
    )
)
def test_any_commands_are_answered_and_nothing_is_raised(commands: list) -> None:
    session = logged_in()
    for line, extra in commands:
        parts = [b"t " + b" ".join(line).replace(b"\n", b" ")]
        for literal in extra:
            parts += [literal, b""]
        answer = session.respond(parts)
        assert answer.endswith(b"\r\n")
        assert re.search(rb"(?m)^(t (OK|NO|BAD) |\+ |\* (BAD|BYE) )", answer)


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
def test_any_bytes_are_words_or_bad(parts: list[bytes]) -> None:
    with contextlib.suppress(BadCommand):
        assert isinstance(read_words(parts), list)


def test_uids_only_rise_whatever_is_removed_and_moved_back() -> None:
    service = MailService(0)
    seen: dict[str, int] = {}
    with connect(service) as http:
        for step in range(40):
            folder = ("archive", "inbox")[step % 2]
            http.patch("/messages/5", json={"folder": folder}).raise_for_status()
            uid = {id: uid for uid, id in service.store.numbered(folder)}[5]
            assert uid > seen.get(folder, 0)
            assert uid == service.store.next_uid() - 1
            seen[folder] = uid
    service.store.remove([5])
    assert service.store.next_uid() == 61
