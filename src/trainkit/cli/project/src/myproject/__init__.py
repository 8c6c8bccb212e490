"""A small model and its data: begin here."""
