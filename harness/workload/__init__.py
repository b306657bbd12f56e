"""Manifests as functions of numbers: the study's services and its policies."""
