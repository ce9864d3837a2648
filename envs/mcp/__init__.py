"""MCP, both ways: an environment's tools for MCP clients, and environments over an MCP server's tools."""
