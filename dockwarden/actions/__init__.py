"""What changes the host: planned as a pure function, carried out step by step."""
