"""Help with the plan of a program of one's own: write a first one, and try it before it is submitted."""
