"""What an order took besides pieces: times of machine and people, material, lots, and where they went."""
