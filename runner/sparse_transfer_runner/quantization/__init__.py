"""Training that knows it will be quantized."""
