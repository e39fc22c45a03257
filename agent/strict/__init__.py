"""Files and messages read strictly: what two readers could understand differently is refused."""
