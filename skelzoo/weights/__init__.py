"""How bytes become a net: the manifest, the sources of weights, strict checkpoints."""
