"""Tests against a localcloud that really runs."""
