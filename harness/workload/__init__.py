"""Manifests as functions of numbers: the study's services, its policies, the matrix's pods."""
