"""What goes wrong in a plant: the catalogue, an endless seeded schedule, and its truth."""
