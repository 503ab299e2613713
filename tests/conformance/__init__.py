"""What every component of a sort has to do, tried on all of them."""
