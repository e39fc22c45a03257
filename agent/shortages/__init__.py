"""Which materials run short at their places within the next hours: looked at beside the loops."""
