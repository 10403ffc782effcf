"""What one sees of a run while it learns. None of it changes what is learned."""
