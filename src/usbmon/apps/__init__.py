"""Programs for people; what they show comes from the library below, and nothing else uses them."""
