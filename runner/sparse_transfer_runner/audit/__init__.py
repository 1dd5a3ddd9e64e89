"""Whether recorded results are still what was recorded: every file, record and key; read only."""
