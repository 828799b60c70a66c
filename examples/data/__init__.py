"""MNIST images as graphs of 75 superpixels: see README.md in this folder."""
