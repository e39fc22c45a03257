"""How events are decided: rules, the judging of a batch, and the record of what was decided."""
