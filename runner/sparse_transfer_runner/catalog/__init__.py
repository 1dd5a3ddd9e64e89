"""Which foundation models exist, how names resolve to them, and whether they are sound."""
