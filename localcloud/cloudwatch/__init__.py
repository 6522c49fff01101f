"""CloudWatch: metrics, alarms, and metrics out of logs."""
