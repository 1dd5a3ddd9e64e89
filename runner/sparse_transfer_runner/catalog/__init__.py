"""Which foundation models exist, and how names resolve to them."""
