"""What is said to people, by language: keys are names of errors and types of problems."""
