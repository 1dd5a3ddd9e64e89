"""Export, quantized forms, verification, measurement and the deployment folder."""
