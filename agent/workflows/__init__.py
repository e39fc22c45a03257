"""What is decided about a report: one file of pure functions per workflow, one line in the table below."""
