"""Tools of MCP servers: a synchronous client over the MCP SDK."""

from ludus.tools.mcp.client import McpServer

__all__ = ["McpServer"]
