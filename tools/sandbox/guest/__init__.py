"""What runs inside a sandbox. It uses only the standard library and nothing else of Ludus."""
