"""How fast? ab and locust, run as programs; their outputs parsed and kept."""
