"""How an encoder is made and measured."""
