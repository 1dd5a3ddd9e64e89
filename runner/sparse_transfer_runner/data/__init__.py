"""Reading and checking the user's data: constant memory, every problem with its file and line."""
