"""What exists on the engine, kept live, and the typed facts that policies see."""
