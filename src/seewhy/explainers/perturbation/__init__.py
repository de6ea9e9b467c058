"""Methods that ask the network about many masked images."""
