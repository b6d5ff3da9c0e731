"""Built-in models, as data: a folder each."""
