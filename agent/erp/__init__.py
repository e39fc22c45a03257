"""Where postings go: one file per ERP, one line in the table below."""
