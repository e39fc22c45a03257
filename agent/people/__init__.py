"""What people see and do: held postings, signatures, the board, and who is told."""
