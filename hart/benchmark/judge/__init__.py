"""What the pictures of a run are worth: fidelity, prompt scores, recommendations, exports to outside judges."""
