"""What the verbs do; each module is imported only when its verb is called."""
