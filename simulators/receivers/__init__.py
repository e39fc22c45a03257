"""Who is told something: a mailbox, a web address, and lines that take orders; each can be told to fail."""
