"""Pictures: read as RGB whatever they are, checked, and turned into a model's inputs."""
