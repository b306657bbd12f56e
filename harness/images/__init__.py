"""Container images, made of Debian packages and Python wheels: no image registry is asked.

The same files for every architecture: packages are unpacked, none of their scripts run, so that
an image for another machine needs no emulation. Docker or podman only wraps them up. Nothing here
knows of clusters; nothing of the enforcer but the folder that holds its recipe.
"""
