"""Self-supervised pretraining: one file per method, one shared loop."""
