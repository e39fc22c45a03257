"""Where events come from: one file per protocol, one line in the table below."""
