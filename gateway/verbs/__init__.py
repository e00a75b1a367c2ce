"""What a person or a program can ask the running gateway to do, by subject."""
