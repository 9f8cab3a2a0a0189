"""Several devices and several workers as one run."""
