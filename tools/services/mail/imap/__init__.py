"""IMAP over the mail service: what clients send and read (RFC 3501, and the extensions in `CAPABILITIES`)."""
