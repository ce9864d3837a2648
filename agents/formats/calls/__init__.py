"""Tool calls as models write them: one module per format, each with `parse` and `render`."""
