"""What the house touches outside itself: remote hosts, pictures, kept files, output URLs."""
