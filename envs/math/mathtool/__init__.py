"""MathTool: problems too hard for mental arithmetic, their exact answers, and scripted agents."""
