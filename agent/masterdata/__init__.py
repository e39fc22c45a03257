"""What the ERP and the plant's files say: materials, orders, BOMs, work centres, accounts."""
