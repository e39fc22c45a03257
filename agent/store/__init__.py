"""The one durable place: a SQLite file, written by one thread; SQL as small functions on a transaction."""
