"""What runs inside a sandbox. It uses the standard library and nothing else of Ludus."""
