"""Recognition of enrolled students in an uploaded video."""
