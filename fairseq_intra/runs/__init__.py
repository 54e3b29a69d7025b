"""Trainings and their evaluations: scores, tables, logs and pictures."""
