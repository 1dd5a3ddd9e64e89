"""Where data, models and outputs live: one module per URI scheme behind one protocol."""
