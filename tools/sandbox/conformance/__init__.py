"""The conformance suite of sandboxes."""
