"""File formats of images and their headers."""
