"""Model Monitor: schedules, their executions, and job definitions."""
