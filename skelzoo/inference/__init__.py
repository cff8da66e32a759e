"""How an encoder is run."""
