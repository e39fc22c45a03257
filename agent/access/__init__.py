"""Who may come in, and with what: users, tokens, rights, secrets, what is signed and what is masked."""
