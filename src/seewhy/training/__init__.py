"""What is trained: one loop for every method that learns, on any classifier and any dataset."""
