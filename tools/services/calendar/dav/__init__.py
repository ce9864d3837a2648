"""CalDAV (RFC 4791) over WebDAV (RFC 4918): what client and service send each other."""
