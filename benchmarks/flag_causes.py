"""Which cause the hypotheses name for made-up configurations with one known cause each."""
