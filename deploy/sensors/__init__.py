"""The sensors that the workers know, and commands about them."""
