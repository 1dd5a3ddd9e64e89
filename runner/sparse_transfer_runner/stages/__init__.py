"""The three stages of an experiment and what they share."""
