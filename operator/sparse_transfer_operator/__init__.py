"""The Kubernetes operator: runs the stages of experiments as Jobs, and says what came out."""
