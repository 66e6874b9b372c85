"""What layers and models are made of: symbols, layers, graphs of them, training, files."""
