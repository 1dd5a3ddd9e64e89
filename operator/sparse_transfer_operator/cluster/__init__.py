"""Everything that is asked of the API server: one module per thing, each call bounded in time."""
