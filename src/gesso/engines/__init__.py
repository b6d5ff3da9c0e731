"""What makes the pictures: the engines, and the processes in which they run."""
