"""Painting and measuring: batches in turn, a journal, memory, operations, plans."""
