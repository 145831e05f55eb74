"""Text that is written by the program: exercises with known answers, apart from every evaluation set."""
