"""The usual way of writing a gateway and a worker: what the product is compared with."""
