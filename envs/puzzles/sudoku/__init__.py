"""Sudoku, by single cells or whole grids."""
