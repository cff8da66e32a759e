"""What ``skelzoo bench`` measures on this machine."""
