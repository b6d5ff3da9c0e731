"""What runs requests: intake, the loop from claim to outcome, and upkeep."""
