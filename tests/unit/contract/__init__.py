"""The contract: what gateway and worker agree on."""
