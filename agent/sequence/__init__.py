"""In which order a work centre should make its open orders: what is ready, the search, what is shown."""
