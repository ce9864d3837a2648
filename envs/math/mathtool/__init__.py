"""MathTool: problems beyond the head, their exact answers, and scripted agents."""
