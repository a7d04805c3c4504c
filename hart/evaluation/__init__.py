"""Evaluation by program of the pictures that the embedded model paints; no pretrained network is needed."""
