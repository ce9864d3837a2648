"""Tool calls as models write them: one module a format, each with `parse` and `render`."""
