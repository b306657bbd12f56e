"""What a person sees: figures, report.html and report.md, drawn from stored results only."""
