"""What the gateway shows of itself: documents, and the same as lines for a person."""
